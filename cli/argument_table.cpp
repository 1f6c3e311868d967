#include "argument_table.hpp"

#include <algorithm>
#include <array>

#include "command.hpp"

namespace cli {

namespace {

std::string dashed(std::string name) {
  std::replace(name.begin(), name.end(), '_', '-');
  return name;
}

// Old and Python names of options that have another name here.
constexpr std::array<std::pair<const char*, const char*>, 3> kAliases{
    {{"--output-dir", "--output"}, {"--dataset-path", "--dataset"}, {"--processor", "--tokenizer"}}};

}  // namespace

const std::vector<ArgumentRow>& argument_table() {
  using enum Disposition;
  static const std::vector<ArgumentRow> table{
      {"model", accepted, "a model folder"},
      {"config_name", refused, "config.json of the model folder is read"},
      {"tokenizer", accepted, "a folder with tokenizer.json, when it is not the model's"},
      {"processor", accepted, "the same as tokenizer"},
      {"precision", ignored, "weights keep the dtype they have on disk"},
      {"tie_word_embeddings", accepted, "false writes lm_head as a tensor of its own"},
      {"trust_remote_code_model", ignored, "no code of the model is run"},
      {"save_compressed", accepted, "false writes rounded weights in the model's dtype"},
      {"model_revision", ignored, "the model is a local folder"},
      {"recipe", accepted, "a file or the text itself"},
      {"recipe_args", ignored, "never substituted there either"},
      {"clear_sparse_session", ignored, "there is no global session"},
      {"stage", accepted, "runs only stages whose name starts with it; the output goes to OUTPUT/STAGE"},
      {"dataset", accepted,
       "a .jsonl or .json file of rows with messages, conversations, text, prompt, instruction, question, "
       "chosen or input_ids: see below"},
      {"dataset_config_name", refused, "data sets are local .jsonl files; export the subset to one"},
      {"dataset_path", accepted, "the same as dataset"},
      {"splits", refused, "use --num-calibration-samples and --shuffle-seed"},
      {"batch_size", ignored, "sequences are packed by tokens; results do not depend on a batch size"},
      {"data_collator", ignored, "nothing is padded or cut to a batch"},
      {"num_calibration_samples", accepted, "default 512; a smaller set is used whole, with a note"},
      {"shuffle_calibration_samples", accepted,
       "true shuffles with --shuffle-seed (default 0): the order of datasets' shuffle(seed); default: file "
       "order"},
      {"max_seq_length", accepted, "longer samples are cut; default: not cut"},
      {"pad_to_max_length", ignored, "nothing is ever padded"},
      {"text_column", accepted, "default text"},
      {"concatenate_data", accepted, "joins samples, then cuts multiples of max_seq_length"},
      {"streaming", ignored, "the file is read once"},
      {"overwrite_cache", ignored, "there is no cache"},
      {"preprocessing_num_workers", ignored, "see --threads"},
      {"dataloader_num_workers", ignored, "see --threads"},
      {"min_tokens_per_module", ignored, "every module of a dense model sees every token"},
      {"moe_calibrate_all_experts", ignored, "no mixture-of-experts family yet"},
      {"pipeline", ignored, "there is one pipeline; see --propagation"},
      {"tracing_ignore", ignored, "nothing is traced"},
      {"sequential_targets", ignored, "the unit is the decoder layer"},
      {"sequential_offload_device", ignored, "activations wait in the memory they were made in"},
      {"quantization_aware_calibration", ignored, "deprecated there, without effect"},
      {"sequential_prefetch", ignored, "no data loader"},
      {"output_dir", accepted, "the same as --output"},
      {"log_dir", ignored, "redirect standard error"},
      {"enable_compile", ignored, "nothing to compile"},
      {"preprocessing_func", refused,
       "Python code cannot run here; write the result as a .jsonl file with text or input_ids"},
      {"raw_kwargs", refused, "pass arguments by name"},
      {"sequential_targets_per_subgraph", ignored, "the unit is the decoder layer"},
      {"propagate_error", accepted, "true, what llmc always does; false is refused"},
      {"use_loss_mask", refused, "every token of a sample counts"},
      {"dvc_data_repository", ignored, "data sets are local files"},
      {"remove_columns", ignored, "columns that are not needed are not read"},
  };
  return table;
}

std::string argument_table_markdown() {
  static constexpr const char* kWords[] = {"accepted", "ignored", "refused"};
  std::string out = "| argument | llmc | note |\n|---|---|---|\n";
  for (const ArgumentRow& row : argument_table())
    out += "| `" + std::string(row.name) + "` | " + kWords[static_cast<int>(row.disposition)] + " | " +
        row.note + " |\n";
  return out;
}

void add_foreign_arguments(CLI::App& app, std::map<std::string, std::string>& given) {
  for (const ArgumentRow& row : argument_table()) {
    if (row.disposition == Disposition::accepted) continue;
    app.add_option_function<std::string>(
           "--" + dashed(row.name),
           [&given, row](const std::string& value) {
             if (row.disposition == Disposition::refused)
               throw Failure("--" + dashed(row.name) + " is not supported: " + row.note);
             given[row.name] = value;
           })
        ->group("")
        ->expected(0, 1);  // not listed in --help
  }
}

std::vector<std::string> normalized_arguments(int argc, char** argv) {
  std::vector<std::string> arguments;
  for (int i = 1; i < argc; ++i) {
    std::string argument = argv[i];
    if (argument.rfind("--", 0) == 0) {
      const size_t equals = argument.find('=');
      std::string name = dashed(argument.substr(0, equals));
      for (const auto& [alias, option] : kAliases)
        if (name == alias) name = option;
      argument = equals == std::string::npos ? name : name + argument.substr(equals);
    }
    arguments.push_back(std::move(argument));
  }
  std::reverse(arguments.begin(), arguments.end());  // CLI11 takes them last first
  return arguments;
}

}  // namespace cli
