#include <fmt/format.h>

#include <cstdio>

#include "command.hpp"
#include "llmc_tools.h"
#include "options.hpp"
#include "report_text.hpp"

namespace cli {

namespace {

struct EvalArguments {
  SessionSettings session;
  std::string model, reference, text, tokenizer;
  int32_t dtype = LLMC_DTYPE_FLOAT32;
  int64_t window = 512;
  bool json = false;
};

void run(const EvalArguments& arguments) {
  llmc_eval_options options{};
  options.struct_size = sizeof options;
  options.dtype = arguments.dtype;
  options.model_dir = arguments.model.c_str();
  options.reference_dir = arguments.reference.empty() ? nullptr : arguments.reference.c_str();
  options.text = arguments.text.c_str();
  options.tokenizer_dir = arguments.tokenizer.empty() ? nullptr : arguments.tokenizer.c_str();
  options.window = arguments.window;
  const Session session(arguments.session);
  char* text = nullptr;
  llmc_error* error = nullptr;
  const llmc_status status = llmc_eval(session.get(), &options, &text, &error);
  check(status, error);
  const std::string result = text;
  llmc_json_free(text);
  if (arguments.json) {
    std::printf("%s\n", result.c_str());
    return;
  }
  const auto values = parse_report(result);
  std::fputs(fmt::format("perplexity       {:.4f} over {} tokens\n", values.at("perplexity").get<double>(),
                         values.at("tokens").get<int64_t>())
                 .c_str(),
             stdout);
  if (values.contains("kl"))
    std::fputs(fmt::format("KL to reference  {:.5f} nats per token\ntop-1 agreement  {:.2f} %\n",
                           values.at("kl").get<double>(), 100.0 * values.at("top1").get<double>())
                   .c_str(),
               stdout);
}

}  // namespace

void add_eval_command(CLI::App& app) {
  auto arguments = std::make_shared<EvalArguments>();
  CLI::App& command = *app.add_subcommand("eval", "Perplexity of a text; distance to a reference model");
  command.add_option("--model", arguments->model, "Plain or compressed model folder")->required();
  command.add_option("--reference", arguments->reference,
                     "Model to compare with: KL divergence and top-1 agreement");
  command.add_option("--text", arguments->text, "Text file")->required();
  command.add_option("--tokenizer", arguments->tokenizer,
                     "Folder with tokenizer.json, when it is not the model's");
  command.add_option("--window", arguments->window, "Tokens per independent window (512)")
      ->check(CLI::Range(2, 1 << 20));
  add_choice(command, "--dtype", arguments->dtype,
             {{"float32", LLMC_DTYPE_FLOAT32}, {"bfloat16", LLMC_DTYPE_BFLOAT16}},
             "Dtype of the values between operations");
  command.add_flag("--json", arguments->json, "Print {\"perplexity\", \"tokens\", \"kl\", \"top1\"}");
  arguments->session.add_to(command);
  command.callback([arguments] { run(*arguments); });
}

}  // namespace cli
