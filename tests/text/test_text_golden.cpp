// What transformers, datasets and tokenizers answered, recorded; llmc::text must answer the same.
#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "llmc/error.hpp"
#include "text/text.hpp"

namespace {

using Json = nlohmann::ordered_json;
namespace fs = std::filesystem;

const std::string kSource = LLMC_SOURCE_DIR;
const std::string kTinyLlama = kSource + "/examples/tiny-llama";

std::string read_text(const std::string& path) {
  std::ifstream file(path);
  REQUIRE(file);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

// A model folder with tiny-llama's tokenizer and the recording's special tokens.
struct RecordedModel {
  fs::path folder;
  explicit RecordedModel(const Json& golden) {
    // of its own: tests run side by side
    std::string name = (fs::temp_directory_path() / "llmc-test-XXXXXX").string();
    folder = mkdtemp(name.data());
    fs::copy_file(kTinyLlama + "/tokenizer.json", folder / "tokenizer.json");
    const Json config = {{"bos_token", {{"content", golden["bos_token"]}}},
                         {"eos_token", golden["eos_token"]}};
    std::ofstream(folder / "tokenizer_config.json") << config;
  }
  ~RecordedModel() { fs::remove_all(folder); }
};

llmc::text::DatasetOptions calibration() {
  llmc::text::DatasetOptions options;
  options.path = kTinyLlama + "/calibration.jsonl";
  return options;
}

}  // namespace

TEST_CASE(
    "every recorded conversation renders to the text transformers gave, or fails with the template's "
    "message") {
  const Json golden = Json::parse(read_text(kSource + "/tests/golden/chat_templates.json"));
  RecordedModel model(golden);
  REQUIRE(golden["expected"].size() == 45);
  for (const Json& expected : golden["expected"]) {
    const std::string name = expected["template"];
    const std::string conversation = golden["conversations"][expected["conversation"].get<std::string>()]
                                         .dump();
    INFO(name << " x " << expected["conversation"]);
    llmc::text::Tokenizer tokenizer(model.folder, golden["templates"][name].get<std::string>());
    if (expected.contains("error")) {
      const std::string message = "chat template: " + expected["error"].get<std::string>();
      CHECK_THROWS_WITH(tokenizer.render(conversation, false), message);
    } else {
      CHECK(tokenizer.render(conversation, false) == expected["rendered"].get<std::string>());
    }
  }
}

TEST_CASE("512 chats are 69832 tokens through the template, on one thread or three") {
  llmc::text::Tokenizer tokenizer(kTinyLlama);
  CHECK(tokenizer.vocab_size() == 2048);
  CHECK(tokenizer.has_chat_template());
  llmc::text::DatasetOptions options = calibration();
  const llmc::text::Dataset dataset = llmc::text::load_dataset(&tokenizer, options);
  CHECK(dataset.rows == 512);
  CHECK(dataset.samples == 512);
  CHECK(dataset.sequence_starts.size() == 513);
  CHECK(dataset.token_ids.size() == 69832);
  CHECK(dataset.sequence_starts.back() == 69832);
  CHECK(dataset.token_ids[0] == 0);  // <|begin_of_text|>, written by the template and not a second time
  CHECK(dataset.token_ids[1] == 2);  // <|start_header_id|>
  CHECK(dataset.notes.empty());

  options.threads = 3;
  const llmc::text::Dataset threaded = llmc::text::load_dataset(&tokenizer, options);
  CHECK(threaded.token_ids == dataset.token_ids);
  CHECK(threaded.sequence_starts == dataset.sequence_starts);
}

TEST_CASE("seed 42 picks rows 176, 51 and 152 of 512 first, as datasets.Dataset.shuffle does") {
  llmc::text::Tokenizer tokenizer(kTinyLlama);
  const llmc::text::Dataset all = llmc::text::load_dataset(&tokenizer, calibration());
  llmc::text::DatasetOptions options = calibration();
  options.shuffle_seed = 42;
  options.num_samples = 3;
  const llmc::text::Dataset picked = llmc::text::load_dataset(&tokenizer, options);
  std::vector<int32_t> expected;
  for (size_t row : {176, 51, 152}) {
    expected.insert(expected.end(), all.token_ids.begin() + all.sequence_starts[row],
                    all.token_ids.begin() + all.sequence_starts[row + 1]);
  }
  CHECK(picked.rows == 512);
  CHECK(picked.token_ids == expected);
}

TEST_CASE("joined chats are cut into 136 sequences of 512 and the last 200 tokens dropped") {
  llmc::text::Tokenizer tokenizer(kTinyLlama);
  llmc::text::DatasetOptions options = calibration();
  options.concatenate = true;
  options.max_seq_length = 512;
  const llmc::text::Dataset dataset = llmc::text::load_dataset(&tokenizer, options);
  CHECK(dataset.sequence_starts.size() == 137);  // 136 x 512 = 69632 = 69832 - 200
  CHECK(dataset.token_ids.size() == 69632);
  CHECK(dataset.truncated == 0);
}

TEST_CASE("plain text starts with the BOS token only when special tokens are asked for") {
  llmc::text::Tokenizer tokenizer(kTinyLlama);
  const std::vector<int32_t> bare = tokenizer.encode("In the beginning", false);
  std::vector<int32_t> special = tokenizer.encode("In the beginning", true);
  REQUIRE(special.size() == bare.size() + 1);
  CHECK(special[0] == 0);
  special.erase(special.begin());
  CHECK(special == bare);
  CHECK(tokenizer.encode("", false).empty());
  CHECK(tokenizer.encode("<|eot_id|>", false) == std::vector<int32_t>{4});
}

TEST_CASE("the date a template prints is the one given") {
  llmc::text::Tokenizer tokenizer(kTinyLlama, "{{ strftime_now('%d %b %Y') }}");
  CHECK(tokenizer.render("[]", false) == "26 Jul 2024");
  CHECK(tokenizer.render("[]", false, "2025-03-05") == "05 Mar 2025");
}
