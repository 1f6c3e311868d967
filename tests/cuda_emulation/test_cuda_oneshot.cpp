// Whole runs on micro-llama with the device's backend.
#include <atomic>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "core/formats/compressed_tensors.hpp"
#include "core/run_tools.hpp"
#include "cuda_test_tools.hpp"
#include "inspection/folder_editor.hpp"
#include "llmc/evaluate.hpp"

using namespace llmc;
using namespace llmc::test;

namespace {

constexpr const char* kSmoothAndGptq = R"(quant_stage:
  quant_modifiers:
    SmoothQuantModifier:
      smoothing_strength: 0.8
    GPTQModifier:
      targets: [Linear]
      ignore: [lm_head]
      scheme: W8A8
)";

std::string file_of(const std::string& folder) { return read_text(folder + "/model.safetensors"); }

Report run_recipe(Backend& backend, const std::string& recipe, const std::string& output) {
  OneshotOptions options = micro_llama(output);
  options.recipe = recipe;
  return oneshot(options, backend, {});
}

double perplexity(const std::string& folder, Backend& backend) {
  EvaluateOptions options;
  options.model_dir = folder;
  options.reference_dir = golden("micro-llama");
  options.token_ids = tokens_from(golden("micro-llama/calibration.safetensors")).token_ids;
  options.window = 48;
  return evaluate(options, backend).kl.value();
}

}  // namespace

TEST_CASE("device: a float16 model is calibrated as on the CPU, and what it stores is float16") {
  const auto cpu = backend(), cuda = cuda_backend();
  const ScratchFolder scratch;
  FolderEditor folder(golden("micro-llama"));
  for (auto& [name, tensor] : folder.tensors) tensor = converted(tensor, DType::f16);
  folder.config.set("dtype", JsonValue::from_string("float16"));
  folder.save(scratch / "model");
  const auto run = [&](Backend& device, const std::string& name) {
    OneshotOptions options = micro_llama(scratch / name);
    options.model_dir = scratch / "model";
    options.recipe = kSmoothAndGptq;
    return oneshot(options, device, {});
  };
  const Report want = run(*cpu, "cpu"), got = run(*cuda, "cuda");
  REQUIRE(got.linears.size() == want.linears.size());
  for (size_t i = 0; i < want.linears.size(); ++i)
    CHECK(got.linears[i].relative_error == Approx(want.linears[i].relative_error).epsilon(0.03));
  const Checkpoint out(scratch / "cuda"), on_cpu(scratch / "cpu");
  REQUIRE(out.names() == on_cpu.names());
  for (const std::string& name : out.names()) CHECK(out.info(name).dtype == on_cpu.info(name).dtype);
  CHECK(out.info("model.layers.0.mlp.up_proj.weight_scale").dtype == DType::f16);
  CHECK(out.info("model.norm.weight").dtype == DType::f16);
  const double quality = perplexity(scratch / "cpu", *cpu);
  CHECK(perplexity(scratch / "cuda", *cpu) == Approx(quality).epsilon(0.05));
  CHECK(perplexity(scratch / "cuda", *cuda) == Approx(quality).epsilon(0.05));
}

TEST_CASE("device: every preset without calibration is written as llm-compressor writes it") {
  const auto cuda = cuda_backend();
  for (const std::string& preset : preset_names()) {
    const Scheme scheme = preset == "UNQUANTIZED" ? Scheme{} : preset_scheme(preset);
    const auto& inputs = scheme.input_activations;
    if (!scheme.weights || (inputs && inputs->dynamic != Dynamic::yes)) continue;
    CAPTURE(preset);
    const ScratchFolder scratch;
    OneshotOptions options = micro_llama(scratch / "out");
    options.calibration.reset();
    options.scheme = preset;
    options.compat = Compat::reference;
    oneshot(options, *cuda, {});
    const Checkpoint want(golden("rtn/" + preset)), got(scratch / "out");
    REQUIRE(got.names().size() == want.names().size());
    for (const std::string& name : want.names()) {
      CAPTURE(name);
      const Tensor a = want.read(name), b = got.read(name);
      CHECK((a.shape() == b.shape() && a.dtype() == b.dtype() &&
             std::memcmp(a.data(), b.data(), static_cast<size_t>(a.bytes())) == 0));
    }
  }
}

