#include <fmt/format.h>

#include <cstdio>
#include <map>

#include "command.hpp"
#include "llmc_tools.h"
#include "report_text.hpp"

namespace cli {

namespace {

struct VerifyArguments {
  SessionSettings session;
  std::string model, source;
  bool json = false;
};

std::string fault_line(const nlohmann::json& fault) {
  const std::string tensor = fault.at("tensor"), got = fault.at("got"), wanted = fault.at("wanted");
  return wanted.empty() ? fmt::format("{}: {}\n", tensor, got)
                        : fmt::format("{}: got {}, wanted {}\n", tensor, got, wanted);
}

struct KindRow {
  std::string scheme, compared;
  int matrices = 0;
  double error = 0, worst = 0, rounding = 0;
};

// One row per last name component: q_proj, k_proj, ...
std::string error_table(const nlohmann::json& matrices) {
  std::map<std::string, KindRow> rows;
  for (const auto& matrix : matrices) {
    const std::string module = matrix.at("module");
    KindRow& row = rows[module.substr(module.rfind('.') + 1)];
    const double error = matrix.at("relative_error");
    row.scheme = row.matrices && row.scheme != matrix.at("scheme").get<std::string>()
        ? "mixed"
        : matrix.at("scheme").get<std::string>();
    row.compared = matrix.at("compared").get<std::string>();
    row.error += error;
    row.worst = std::max(row.worst, error);
    row.rounding += matrix.at("rounding_error").get<double>();
    ++row.matrices;
  }
  if (rows.empty()) return "";
  std::string out = fmt::format("{:<20} {:>8} {:<22} {:<20} {:>10} {:>10} {:>10}\n", "module", "matrices",
                                "scheme", "compared", "mean error", "worst", "rounding");
  for (const auto& [name, row] : rows)
    out += fmt::format("{:<20} {:>8} {:<22} {:<20} {:>10.4f} {:>10.4f} {:>10.4f}\n", name, row.matrices,
                       row.scheme, row.compared, row.error / row.matrices, row.worst,
                       row.rounding / row.matrices);
  return out;
}

void run(const VerifyArguments& arguments) {
  llmc_verify_options options{};
  options.struct_size = sizeof options;
  options.model_dir = arguments.model.c_str();
  options.source_dir = arguments.source.empty() ? nullptr : arguments.source.c_str();
  const Session session(arguments.session);
  char* text = nullptr;
  llmc_error* error = nullptr;
  const llmc_status status = llmc_verify(session.get(), &options, &text, &error);
  check(status, error);
  const std::string json = take_json(text);
  const auto report = parse_report(json);
  const auto& faults = report.at("faults");
  if (arguments.json) {
    std::printf("%s\n", json.c_str());
  } else {
    std::string out = error_table(report.at("matrices"));
    for (const auto& note : report.at("notes")) out += fmt::format("note: {}\n", note.get<std::string>());
    for (const auto& fault : faults) out += fault_line(fault);
    out += fmt::format("{}: {} tensors, {} quantized matrices, {} fault{}\n",
                       faults.empty() ? "sound" : "not sound", report.at("tensors").get<int64_t>(),
                       report.at("quantized").get<int64_t>(), faults.size(), faults.size() == 1 ? "" : "s");
    std::fputs(out.c_str(), stdout);
  }
  if (!faults.empty()) throw ExitCode{1};
}

}  // namespace

void add_verify_command(CLI::App& app) {
  auto arguments = std::make_shared<VerifyArguments>();
  CLI::App& command = *app.add_subcommand("verify",
                                          "Check a compressed folder: every tensor decoded, names and config "
                                          "compared; exit code 1 with a list of faults");
  command.add_option("model", arguments->model, "Compressed (or plain) model folder")->required();
  command.add_option("--against", arguments->source,
                     "The unquantized model it was made from: compares every value");
  command.add_flag("--json", arguments->json, "Print {\"sound\", \"faults\", \"notes\", \"matrices\", ...}");
  arguments->session.add_to(command);
  command.callback([arguments] { run(*arguments); });
}

}  // namespace cli
