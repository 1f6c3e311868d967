#include <fmt/format.h>

#include <cstdio>
#include <optional>

#include "argument_table.hpp"
#include "command.hpp"
#include "llmc_tools.h"
#include "progress_view.hpp"
#include "summary_table.hpp"
#include "report_text.hpp"

namespace cli {

namespace {

struct OneshotArguments {
  SessionSettings session;
  std::string model, recipe, scheme, stage, dataset, tokenizer, text_column, template_date, output,
      compat = "vllm", rounding, propagation;
  std::string tie_word_embeddings = "true", save_compressed = "true", shuffle = "false",
              concatenate = "false", propagate_error = "true";
  int64_t samples = 512, max_seq_length = 0, max_shard_size = 0;
  uint64_t shuffle_seed = 0;
  bool shuffle_seed_given = false, overwrite = false, quiet = false, json = false, dequantize = false,
       print_arguments = false;
  std::map<std::string, std::string> foreign;
};

const char* text_or_null(const std::string& text) { return text.empty() ? nullptr : text.c_str(); }
int32_t choice(const std::string& value, const char* first, const char* second) {
  return value == first ? 1 : value == second ? 2 : 0;
}
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
  if (!parse_switch("propagate-error", arguments.propagate_error))
    throw Failure("--propagate-error false is not supported: later layers always see the quantized ones");
  if (!arguments.stage.empty()) arguments.output += "/" + arguments.stage;

  ProgressView view(arguments.quiet);
  for (const ArgumentRow& row : argument_table())
    if (arguments.foreign.count(row.name))
      view.log(LLMC_LOG_NOTE, ("--" + std::string(row.name) + " is ignored: " + row.note).c_str());

  llmc_oneshot_options options{};
  options.struct_size = sizeof options;
  options.compat = choice(arguments.compat, "vllm", "reference");
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
  options.shuffle_seed = arguments.shuffle_seed;
  options.max_shard_bytes = arguments.max_shard_size;
  options.shuffle = tri_state(arguments.shuffle_seed_given ||
                              parse_switch("shuffle-calibration-samples", arguments.shuffle));
  options.concatenate_data = tri_state(parse_switch("concatenate-data", arguments.concatenate));
  options.rounding = choice(arguments.rounding, "exact", "reference");
  options.propagation = choice(arguments.propagation, "sublayer", "layer");
  options.save_compressed = tri_state(parse_switch("save-compressed", arguments.save_compressed));
  options.tie_word_embeddings = tri_state(parse_switch("tie-word-embeddings", arguments.tie_word_embeddings));
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
  command
      .add_option("--shuffle-seed", arguments->shuffle_seed,
                  "Pick samples in the order of datasets' shuffle(seed); default: file order")
      ->each([arguments](const std::string&) { arguments->shuffle_seed_given = true; });
  command.add_option("--shuffle-calibration-samples", arguments->shuffle,
                     "true: shuffle with --shuffle-seed");
  command.add_option("--concatenate-data", arguments->concatenate,
                     "true: join samples, then cut multiples of --max-seq-length");
  command.add_option("--text-column", arguments->text_column, "Column of plain text (text)");
  command.add_option(
      "--template-date", arguments->template_date,
      "What a chat template's strftime_now prints, YYYY-MM-DD; fixed by default so that runs repeat");
  command
      .add_option("--compat", arguments->compat,
                  "vllm: best numbers that vLLM loads; reference: llm-compressor's arithmetic and config")
      ->check(CLI::IsMember({"vllm", "reference"}));
  command.add_option("--rounding", arguments->rounding, "exact or reference; default by --compat")
      ->check(CLI::IsMember({"exact", "reference"}));
  command.add_option("--propagation", arguments->propagation, "sublayer or layer; default by --compat")
      ->check(CLI::IsMember({"sublayer", "layer"}));
  command.add_option("--save-compressed", arguments->save_compressed,
                     "false: write rounded weights in the model's dtype");
  command.add_option("--tie-word-embeddings", arguments->tie_word_embeddings,
                     "false: write lm_head as a tensor of its own");
  command.add_option("--propagate-error", arguments->propagate_error, "true: what llmc always does")
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
