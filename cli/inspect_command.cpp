#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstdio>
#include <string>
#include <vector>

#include "command.hpp"
#include "llmc_tools.h"
#include "report_text.hpp"

namespace cli {

namespace {

struct InspectArguments {
  SessionSettings session;
  std::string model;
  bool json = false;
};

std::string size_text(int64_t bytes) {
  const auto value = static_cast<double>(bytes);
  return bytes >= 1'000'000'000 ? fmt::format("{:.2f} GB", value / 1e9)
      : bytes >= 1'000'000      ? fmt::format("{:.2f} MB", value / 1e6)
                                : fmt::format("{:.1f} kB", value / 1e3);
}

std::string text(const nlohmann::json& object, const char* key) { return object.at(key).get<std::string>(); }
int64_t number(const nlohmann::json& object, const char* key) { return object.at(key).get<int64_t>(); }

std::string scheme_text(const nlohmann::json& row) {
  if (text(row, "scheme").empty()) return "-";
  return text(row, "inputs").empty() ? text(row, "scheme")
                                     : fmt::format("{}, inputs {}", text(row, "scheme"), text(row, "inputs"));
}

std::string dtypes_text(const nlohmann::json& row) {
  return fmt::format("{}", fmt::join(row.at("dtypes").get<std::vector<std::string>>(), "+"));
}

std::string table(const nlohmann::json& report) {
  size_t name = 4, scheme = 6, shape = 5;
  for (const auto& row : report.at("rows")) {
    name = std::max(name, text(row, "name").size());
    scheme = std::max(scheme, scheme_text(row).size());
    shape = std::max(shape, text(row, "shape").size());
  }
  std::string out = fmt::format("{:<{}}  {:>6}  {:<{}}  {:<15}  {:<{}}  {:>10}  {:>11}\n", "name", name,
                                "count", "scheme", scheme, "dtypes", "shape", shape, "size", "bits/weight");
  for (const auto& row : report.at("rows"))
    out += fmt::format("{:<{}}  {:>6}  {:<{}}  {:<15}  {:<{}}  {:>10}  {:>11.3f}\n", text(row, "name"), name,
                       number(row, "count"), scheme_text(row), scheme, dtypes_text(row), text(row, "shape"),
                       shape, size_text(number(row, "bytes")), row.at("bits_per_weight").get<double>());
  out += "\n";
  for (const auto& part : report.at("parts"))
    out += fmt::format("{:<12} {:>10}  {:>16} parameters\n", text(part, "name"),
                       size_text(number(part, "bytes")), number(part, "parameters"));
  out += fmt::format("{:<12} {:>10}  {:>16} parameters in {} tensors and {} file{}, {:.3f} bits each\n",
                     "total", size_text(number(report, "bytes")), number(report, "parameters"),
                     number(report, "tensors"), number(report, "files"),
                     number(report, "files") == 1 ? "" : "s", report.at("bits_per_weight").get<double>());
  if (number(report, "quantized_parameters"))
    out += fmt::format("{:<12} {:>10}  {:>16} parameters, {:.3f} bits each with their scales\n", "quantized",
                       size_text(number(report, "quantized_bytes")), number(report, "quantized_parameters"),
                       report.at("quantized_bits_per_weight").get<double>());
  return out;
}

std::string heading(const nlohmann::json& report) {
  std::string out = fmt::format(
      "{} ({})", text(report, "architecture").empty() ? "unknown architecture" : text(report, "architecture"),
      text(report, "model_type").empty() ? "no model_type" : text(report, "model_type"));
  out += text(report, "quant_method").empty()
      ? ", not quantized"
      : fmt::format(", {} {}", text(report, "quant_method"), text(report, "format"));
  if (!text(report, "kv_cache").empty()) out += fmt::format(", KV cache {}", text(report, "kv_cache"));
  return out + "\n";
}

void run(const InspectArguments& arguments) {
  llmc_inspect_options options{};
  options.struct_size = sizeof options;
  options.model_dir = arguments.model.c_str();
  const Session session(arguments.session);
  char* result = nullptr;
  llmc_error* error = nullptr;
  const llmc_status status = llmc_inspect(session.get(), &options, &result, &error);
  check(status, error);
  const std::string json = take_json(result);
  const auto report = parse_report(json);
  std::fputs(arguments.json ? (json + "\n").c_str() : (heading(report) + table(report)).c_str(), stdout);
}

}  // namespace

void add_inspect_command(CLI::App& app) {
  auto arguments = std::make_shared<InspectArguments>();
  CLI::App& command = *app.add_subcommand(
      "inspect",
      "What lies in a model folder: schemes, dtypes, shapes, sizes, bits per weight (reads headers only)");
  command.add_option("model", arguments->model, "Plain or compressed model folder")->required();
  command.add_flag("--json", arguments->json,
                   "Print {\"rows\", \"parts\", \"bytes\", \"bits_per_weight\", ...}");
  arguments->session.add_to(command);
  command.callback([arguments] { run(*arguments); });
}

}  // namespace cli
