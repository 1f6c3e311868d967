#include "summary_table.hpp"

#include <fmt/format.h>

#include <map>
#include <vector>

#include "report_text.hpp"

namespace cli {

namespace {

struct LayerRow {
  std::string name, scheme, method;
  double error = 0, dampening = 0, seconds = 0;
  int matrices = 0;
};

// "model.layers.3.mlp.up_proj" -> "model.layers.3"; other modules stand for themselves.
std::string layer_of(const std::string& module) {
  const size_t at = module.find("layers.");
  return at == std::string::npos ? module : module.substr(0, module.find('.', at + 7));
}

std::vector<LayerRow> rows_by_layer(const nlohmann::json& linears) {
  std::vector<LayerRow> rows;
  for (const auto& linear : linears) {
    const std::string layer = layer_of(linear.at("name"));
    if (rows.empty() || rows.back().name != layer)
      rows.push_back({layer, linear.at("scheme"), linear.at("method")});
    LayerRow& row = rows.back();
    if (row.scheme != linear.at("scheme").get_ref<const std::string&>()) row.scheme = "mixed";
    if (row.method != linear.at("method").get_ref<const std::string&>()) row.method = "mixed";
    row.error += linear.at("relative_error").get<double>();
    row.dampening = std::max(row.dampening, linear.at("dampening").get<double>());
    row.seconds += linear.at("seconds").get<double>();
    ++row.matrices;
  }
  return rows;
}

double megabytes(const nlohmann::json& bytes) { return bytes.get<double>() / 1e6; }

}  // namespace

std::string summary_table(const std::string& report_json, const std::string& output_dir) {
  const auto report = parse_report(report_json);
  std::string out = fmt::format("{:<24} {:<20} {:<7} {:>10} {:>9} {:>8}\n", "layer", "scheme", "method",
                                "rel. error", "damping", "seconds");
  for (const LayerRow& row : rows_by_layer(report.at("linears")))
    out += fmt::format("{:<24} {:<20} {:<7} {:>10.4f} {:>9} {:>8.2f}\n", row.name, row.scheme, row.method,
                       row.error / row.matrices, row.dampening > 0 ? fmt::format("{:g}", row.dampening) : "-",
                       row.seconds);
  for (const auto& linear : report.at("linears"))
    if (!linear.at("note").get<std::string>().empty())
      out += fmt::format("note: {}: {}\n", linear.at("name").get<std::string>(),
                         linear.at("note").get<std::string>());
  const double before = megabytes(report.at("bytes_before")), after = megabytes(report.at("bytes_after"));
  if (report.at("tokens").get<int64_t>())
    out += fmt::format("calibration  {} samples, {} tokens\n", report.at("samples").get<int64_t>(),
                       report.at("tokens").get<int64_t>());
  out += fmt::format("size         {:.1f} MB -> {:.1f} MB ({:.2f}x smaller)\n", before, after,
                     before / after);
  out += fmt::format(
      "time         {:.2f} s (calibration {:.2f}, quantization {:.2f}, writing and checking {:.2f}) on {}\n",
      report.at("seconds").get<double>(), report.at("calibration_seconds").get<double>(),
      report.at("quantization_seconds").get<double>(), report.at("writing_seconds").get<double>(),
      report.at("device").get<std::string>());
  out += fmt::format("peak memory  {:.0f} MB\n", megabytes(report.at("peak_memory")));
  out += fmt::format("written to   {}\n", output_dir);
  return out;
}

}  // namespace cli
