#include "command.hpp"
#include "llmc_tools.h"
#include "options.hpp"

namespace cli {

void add_forward_command(CLI::App& app) {
  struct ForwardArguments {
    SessionSettings session;
    std::string model, input_ids, output;
    int32_t dtype = LLMC_DTYPE_FLOAT32;
  };
  auto arguments = std::make_shared<ForwardArguments>();
  CLI::App& command = *app.add_subcommand(
      "forward",
      "Write logits and hidden states for given token ids (a debugging aid for new model families)");
  command.add_option("--model", arguments->model, "Plain or compressed model folder")->required();
  command
      .add_option("--input-ids", arguments->input_ids, "safetensors file with input_ids [sequences, length]")
      ->required();
  command
      .add_option("--output", arguments->output, "safetensors file to write: logits, hidden.0 .. hidden.N")
      ->required();
  add_choice(command, "--dtype", arguments->dtype,
             {{"float32", LLMC_DTYPE_FLOAT32}, {"bfloat16", LLMC_DTYPE_BFLOAT16}},
             "Dtype of the values between operations");
  arguments->session.add_to(command);
  command.callback([arguments] {
    llmc_forward_options options{};
    options.struct_size = sizeof options;
    options.dtype = arguments->dtype;
    options.model_dir = arguments->model.c_str();
    options.input_ids = arguments->input_ids.c_str();
    options.output = arguments->output.c_str();
    const Session session(arguments->session);
    llmc_error* error = nullptr;
    const llmc_status status = llmc_forward(session.get(), &options, &error);
    check(status, error);
  });
}

}  // namespace cli
