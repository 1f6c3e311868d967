// Backend::execute without its arithmetic: walks over the nodes of a segment, finds what each reads and writes,
// checks it, and hands it to the device as a call. Every error says the same on every backend, but for its name.
#pragma once
#include <deque>
#include <span>
#include <string>

#include "core/forward/forward_device.hpp"
#include "llmc/backend/execution.hpp"

namespace llmc {

class ForwardPass {
 public:
  ForwardPass(ForwardDevice& device, RopeTables& rope, const Execution& execution);

  void run(std::span<const Node> nodes);

  // For the checks of operations (operations/checks.hpp). What they return is valid until the call is done.
  const TokenBatch& batch() const { return execution_.batch; }
  RopeTables& rope() { return rope_; }
  const Tensor& input(const Node& node, size_t index);
  // rounded when the execution says so of `name`
  const Tensor& rounded_input(const Node& node, size_t index, const std::string& name);
  Tensor& output(const Node& node, int64_t width);
  const Tensor& weight(const Node& node, WeightRole role);
  const Tensor* find_weight(const Node& node, WeightRole role);        // null: the node has none of this role
  std::span<const int64_t> past() const { return past_; }              // [sequences]
  std::span<const int64_t> key_starts() const { return key_starts_; }  // the batch's, past tokens included
  // The keys or values of an attention with those of the past tokens before each sequence's; kept for the next.
  const Tensor& with_past(const Node& node, const Tensor& fresh, Tensor SequenceState::Kept::*kept);
  [[noreturn]] void fail(const Node& node, const std::string& text) const;

  // For fusions.cpp.
  bool rounds() const { return execution_.rounding != nullptr; }
  // nobody reads the value after that node of the segment
  bool dies_at(size_t node, ValueId value) const;

 private:
  const ActivationQuantization* rounding_of(const std::string& name) const;
  void round(const ActivationQuantization& how, const Tensor& x, Tensor& out);
  void round_output(const Node& node);

  ForwardDevice& device_;
  RopeTables& rope_;
  const Execution& execution_;
  const DType dtype_;
  std::vector<int64_t> past_, key_starts_;
  std::deque<Tensor> held_;  // what was made for one call alone
};

}  // namespace llmc
