// llmc diff: how two folders of one model differ, in codes, scales, other tensors and config.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "core/formats/compressed_tensors.hpp"
#include "core/json/json_value.hpp"
#include "core/inspection/module_table.hpp"
#include "core/model/sound_folder.hpp"
#include "core/quantize/number_formats.hpp"
#include "core/quantize/rounding.hpp"
#include "core/quantize/row_tiles.hpp"
#include "llmc/error.hpp"
#include "llmc/inspection.hpp"

namespace llmc {
namespace {

constexpr int64_t kRowsPerSum = 256;  // of differences: another number changes the last bits of their total

bool same_bytes(const Checkpoint& a, const Checkpoint& b, const std::string& name) {
  const TensorInfo x = a.info(name), y = b.info(name);
  if (x.dtype != y.dtype || x.shape != y.shape) return false;
  std::vector<std::byte> left(static_cast<size_t>(std::min(x.bytes, kIoPiece))), right(left.size());
  for (int64_t at = 0; at < x.bytes; at += kIoPiece) {
    const int64_t count = std::min(kIoPiece, x.bytes - at);
    a.read_bytes(name, at, count, left.data());
    b.read_bytes(name, at, count, right.data());
    if (std::memcmp(left.data(), right.data(), static_cast<size_t>(count)) != 0) return false;
  }
  return true;
}

// A weight as its server sees it, in row tiles: decoded, or as it lies there.
class ServedRows {
 public:
  ServedRows(const Checkpoint& folder, const ModuleTable& table, const std::string& module) {
    if (const Scheme* scheme = table.scheme_of(module)) matrix = table.reader()->read(module, *scheme);
    else plain_ = folder.read(module + ".weight");
  }
  const Shape& shape() const { return matrix ? matrix->shape : plain_.shape(); }
  void rows(int64_t row, int64_t count, std::vector<float>& values) const {
    values.resize(static_cast<size_t>(count * shape()[1]));
    if (matrix)
      dequantize_rows(matrix->codes.view().row_range(row, row + count), row, matrix->parameters, matrix->args,
                      DType::f32, reinterpret_cast<std::byte*>(values.data()));
    else to_float(plain_.view().row_range(row, row + count), values.data());
  }
  std::optional<QuantizedMatrix> matrix;

 private:
  Tensor plain_;
};

double weight_difference(const ServedRows& a, const ServedRows& b, const ParallelFor& parallel) {
  const int64_t rows = a.shape()[0], tiles = (rows + kRowsPerSum - 1) / kRowsPerSum;
  std::vector<double> error(static_cast<size_t>(tiles)), energy(error.size());
  parallel(tiles, 1, [&](int64_t begin, int64_t end) {
    std::vector<float> x, y;
    for (int64_t t = begin; t < end; ++t) {
      const int64_t row = t * kRowsPerSum, count = std::min(kRowsPerSum, rows - row);
      a.rows(row, count, x);
      b.rows(row, count, y);
      for (size_t i = 0; i < x.size(); ++i) {
        const double p = x[i], q = y[i];
        error[static_cast<size_t>(t)] += (p - q) * (p - q), energy[static_cast<size_t>(t)] += q * q;
      }
    }
  });
  double top = 0, bottom = 0;
  for (size_t t = 0; t < error.size(); ++t) {
    top += error[t];
    bottom += energy[t];
  }
  return bottom > 0 ? std::sqrt(top / bottom) : top > 0 ? 1.0 : 0.0;
}

double scale_difference(const QuantizedMatrix& a, const QuantizedMatrix& b) {
  const Tensor x = scale_values(a.parameters, a.args), y = scale_values(b.parameters, b.args);
  double worst = 0;
  for (int64_t i = 0; i < x.size(); ++i) {
    const double p = x.as<float>()[i], q = y.as<float>()[i], most = std::max(std::fabs(p), std::fabs(q));
    if (p != q) worst = std::max(worst, std::isfinite(most) && most > 0 ? std::fabs(p - q) / most : 1.0);
  }
  return worst;
}

bool comparable_codes(const QuantizedMatrix& a, const QuantizedMatrix& b) {
  return a.shape == b.shape && a.args.type == b.args.type && a.args.num_bits == b.args.num_bits &&
      a.codes.dtype() == b.codes.dtype() && scale_shape(a.args, a.shape) == scale_shape(b.args, b.shape);
}

class Differ {
 public:
  Differ(const std::string& a, const std::string& b, Backend& backend, const std::atomic<bool>* cancel)
      : a_(a),
        b_(b),
        table_a_(a_),
        table_b_(b_),
        parallel_(backend),
        cancel_(cancel) {}

  DiffReport run() {
    if (table_a_.reader()) require_sound(a_, table_a_.reader(), true);
    if (table_b_.reader()) require_sound(b_, table_b_.reader(), true);
    compare_configs(parse_json(a_.config(), "config.json"), parse_json(b_.config(), "config.json"), "");
    for (const auto& [module, entry] : table_a_.modules()) compare_module(module, entry);
    for (const std::string& name : b_.names())
      if (!a_.contains(name) && !covered_.count(name)) report_.only_b.push_back(name);
    std::sort(report_.only_b.begin(), report_.only_b.end());
    return std::move(report_);
  }

 private:
  static bool has_weight(const Checkpoint& folder, const std::string& module, const Scheme* scheme) {
    return scheme
        ? true
        : folder.contains(module + ".weight") && folder.info(module + ".weight").shape.size() == 2 &&
            item_size(folder.info(module + ".weight").dtype) > 1;
  }

