// The fields every quantizer shares: which modules get which scheme (targets, ignore, scheme, config_groups,
// observers).
#pragma once
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "llmc/modifier.hpp"
#include "modifiers/arguments.hpp"
#include "modifiers/joint_scales.hpp"

namespace llmc {

class QuantizationScope {
 public:
  explicit QuantizationScope(Arguments& arguments);

  // null: ignored, not targeted, UNQUANTIZED, or not a Linear
  const Scheme* scheme_for(const Module& module) const;
  std::vector<std::string> unmatched_targets(std::span<const Module> modules) const;
  std::vector<std::string> unmatched_ignores(std::span<const Module> modules) const;
  const std::vector<Scheme>& schemes() const { return schemes_; }
  std::vector<Scheme>& schemes() { return schemes_; }
  const QuantizationArgs* kv_cache_scheme() const { return kv_cache_ ? &*kv_cache_ : nullptr; }
  // some activation's scale is fixed ahead of time, or an observer weighs channels
  bool needs_calibration() const;

 private:
  void add_scheme(Scheme scheme);
  void add_preset(Arguments& arguments,
                  const char* key,
                  const std::string& name,
                  const std::vector<std::string>& targets);
  void read_config_groups(Arguments& arguments, const RecipeValue& groups);
  void read_scheme(Arguments& arguments, const RecipeValue& scheme, const std::vector<std::string>& targets);
  void set_observers(Arguments& arguments);
  void read_kv_cache(Arguments& arguments);
  void check(Arguments& arguments) const;

  std::vector<Scheme> schemes_;
  std::optional<QuantizationArgs> kv_cache_;
  std::map<std::string, size_t> scheme_of_target_;  // the later group wins a target string both name
  std::optional<TargetMatcher> targets_, ignore_;
  std::vector<std::string> ignored_;  // the entries of ignore_
};

// Those of `entries` that match none of `modules`. A head may be tied and have no module of its own: lm_head
// always counts as there.
std::vector<std::string> unmatched_of(const std::vector<std::string>& entries,
                                      std::span<const Module> modules);

// actorder group visits columns in the order of static, and its column index on disk is of no use to a reader:
// static takes its place, with a note; --compat reference refuses it, as llm-compressor does.
std::vector<std::string> take_group_order_as_static(QuantizationScope& scope,
                                                    Arguments& arguments,
                                                    Compat compat);

// A quantizer whose modules and schemes are said by those fields.
class ScopedQuantizer : public Quantizer {
 public:
  const Scheme* scheme_for(const Module& module) const override { return scope_.scheme_for(module); }
  std::vector<std::string> unmatched_targets(std::span<const Module> modules) const override {
    return scope_.unmatched_targets(modules);
  }
  std::vector<std::string> unmatched_ignores(std::span<const Module> modules) const override {
    return scope_.unmatched_ignores(modules);
  }
  std::vector<std::string> notes() const override { return notes_; }
  const std::vector<Scheme>& schemes() const override { return scope_.schemes(); }
  bool needs_calibration() const override { return scope_.needs_calibration(); }
  const QuantizationArgs* kv_cache_scheme() const override { return scope_.kv_cache_scheme(); }
  bool needs_channels(const Scheme& scheme) const override { return weighs_channels(scheme); }
  // One after another.
  std::vector<std::vector<QuantizedMatrix>> quantize_all(std::span<const MatrixSet> sets,
                                                         Backend& backend,
                                                         std::vector<LinearReport>& rows) const override;

 protected:
  explicit ScopedQuantizer(Arguments& arguments) : scope_(arguments) {}
  QuantizationScope scope_;
  std::vector<std::string> notes_;
};

}  // namespace llmc
