// llmc: compress a model, measure it. Exit codes: 0 done, 1 a check found faults, 2 bad input or failure (one
// line on standard error), 130 cancelled by Ctrl-C or SIGTERM; a second one ends the process by its signal.
#include <cstdio>

#include "argument_table.hpp"
#include "command.hpp"

int main(int argc, char** argv) {
  CLI::App app("llmc " + std::string(llmc_version()) + ": compresses large language models in one shot",
               "llmc");
  app.require_subcommand(1);
  app.set_version_flag("--version", "llmc " + std::string(llmc_version()));
  cli::add_oneshot_command(app);
  cli::add_eval_command(app);
  cli::add_inspect_command(app);
  cli::add_verify_command(app);
  cli::add_diff_command(app);
  cli::add_forward_command(app);
  try {
    auto arguments = cli::normalized_arguments(argc, argv);
    app.parse(std::move(arguments));
  } catch (const CLI::Success& shown) {  // --help, --version
    return app.exit(shown);
  } catch (const cli::ExitCode& result) {
    return result.code;
  } catch (const CLI::Error& problem) {
    std::fprintf(stderr, "llmc: %s\n", problem.what());
    return cli::kFailed;
  } catch (const cli::Failure& problem) {
    std::fprintf(stderr, "llmc: %s\n", problem.what());
    return problem.code;
  } catch (const std::exception& problem) {
    std::fprintf(stderr, "llmc: %s\n", problem.what());
    return cli::kFailed;
  }
  return 0;
}