  void compare_module(const std::string& module, const ModuleTable::Entry& entry) {
    if (cancel_ && cancel_->load(std::memory_order_relaxed))
      throw Error(ErrorCode::cancelled, "diff: cancelled");
    const Scheme *scheme_a = entry.scheme, *scheme_b = table_b_.scheme_of(module);
    const bool as_matrix = (scheme_a || scheme_b) && has_weight(a_, module, scheme_a) &&
        has_weight(b_, module, scheme_b);
    if (as_matrix) compare_matrix(module, scheme_a, scheme_b);
    for (const std::string& part : entry.parts) {
      const std::string name = module.empty() ? part : module + "." + part;
      if (covered_.count(name)) continue;
      if (!b_.contains(name)) report_.only_a.push_back(name);
      else if (same_bytes(a_, b_, name)) ++report_.equal_tensors;
      else report_.different.push_back(name);
    }
  }

  void compare_matrix(const std::string& module, const Scheme* scheme_a, const Scheme* scheme_b) {
    DiffReport::Matrix row{module, scheme_a ? describe(*scheme_a->weights) : "",
                           scheme_b ? describe(*scheme_b->weights) : ""};
    row.equal = cover(module, scheme_a, scheme_b);
    const ServedRows a(a_, table_a_, module), b(b_, table_b_, module);
    if (a.matrix && b.matrix && comparable_codes(*a.matrix, *b.matrix)) {
      const uint8_t *x = a.matrix->codes.as<uint8_t>(), *y = b.matrix->codes.as<uint8_t>();
      row.codes = a.matrix->codes.size();
      for (int64_t i = 0; i < row.codes; ++i) row.equal_codes += x[i] == y[i];
      row.scale_difference = scale_difference(*a.matrix, *b.matrix);
    }
    if (!row.equal && a.shape() == b.shape()) row.weight_difference = weight_difference(a, b, parallel_);
    report_.codes += row.codes;
    report_.equal_codes += row.equal_codes;
    report_.matrices.push_back(std::move(row));
  }

  // Marks the tensors that the matrix row speaks for; are all of them there on both sides and equal?
  bool cover(const std::string& module, const Scheme* scheme_a, const Scheme* scheme_b) {
    bool equal = scheme_a && scheme_b;
    const auto& parts_b = table_b_.modules().at(module).parts;
    std::set<std::string> parts = table_a_.modules().at(module).parts;
    parts.insert(parts_b.begin(), parts_b.end());
    for (const std::string& part : parts) {
      const std::string name = module + "." + part;
      if (part != "weight" && !is_quantization_part(part)) continue;
      covered_.insert(name);
      const bool same = a_.contains(name) && b_.contains(name) && same_bytes(a_, b_, name);
      report_.equal_tensors += same;
      equal = equal && same;
    }
    return equal;
  }

  void compare_configs(const JsonValue& a, const JsonValue& b, const std::string& path) {
    if (a.is(JsonValue::Kind::object) && b.is(JsonValue::Kind::object)) {
      std::map<std::string, std::pair<const JsonValue*, const JsonValue*>> members;
      for (const auto& [key, value] : a.members) members[key].first = &value;
      for (const auto& [key, value] : b.members) members[key].second = &value;
      for (const auto& [key, sides] : members) {
        const std::string below = path.empty() ? key : path + "." + key;
        if (sides.first && sides.second) compare_configs(*sides.first, *sides.second, below);
        else
          report_.config.push_back({below, sides.first ? dump_json_compact(*sides.first) : "",
                                    sides.second ? dump_json_compact(*sides.second) : ""});
      }
      return;
    }
    if (a.is(JsonValue::Kind::array) && b.is(JsonValue::Kind::array) && a.items.size() == b.items.size()) {
      for (size_t i = 0; i < a.items.size(); ++i)
        compare_configs(a.items[i], b.items[i], fmt::format("{}[{}]", path, i));
      return;
    }
    const std::string left = dump_json_compact(a), right = dump_json_compact(b);
    if (left != right) report_.config.push_back({path, left, right});
  }

  Checkpoint a_, b_;
  ModuleTable table_a_, table_b_;
  ParallelFor parallel_;
  const std::atomic<bool>* cancel_;
  std::set<std::string> covered_;
  DiffReport report_;
};

}  // namespace

bool DiffReport::identical() const {
  return different.empty() && only_a.empty() && only_b.empty() && config.empty() &&
      std::all_of(matrices.begin(), matrices.end(), [](const Matrix& row) { return row.equal; });
}

DiffReport diff_models(const std::string& a,
                       const std::string& b,
                       Backend& backend,
                       const std::atomic<bool>* cancel) {
  return Differ(a, b, backend, cancel).run();
}

std::string to_json(const DiffReport& report) {
  std::vector<JsonValue> matrices, config;
  for (const auto& row : report.matrices)
    matrices.push_back(JsonValue::object({{"module", row.module},
                                          {"scheme_a", row.scheme_a},
                                          {"scheme_b", row.scheme_b},
                                          {"codes", row.codes},
                                          {"equal_codes", row.equal_codes},
                                          {"scale_difference", row.scale_difference},
                                          {"weight_difference", row.weight_difference},
                                          {"equal", row.equal}}));
  for (const auto& difference : report.config)
    config.push_back(
        JsonValue::object({{"path", difference.path}, {"a", difference.a}, {"b", difference.b}}));
  return dump_json_utf8(JsonValue::object({{"identical", report.identical()},
                                           {"codes", report.codes},
                                           {"equal_codes", report.equal_codes},
                                           {"equal_tensors", report.equal_tensors},
                                           {"different", report.different},
                                           {"only_a", report.only_a},
                                           {"only_b", report.only_b},
                                           {"config", JsonValue::array(std::move(config))},
                                           {"matrices", JsonValue::array(std::move(matrices))}}));
}

}  // namespace llmc
