// Compresses a model from C++. usage: oneshot_cpp MODEL RECIPE DATASET OUTPUT
// RECIPE is a file or the YAML text itself; DATASET may be "-" for recipes that need no data. Exits with the
// llmc_status, 0 on success.
#include <iostream>
#include <llmc.hpp>

int main(int argc, char** argv) {
  if (argc != 5) {
    std::cerr << "usage: " << argv[0] << " MODEL RECIPE DATASET OUTPUT\n";
    return LLMC_INVALID_ARGUMENT;
  }
  try {
    llmc::SessionOptions options;
    options.progress = [](const llmc_progress& p) {
      std::cerr << p.stage << ' ' << p.layer << ": step " << p.step << " of " << p.steps << '\n';
    };
    options.log = [](int32_t level, const char* line) {
      std::cerr << (level == LLMC_LOG_WARNING ? "warning: " : "note: ") << line << '\n';
    };
    llmc::Session session(options);

    llmc::Oneshot job;
    job.model = argv[1];
    job.recipe = argv[2];
    if (std::string(argv[3]) != "-") job.dataset = argv[3];
    job.output = argv[4];
    const llmc::Report report = session.oneshot(job);
    const llmc_report_facts facts = report.facts();
    std::cout << job.output << " (llmc " << llmc::version() << ", " << session.device()
              << "): " << facts.linears << " matrices, " << facts.bytes_before << " -> " << facts.bytes_after
              << " bytes\n";
    return LLMC_OK;
  } catch (const llmc::Error& error) {
    std::cerr << error.name() << ": " << error.what() << '\n';
    return error.status();
  }
}