TEST_CASE(
    "device: presets with fixed activation scales write the reference's weights and come near its scales") {
  const auto cuda = cuda_backend();
  for (const char* preset : {"FP8", "NVFP4"}) {
    CAPTURE(preset);
    const ScratchFolder scratch;
    OneshotOptions options = micro_llama(scratch / "out");
    options.scheme = preset;
    options.compat = Compat::reference;
    oneshot(options, *cuda, {});
    const Checkpoint want(golden(std::string("rtn/") + preset)), got(scratch / "out");
    for (const std::string& name : want.names()) {
      CAPTURE(name);
      const Tensor a = want.read(name), b = got.read(name);
      if (name.find("input_") == std::string::npos)
        CHECK(std::memcmp(a.data(), b.data(), static_cast<size_t>(a.bytes())) == 0);
      else
        CHECK(floats_of(b)[0] ==
              Approx(floats_of(a)[0]).epsilon(0.02));  // two steps of bfloat16, as on the CPU
    }
  }
}

TEST_CASE(
    "device: SmoothQuant and GPTQ cost as much quality as on the CPU, and the same bytes come out in every "
    "order of threads") {
  const ScratchFolder scratch;
  const auto cpu = backend();
  const Report want = run_recipe(*cpu, kSmoothAndGptq, scratch / "cpu");
  int run = 0;
  in_every_order([&] {
    const std::string output = scratch / ("cuda" + std::to_string(run++));
    const Report got = run_recipe(*cuda_backend(), kSmoothAndGptq, output);
    CHECK_THAT(got.device, Catch::StartsWith("cuda "));
    REQUIRE(got.linears.size() == want.linears.size());
    for (size_t i = 0; i < want.linears.size(); ++i)
      CHECK(got.linears[i].relative_error == Approx(want.linears[i].relative_error).epsilon(0.03));
    return file_of(output);
  });
  const double on_cpu = perplexity(scratch / "cpu", *cpu), on_device = perplexity(scratch / "cuda0", *cpu);
  CHECK(on_device == Approx(on_cpu).epsilon(0.05));
  // measured on the device
  CHECK(perplexity(scratch / "cpu", *cuda_backend()) == Approx(on_cpu).epsilon(0.02));
}

TEST_CASE("device: a block's sets that are known together are solved side by side, as well as on the CPU") {
  const ScratchFolder scratch;
  const auto cpu = backend(), cuda = cuda_backend();
  const auto run = [&](Backend& device, const std::string& name) {
    OneshotOptions options = micro_llama(scratch / name);
    options.recipe = kSmoothAndGptq;
    options.propagation = Propagation::layer;
    return oneshot(options, device, {});
  };
  const Report want = run(*cpu, "cpu"), got = run(*cuda, "cuda");
  REQUIRE(got.linears.size() == want.linears.size());
  for (size_t i = 0; i < want.linears.size(); ++i) {
    CHECK(got.linears[i].name == want.linears[i].name);
    CHECK(got.linears[i].relative_error == Approx(want.linears[i].relative_error).epsilon(0.05));
  }
  CHECK(perplexity(scratch / "cuda", *cpu) == Approx(perplexity(scratch / "cpu", *cpu)).epsilon(0.05));
}

