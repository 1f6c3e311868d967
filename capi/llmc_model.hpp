// llmc from C++17, model level: llmc::Oneshot in parts (llmc_model.h is the manual). Header-only; throws
// llmc::Error.
//
//   llmc::Model model(session, "Llama-3-8B");
//   model.add_token_ids(sequences);                      // or add_data, as often as wanted
//   llmc::Oneshot job;
//   job.recipe = "w4a16.yaml"; job.output = "out-4bit";
//   model.quantize(job);
//   llmc::Report report = model.save();                  // then the same model and data by the next recipe
#ifndef LLMC_MODEL_HPP
#define LLMC_MODEL_HPP

#include <llmc.hpp>
#include <llmc_model.h>

namespace llmc {
inline namespace c_interface {

// Keeps what is behind its session alive; the session may move, and go first.
class Model {
 public:
  Model(const Session& session, const std::string& folder) : state_(session.state()) {
    model_ = state_->made<Owned>([&](llmc_session* on, llmc_model** model, llmc_error** error) {
      return llmc_model_open(on, folder.c_str(), model, error);
    });
  }
  // From memory; `source` is asked until the model is destroyed.
  Model(const Session& session, Source source)
      : state_(session.state()),
        source_(std::make_unique<Held>(std::move(source))) {
    model_ = state_->made<Owned>(
        [&](llmc_session* on, llmc_model** model, llmc_error** error) {
          return llmc_model_open_source(on, source_->lent.get(), model, error);
        },
        &source_->lent);
  }

  Model(Model&&) noexcept = default;
  Model& operator=(Model&& other) noexcept {  // a model goes before its source and its session
    model_ = std::move(other.model_);
    source_ = std::move(other.source_);
    state_ = std::move(other.state_);
    return *this;
  }

  // Sequences after those of earlier calls.
  void add_token_ids(const std::vector<std::vector<int32_t>>& sequences) {
    Oneshot data;
    data.token_ids = sequences;
    const detail::OneshotArguments ids(data);
    call([&](llmc_error** error) {
      return llmc_model_add_token_ids(model_.get(), ids.get()->token_ids, ids.get()->sequence_starts,
                                      ids.get()->num_sequences, error);
    });
  }
  // Of `data`: dataset, tokenizer, text_column, template_date, num_calibration_samples, max_seq_length,
  // shuffle_seed, concatenate_data.
  void add_data(const Oneshot& data) {
    const detail::OneshotArguments options(data);
    call([&](llmc_error** error) { return llmc_model_add_data(model_.get(), options.get(), error); });
  }
  // A forward pass once, any number of recipes after it: what the unquantized model shows on its data goes to
  // `folder`, and is loaded instead of data.
  void save_statistics(const std::string& folder) {
    call([&](llmc_error** error) { return llmc_model_save_statistics(model_.get(), folder.c_str(), error); });
  }
  void load_statistics(const std::string& folder) {
    call([&](llmc_error** error) { return llmc_model_load_statistics(model_.get(), folder.c_str(), error); });
  }
  // Of `job` everything but model, source and data. Nothing is under the output's name before save().
  void quantize(const Oneshot& job) {
    const detail::OneshotArguments options(job);
    call([&](llmc_error** error) { return llmc_model_quantize(model_.get(), options.get(), error); });
  }
  Report save() {
    return Report(state_
                      ->made<detail::OwnedReport>(
                          [&](llmc_session*, llmc_report** report, llmc_error** error) {
                            return llmc_model_save(model_.get(), report, error);
                          },
                          lent())
                      .release());
  }

 private:
  using Owned = detail::Owned<llmc_model, llmc_model_free>;
  struct Held {
    explicit Held(Source given) : source(std::move(given)), lent(source) {}
    Source source;
    detail::LentSource lent;
  };

  detail::LentSource* lent() const noexcept { return source_ ? &source_->lent : nullptr; }
  template <class Call>
  void call(Call&& call) {
    state_->call([&](llmc_session*, llmc_error** error) { return call(error); }, lent());
  }

  // Destroyed from the last to the first.
  std::shared_ptr<detail::SessionState> state_;
  std::unique_ptr<Held> source_;
  Owned model_;
};

}  // namespace c_interface
}  // namespace llmc
#endif
