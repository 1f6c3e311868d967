#include <fmt/format.h>

#include <cstdio>
#include <optional>

#include "argument_table.hpp"
#include "command.hpp"
#include "llmc_tools.h"
#include "options.hpp"
#include "progress_view.hpp"
#include "report_text.hpp"
#include "summary_table.hpp"

namespace cli {

namespace {

// Texts that are empty and numbers that are 0 are not given: the library has the defaults.
struct OneshotArguments {
  SessionSettings session;
  std::string model;
  std::string output;
  // what is done
  std::string recipe;
  std::string scheme;
  std::string stage;
  bool dequantize = false;
  // calibration data
  std::string dataset;
  std::string tokenizer;
  std::string text_column;
  std::string template_date;
  int64_t samples = 512;
  int64_t max_seq_length = 0;
  std::optional<uint64_t> shuffle_seed;
  bool shuffle = false;
  bool concatenate = false;
  // arithmetic
  int32_t compat = LLMC_COMPAT_VLLM;
  int32_t rounding = 0;
  int32_t propagation = 0;
  bool propagate_error = true;
  // the folder that is written
  bool save_compressed = true;
  bool tie_word_embeddings = true;
  bool overwrite = false;
  int64_t max_shard_size = 0;
  // what is printed
  bool quiet = false;
  bool json = false;
  bool print_arguments = false;
  std::map<std::string, std::string> foreign;  // of llm-compressor, without effect here
};

const char* text_or_null(const std::string& text) { return text.empty() ? nullptr : text.c_str(); }
int32_t tri_state(bool on) { return on ? LLMC_ON : LLMC_OFF; }

// The other way round: no recipe, no data.
void run_dequantize(const OneshotArguments& arguments) {
  for (const auto& [given, name] : {std::pair{!arguments.recipe.empty(), "--recipe"},
                                    {!arguments.scheme.empty(), "--scheme"},
                                    {!arguments.dataset.empty(), "--dataset"},
                                    {!arguments.stage.empty(), "--stage"}})
    if (given)
      throw Failure(fmt::format(
          "--dequantize goes without {}: dequantize first, then compress the folder it wrote", name));
  ProgressView view(arguments.quiet);
  llmc_dequantize_options options{};
  options.struct_size = sizeof options;
  options.overwrite = tri_state(arguments.overwrite);
  options.model_dir = arguments.model.c_str();
  options.output_dir = arguments.output.c_str();
  options.max_shard_bytes = arguments.max_shard_size;
  const Session session(arguments.session, ProgressView::on_progress, ProgressView::on_log, &view);
  char* text = nullptr;
  llmc_error* error = nullptr;
  const llmc_status status = llmc_dequantize(session.get(), &options, &text, &error);
  check(status, error);
  const std::string json = take_json(text);
  view.finish();
  const auto report = parse_report(json);
  if (arguments.json) std::printf("%s\n", json.c_str());
  else if (!arguments.quiet)
    std::fputs(
        fmt::format("dequantized  {} matrices\nsize         {:.1f} MB -> {:.1f} MB\nwritten to   {}\n",
                    report.at("matrices").get<int64_t>(), report.at("bytes_before").get<double>() / 1e6,
                    report.at("bytes_after").get<double>() / 1e6, arguments.output)
            .c_str(),
        stdout);
}

void run(OneshotArguments& arguments) {
  if (arguments.print_arguments) {
    std::fputs(argument_table_markdown().c_str(), stdout);
    return;
  }
  if (arguments.model.empty()) throw Failure("--model is required");
  if (arguments.output.empty()) throw Failure("--output is required");
  if (arguments.dequantize) return run_dequantize(arguments);
  if (!arguments.propagate_error)
    throw Failure("--propagate-error false is not supported: later layers always see the quantized ones");
  if (!arguments.stage.empty()) arguments.output += "/" + arguments.stage;

  ProgressView view(arguments.quiet);
  for (const ArgumentRow& row : argument_table())
    if (arguments.foreign.count(row.name))
      view.log(LLMC_LOG_NOTE, ("--" + std::string(row.name) + " is ignored: " + row.note).c_str());

  llmc_oneshot_options options{};
  options.struct_size = sizeof options;
  options.compat = arguments.compat;
  options.model_dir = arguments.model.c_str();
  options.output_dir = arguments.output.c_str();
  options.recipe = text_or_null(arguments.recipe);
  options.scheme = text_or_null(arguments.scheme);
  options.stage = text_or_null(arguments.stage);
  options.dataset = text_or_null(arguments.dataset);
  options.tokenizer_dir = text_or_null(arguments.tokenizer);
  options.text_column = text_or_null(arguments.text_column);
  options.template_date = text_or_null(arguments.template_date);
  options.num_calibration_samples = arguments.samples;
  options.max_seq_length = arguments.max_seq_length;
  options.shuffle_seed = arguments.shuffle_seed.value_or(0);
  options.max_shard_bytes = arguments.max_shard_size;
  options.shuffle = tri_state(arguments.shuffle_seed || arguments.shuffle);
  options.concatenate_data = tri_state(arguments.concatenate);
  options.rounding = arguments.rounding;
  options.propagation = arguments.propagation;
  options.save_compressed = tri_state(arguments.save_compressed);
  options.tie_word_embeddings = tri_state(arguments.tie_word_embeddings);
  options.overwrite = tri_state(arguments.overwrite);

  const Session session(arguments.session, ProgressView::on_progress, ProgressView::on_log, &view);
  llmc_report* report = nullptr;
  llmc_error* error = nullptr;
  const llmc_status status = llmc_oneshot(session.get(), &options, &report, &error);
  check(status, error);
  const std::string json = llmc_report_json(report);
  llmc_report_free(report);
  view.finish();
  if (arguments.json) std::printf("%s\n", json.c_str());
  else if (!arguments.quiet) std::fputs(summary_table(json, arguments.output).c_str(), stdout);
}

}  // namespace

void add_oneshot_command(CLI::App& app) {
  auto arguments = std::make_shared<OneshotArguments>();
  CLI::App& command = *app.add_subcommand("oneshot", "Compress a model folder by a recipe");
  command.add_option("--model", arguments->model, "Hugging Face model folder");
  command.add_option("--output", arguments->output, "Folder to write; also --output-dir");
  command.add_option("--recipe", arguments->recipe, "Recipe: a .yaml file or the text itself");
  command.add_option("--scheme", arguments->scheme,
                     "Instead of a recipe: a preset such as FP8_DYNAMIC or W4A16, rounded to nearest, no "
                     "data, lm_head left alone");
  command.add_option(
      "--stage", arguments->stage,
      "Run only the recipe's stages whose name starts with this; the output goes to OUTPUT/STAGE");
  command.add_option("--dataset", arguments->dataset,
                     "Calibration data: .jsonl of chats, texts or token ids (docs/oneshot-arguments.md)");
  command.add_option("--tokenizer", arguments->tokenizer,
                     "Folder with tokenizer.json, when it is not the model's");
  command.add_option("--num-calibration-samples", arguments->samples, "Samples to use (512)")
      ->check(CLI::PositiveNumber);
  command.add_option("--max-seq-length", arguments->max_seq_length, "Cut samples to this many tokens")
      ->check(CLI::PositiveNumber);
  command.add_option("--shuffle-seed", arguments->shuffle_seed,
                     "Pick samples in the order of datasets' shuffle(seed); default: file order");
  add_switch(command, "--shuffle-calibration-samples", arguments->shuffle,
             "true: shuffle with --shuffle-seed");
  add_switch(command, "--concatenate-data", arguments->concatenate,
             "true: join samples, then cut multiples of --max-seq-length");
  command.add_option("--text-column", arguments->text_column, "Column of plain text (text)");
  command.add_option(
      "--template-date", arguments->template_date,
      "What a chat template's strftime_now prints, YYYY-MM-DD; fixed by default so that runs repeat");
  add_choice(command, "--compat", arguments->compat,
             {{"vllm", LLMC_COMPAT_VLLM}, {"reference", LLMC_COMPAT_REFERENCE}},
             "vllm: best numbers that vLLM loads; reference: llm-compressor's arithmetic and config");
  add_choice(command, "--rounding", arguments->rounding,
             {{"exact", LLMC_ROUNDING_EXACT}, {"reference", LLMC_ROUNDING_REFERENCE}},
             "exact or reference; default by --compat");
  add_choice(command, "--propagation", arguments->propagation,
             {{"sublayer", LLMC_PROPAGATION_SUBLAYER}, {"layer", LLMC_PROPAGATION_LAYER}},
             "sublayer or layer; default by --compat");
  add_switch(command, "--save-compressed", arguments->save_compressed,
             "false: write rounded weights in the model's dtype");
  add_switch(command, "--tie-word-embeddings", arguments->tie_word_embeddings,
             "false: write lm_head as a tensor of its own");
  add_switch(command, "--propagate-error", arguments->propagate_error, "true: what llmc always does")
      ->group("");
  command
      .add_option("--max-shard-size", arguments->max_shard_size,
                  "Cuts files anew, none larger than for example 5GB; default: as the input is cut")
      ->transform(CLI::AsSizeValue(true));
  command.add_flag(
      "--dequantize", arguments->dequantize,
      "Instead of compressing: write a compressed-tensors folder as a plain one in the model's dtype");
  command.add_flag("--overwrite", arguments->overwrite,
                   "Replace the output folder when the new one is complete");
  command.add_flag("--quiet", arguments->quiet, "Print errors only");
  command.add_flag("--json", arguments->json, "Print the report as JSON instead of the table");
  command.add_flag("--arguments", arguments->print_arguments,
                   "Print what llmc does with each argument of llm-compressor's oneshot()");
  arguments->session.add_to(command);
  add_foreign_arguments(command, arguments->foreign);
  command.callback([arguments] { run(*arguments); });
}

}  // namespace cli