#if !defined(LLMC_TESTS_ON_DEVICE)  // where memory can be as small as the test wants
TEST_CASE("device: activations that do not fit wait on the host, and the bytes are the same") {
  const ScratchFolder scratch;
  run_recipe(*cuda_backend(), kSmoothAndGptq, scratch / "roomy");
  // 34 of it are taken at once, 8 or 16 more by values that wait for their gram: what is parked then goes
  emulation::set_device_bytes(56 << 20);
  run_recipe(*cuda_backend(), kSmoothAndGptq, scratch / "tight");
  emulation::set_device_bytes(33 << 20);
  std::string problem;
  try {
    run_recipe(*cuda_backend(), kSmoothAndGptq, scratch / "none");
  } catch (const Error& error) {
    CHECK(error.code() == ErrorCode::out_of_memory);
    problem = error.what();
  }
  emulation::set_device_bytes(size_t{16} << 30);
  CHECK(file_of(scratch / "tight") == file_of(scratch / "roomy"));
  CHECK_THAT(problem, Catch::Contains("cuda: no memory for"));
  CHECK_FALSE(std::filesystem::exists(scratch / "none"));
}
#endif

TEST_CASE("device: a limit on its memory has the same effect as that much memory") {
  const ScratchFolder scratch;
  run_recipe(*cuda_backend(), kSmoothAndGptq, scratch / "roomy");
  run_recipe(*cuda_backend(56 << 20), kSmoothAndGptq, scratch / "tight");
  CHECK(file_of(scratch / "tight") == file_of(scratch / "roomy"));
  CHECK_THROWS_WITH(run_recipe(*cuda_backend(33 << 20), kSmoothAndGptq, scratch / "none"),
                    Catch::Contains("cuda: no memory for") && Catch::Contains("the limit is 34603008"));
  CHECK_FALSE(std::filesystem::exists(scratch / "none"));
}

TEST_CASE("device: what the loader's thread finds ends the run, named, and nothing is left") {
  const ScratchFolder scratch;
  const std::string model = scratch / "model", tensor = "model.layers.1.mlp.up_proj.weight";
  std::filesystem::copy(golden("micro-llama"), model);
  const std::string shard = model + "/model.safetensors";
  std::filesystem::permissions(shard, std::filesystem::perms::owner_write,
                               std::filesystem::perm_options::add);
  const auto entry = SafetensorsFile(shard).entry(tensor);
  std::fstream file(shard, std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(entry.offset + 2 * 5);
  file.write("\xC0\x7F", 2);  // bfloat16 NaN
  file.close();
  OneshotOptions options = micro_llama(scratch / "out");
  options.model_dir = model;
  options.recipe = kSmoothAndGptq;
  CHECK_THROWS_WITH(oneshot(options, *cuda_backend(), {}),
                    Catch::Contains(tensor) && Catch::Contains("NaN or Inf at element 5"));
  CHECK_FALSE(std::filesystem::exists(scratch / "out"));
}

TEST_CASE("device: a run that is cancelled while the next block is on its way leaves nothing") {
  const auto cuda = cuda_backend();
  for (int64_t at = 1; at <= 12; at += 3) {
    const ScratchFolder scratch;
    std::atomic<bool> cancel = false;
    cuda->watch(&cancel);
    OneshotOptions options = micro_llama(scratch / "out");
    options.recipe = kSmoothAndGptq;
    Callbacks callbacks;
    callbacks.progress = [&](const Progress& progress) { cancel = progress.step >= at; };
    callbacks.cancel = &cancel;
    try {
      oneshot(options, *cuda, callbacks);
      FAIL("expected a cancelled run");
    } catch (const Error& error) {
      INFO(at << " " << error.what());
      CHECK(error.code() == ErrorCode::cancelled);
    }
    CHECK_FALSE(std::filesystem::exists(scratch / "out"));
    cuda->watch(nullptr);
  }
}

TEST_CASE("device: a module of another build is refused") {
  std::unique_ptr<Backend> host = backend();
  cuda::ModuleRequest request;
  request.build_id = "0.0.1-other";
  request.host = &host;
  cuda::ModuleAnswer answer;
  llmc_cuda_open(&request, &answer);
  CHECK_FALSE(answer.backend);
  CHECK(answer.code == ErrorCode::unsupported);
  CHECK_THAT(answer.text, Catch::Contains("of another build"));
  request.build_id = cuda::build_id();
  request.device_index = 99;
  llmc_cuda_open(&request, &answer);
  CHECK_THAT(answer.text, Catch::StartsWith("device cuda: device 99 of "));
}
