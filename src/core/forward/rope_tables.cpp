#include "core/forward/rope_tables.hpp"

#include <algorithm>
#include <cmath>

namespace llmc {

namespace {
constexpr size_t kTableKeep = 8;
}

std::shared_ptr<const RopeTables::Table> RopeTables::find(const RopeSpec& spec, int64_t length) {
  const bool own_length = spec.kind == RopeKind::dynamic;  // its frequencies depend on the length
  const std::lock_guard lock(mutex_);
  for (const auto& table : tables_)
    if (table->spec == spec && (own_length ? table->length == length : table->length >= length)) return table;
  const RopeFrequencies frequencies = rope_frequencies(spec, length);
  auto table = std::make_shared<Table>();
  table->spec = spec;
  table->length = length;
  for (int64_t p = 0; p < length; ++p)
    for (const float inverse : frequencies.inverse) {
      const float angle = static_cast<float>(p) * inverse;
      table->cosine.push_back(static_cast<float>(std::cos(static_cast<double>(angle))) *
                              frequencies.attention_factor);
      table->sine.push_back(static_cast<float>(std::sin(static_cast<double>(angle))) *
                            frequencies.attention_factor);
    }
  if (tables_.size() == kTableKeep) tables_.erase(tables_.begin());
  tables_.push_back(table);
  return table;
}

std::vector<std::shared_ptr<const RopeTables::Table>> RopeTables::of_sequences(
    const RopeSpec& spec,
    std::span<const int64_t> starts,
    std::span<const int64_t> past) {
  std::vector<int64_t> lengths;
  for (size_t s = 0; s + 1 < starts.size(); ++s) lengths.push_back(past[s] + starts[s + 1] - starts[s]);
  const int64_t longest = lengths.empty() ? 0 : *std::max_element(lengths.begin(), lengths.end());
  std::vector<std::shared_ptr<const Table>> tables;
  for (const int64_t length : lengths)
    tables.push_back(find(spec, spec.kind == RopeKind::dynamic ? length : longest));
  return tables;
}

}  // namespace llmc
