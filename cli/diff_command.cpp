#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <map>

#include "command.hpp"
#include "llmc_tools.h"
#include "report_text.hpp"

namespace cli {

namespace {

constexpr size_t kLinesOfAKind = 20;

struct DiffArguments {
  SessionSettings session;
  std::string a, b;
  bool json = false;
};

struct KindRow {
  std::string scheme;
  int matrices = 0, equal = 0;
  int64_t codes = 0, equal_codes = 0;
  double scales = 0, weights = 0;
};

std::string scheme_text(const nlohmann::json& row) {
  const auto side = [&](const char* key) {
    return row.at(key).get<std::string>().empty() ? std::string("plain") : row.at(key).get<std::string>();
  };
  return side("scheme_a") == side("scheme_b") ? side("scheme_a")
                                              : side("scheme_a") + " | " + side("scheme_b");
}

// One row per last name component, as in verify.
std::string matrix_table(const nlohmann::json& matrices) {
  std::map<std::string, KindRow> rows;
  for (const auto& matrix : matrices) {
    const std::string module = matrix.at("module");
    KindRow& row = rows[module.substr(module.rfind('.') + 1)];
    row.scheme = row.matrices && row.scheme != scheme_text(matrix) ? "mixed" : scheme_text(matrix);
    ++row.matrices;
    row.equal += matrix.at("equal").get<bool>();
    row.codes += matrix.at("codes").get<int64_t>();
    row.equal_codes += matrix.at("equal_codes").get<int64_t>();
    row.scales = std::max(row.scales, matrix.at("scale_difference").get<double>());
    row.weights = std::max(row.weights, matrix.at("weight_difference").get<double>());
  }
  if (rows.empty()) return "";
  std::string out = fmt::format("{:<16} {:>8} {:>6} {:<36} {:>12} {:>12} {:>12}\n", "module", "matrices",
                                "equal", "scheme", "equal codes", "scales apart", "error apart");
  for (const auto& [name, row] : rows)
    out += fmt::format(
        "{:<16} {:>8} {:>6} {:<36} {:>12} {:>12} {:>12.4g}\n", name, row.matrices, row.equal, row.scheme,
        row.codes ? fmt::format("{:.3f} %",
                                100.0 * static_cast<double>(row.equal_codes) / static_cast<double>(row.codes))
                  : "-",
        row.codes ? fmt::format("{:.4g}", row.scales) : "-", row.weights);
  return out;
}

std::string name_lines(const nlohmann::json& names, const char* what) {
  std::string out;
  for (size_t i = 0; i < std::min(names.size(), kLinesOfAKind); ++i)
    out += fmt::format("{}: {}\n", what, names[i].get<std::string>());
  if (names.size() > kLinesOfAKind)
    out += fmt::format("{}: and {} more\n", what, names.size() - kLinesOfAKind);
  return out;
}

std::string config_lines(const nlohmann::json& differences) {
  constexpr size_t kLongest = 60;  // a whole object may be on one side only
  const auto side = [](const nlohmann::json& value) {
    const std::string text = value.get<std::string>();
    return text.empty()          ? std::string("(absent)")
        : text.size() > kLongest ? fmt::format("{}...", text.substr(0, kLongest))
                                 : text;
  };
  std::string out;
  for (const auto& difference : differences)
    out += fmt::format("config.json: {}: {} | {}\n", difference.at("path").get<std::string>(),
                       side(difference.at("a")), side(difference.at("b")));
  return out;
}

void run(const DiffArguments& arguments) {
  llmc_diff_options options{};
  options.struct_size = sizeof options;
  options.a_dir = arguments.a.c_str();
  options.b_dir = arguments.b.c_str();
  const Session session(arguments.session);
  char* text = nullptr;
  llmc_error* error = nullptr;
  const llmc_status status = llmc_diff(session.get(), &options, &text, &error);
  check(status, error);
  const std::string json = take_json(text);
  const auto report = parse_report(json);
  const bool identical = report.at("identical");
  if (arguments.json) {
    std::printf("%s\n", json.c_str());
  } else {
    const auto codes = report.at("codes").get<int64_t>(), equal = report.at("equal_codes").get<int64_t>();
    std::string out = matrix_table(report.at("matrices")) + name_lines(report.at("different"), "different") +
        name_lines(report.at("only_a"), "only in the first") +
        name_lines(report.at("only_b"), "only in the second") + config_lines(report.at("config"));
    if (codes)
      out += fmt::format("{:.4f} % of {} codes are equal\n",
                         100.0 * static_cast<double>(equal) / static_cast<double>(codes), codes);
    out += fmt::format("{}: {} tensors are equal\n", identical ? "identical" : "different",
                       report.at("equal_tensors").get<int64_t>());
    std::fputs(out.c_str(), stdout);
  }
  if (!identical) throw ExitCode{1};
}

}  // namespace

void add_diff_command(CLI::App& app) {
  auto arguments = std::make_shared<DiffArguments>();
  CLI::App& command = *app.add_subcommand(
      "diff",
      "Compare two folders of one model: codes, scales, other tensors, config; exit code 1 when they differ");
  command.add_option("a", arguments->a, "Plain or compressed model folder")->required();
  command.add_option("b", arguments->b, "The other one")->required();
  command.add_flag("--json", arguments->json,
                   "Print {\"identical\", \"codes\", \"equal_codes\", \"matrices\", \"config\", ...}");
  arguments->session.add_to(command);
  command.callback([arguments] { run(*arguments); });
}

}  // namespace cli
