// Every allocation of the tensor level fails once, and from there on; of a whole run the first 2000 and 500
// of the rest: LLMC_OUT_OF_MEMORY, no crash; what goes on living is as it was or says that it is not. Nothing
// is leaked either: what lives is counted. A program of its own, because it replaces operator new.
#define CATCH_CONFIG_RUNNER
#include <catch2/catch.hpp>

#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <new>
#include <random>

#include "capi/tensor_tools.hpp"
#include "core/run_tools.hpp"

namespace {

// allocations numbered [first, last) fail
std::atomic<int64_t> g_living{0}, g_calls{0}, g_first{-1}, g_last{-1};

bool fails() {
  const int64_t first = g_first.load(std::memory_order_relaxed);
  if (first < 0) return false;
  const int64_t number = g_calls.fetch_add(1, std::memory_order_relaxed);
  return number >= first && number < g_last.load(std::memory_order_relaxed);
}

void* allocate(std::size_t size, std::size_t alignment) noexcept {
  if (fails()) return nullptr;
  size = size ? size : 1;
  g_living.fetch_add(1, std::memory_order_relaxed);
  return alignment <= alignof(std::max_align_t)
      ? std::malloc(size)
      : std::aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment);
}

void* allocate_or_throw(std::size_t size, std::size_t alignment) {
  if (void* bytes = allocate(size, alignment)) return bytes;
  throw std::bad_alloc();
}

void release(void* bytes) noexcept {
  if (bytes) g_living.fetch_sub(1, std::memory_order_relaxed);
  std::free(bytes);
}

constexpr std::size_t kUsual = alignof(std::max_align_t);

}  // namespace

void* operator new(std::size_t size) { return allocate_or_throw(size, kUsual); }
void* operator new[](std::size_t size) { return allocate_or_throw(size, kUsual); }
void* operator new(std::size_t size, std::align_val_t alignment) {
  return allocate_or_throw(size, static_cast<std::size_t>(alignment));
}
void* operator new[](std::size_t size, std::align_val_t alignment) {
  return allocate_or_throw(size, static_cast<std::size_t>(alignment));
}
void* operator new(std::size_t size, const std::nothrow_t&) noexcept { return allocate(size, kUsual); }
void* operator new[](std::size_t size, const std::nothrow_t&) noexcept { return allocate(size, kUsual); }
void* operator new(std::size_t size, std::align_val_t alignment, const std::nothrow_t&) noexcept {
  return allocate(size, static_cast<std::size_t>(alignment));
}
void* operator new[](std::size_t size, std::align_val_t alignment, const std::nothrow_t&) noexcept {
  return allocate(size, static_cast<std::size_t>(alignment));
}
void operator delete(void* bytes) noexcept { release(bytes); }
void operator delete[](void* bytes) noexcept { release(bytes); }
void operator delete(void* bytes, std::size_t) noexcept { release(bytes); }
void operator delete[](void* bytes, std::size_t) noexcept { release(bytes); }
void operator delete(void* bytes, std::align_val_t) noexcept { release(bytes); }
void operator delete[](void* bytes, std::align_val_t) noexcept { release(bytes); }
void operator delete(void* bytes, std::size_t, std::align_val_t) noexcept { release(bytes); }
void operator delete[](void* bytes, std::size_t, std::align_val_t) noexcept { release(bytes); }

using namespace llmc::test;
using llmc::DType;
using llmc::Tensor;

namespace {

class Failing {
 public:
  Failing(int64_t first, int64_t last) {
    g_calls = 0;
    g_last = last;
    g_first = first;
  }
  ~Failing() { g_first = -1; }
};

int64_t count_allocations(const std::function<llmc_status(llmc_error**)>& call) {
  const Failing none(INT64_MAX - 1, INT64_MAX);
  llmc_error* error = nullptr;
  if (call(&error) != LLMC_OK) FAIL(llmc_error_message(error));
  return g_calls;
}

// Fails each allocation that `call` makes: that one alone, then it and all after it. `after` looks at what is
// left. Returns how many there were. count_living: with one thread, where it repeats.
int64_t fail_each(const std::function<llmc_status(llmc_error**)>& call,
                  const std::function<void()>& after,
                  bool count_living) {
  const int64_t count = count_allocations(call);
  after();
  int64_t survived = 0;
  for (int64_t n = 0; n < count; ++n)
    for (const int64_t last : {n + 1, INT64_MAX}) {
      llmc_error* error = nullptr;
      llmc_status status;
      {
        const Failing failing(n, last);
        status = call(&error);
      }
      CAPTURE(n, last);
      survived += status == LLMC_OK;  // a thread fewer, a buffer not kept: llmc goes on without
      if (status != LLMC_OK && status != LLMC_OUT_OF_MEMORY)
        CHECK(llmc_error_message(error) == std::string("LLMC_OUT_OF_MEMORY wanted"));
      if (status == LLMC_OUT_OF_MEMORY) CHECK(llmc_error_status(error) == LLMC_OUT_OF_MEMORY);
      CHECK((error == nullptr) == (status == LLMC_OK));
      llmc_error_free(error);
      after();
      if (!count_living) continue;
      const int64_t living = g_living;
      for (int again = 0; again < 3; ++again) {
        {
          const Failing failing(n, last);
          call(&error);
        }
        llmc_error_free(error);
        after();
      }
      const int64_t leaked = g_living - living;  // a buffer more or less may wait for reuse
      CHECK(leaked < 3);
    }
  CHECK(survived <= count / 4);
  return count;
}

struct Parts {
  int threads;
  OwnedSession session;
  Tensor x = random_tensor(DType::bf16, {300, 64}, 1), weight = random_tensor(DType::bf16, {40, 64}, 2);
  llmc_tensor x_view = tensor_of(x), weight_view = tensor_of(weight);
  OwnedScheme scheme;
  OwnedGram gram = new_gram(64);

  Parts(int thread_count, const char* name, int32_t method)
      : threads(thread_count),
        session(new_session(thread_count)),
        scheme(new_scheme(name, method)) {
    add(session.get(), gram.get(), x_view);
  }
};

}  // namespace

TEST_CASE("a gram, its reading, merging, saving and loading survive any failed allocation") {
  Parts parts(GENERATE(1, 3), "{num_bits: 4, group_size: 32}", LLMC_METHOD_GPTQ);
  const std::string path = "/tmp/llmc-allocation-" + std::to_string(std::rand()) + ".gram";
  llmc_gram* gram = nullptr;
  const auto drop = [&] {
    llmc_gram_free(gram);
    gram = nullptr;
  };
  CHECK(fail_each([&](llmc_error** e) { return llmc_gram_create(64, LLMC_GRAM_ALL, &gram, e); }, drop,
                  parts.threads == 1) > 3);
  const GramData before = read_gram(parts.gram.get());
  // Half done or not at all: a gram that says nothing is as it was.
  OwnedGram fresh;
  CHECK(fail_each(
            [&](llmc_error** e) {
              if (!fresh) {
                const int64_t first = g_first.exchange(-1);
                fresh = new_gram(64);
                g_calls = 0;
                g_first = first;
              }
              const llmc_status status = llmc_gram_add(parts.session.get(), fresh.get(), &parts.x_view, e);
              return status;
            },
            [&] {
              llmc_gram_data data{};
              data.struct_size = sizeof data;
              if (llmc_gram_read(fresh.get(), &data, nullptr) == LLMC_OK && data.tokens > 0)
                CHECK(read_gram(fresh.get()) == before);
              fresh.reset();
            },
            parts.threads == 1) > 3);
  const auto other = new_gram(64);
  fail_each([&](llmc_error** e) { return llmc_gram_merge(parts.gram.get(), other.get(), e); },
            [&] { CHECK(read_gram(parts.gram.get()) == before); }, parts.threads == 1);
  CHECK(fail_each([&](llmc_error** e) { return llmc_gram_save(parts.gram.get(), path.c_str(), e); }, [] {},
                  parts.threads == 1) > 3);
  CHECK(fail_each([&](llmc_error** e) { return llmc_gram_load(path.c_str(), &gram, e); }, drop,
                  parts.threads == 1) > 3);
  std::remove(path.c_str());
}

TEST_CASE("a session with threads starts or says that memory ran out, whatever allocation fails") {
  llmc_session* session = nullptr;
  llmc_session_options options{};
  options.struct_size = sizeof options;
  options.threads = 4;
  const auto drop = [&] {
    llmc_session_free(session);
    session = nullptr;
  };
  CHECK(fail_each([&](llmc_error** e) { return llmc_session_create(&options, &session, e); }, drop, false) >
        5);
}

TEST_CASE("schemes and their matrices survive any failed allocation") {
  const int threads = GENERATE(1, 3);
  const auto method = GENERATE(as<int32_t>(), LLMC_METHOD_RTN, LLMC_METHOD_GPTQ);
  const char* name = GENERATE("{num_bits: 4, group_size: 32, symmetric: false}", "NVFP4A16", "FP8_DYNAMIC");
  CAPTURE(threads, method, name);
  Parts parts(threads, name, method);
  llmc_scheme* scheme = nullptr;
  const llmc_scheme_options options = scheme_options(name, method);
  CHECK(fail_each([&](llmc_error** e) { return llmc_scheme_create(&options, &scheme, e); },
                  [&] {
                    llmc_scheme_free(scheme);
                    scheme = nullptr;
                  },
                  threads == 1) > 3);
  llmc_matrix* matrix = nullptr;
  const auto drop = [&] {
    llmc_matrix_free(matrix);
    matrix = nullptr;
  };
  const GramData before = read_gram(parts.gram.get());
  CHECK(fail_each(
            [&](llmc_error** e) {
              return llmc_quantize_matrix(parts.session.get(), parts.scheme.get(), &parts.weight_view,
                                          parts.gram.get(), nullptr, &matrix, e);
            },
            drop, parts.threads == 1) > 3);
  CHECK(read_gram(parts.gram.get()) == before);

  const auto made = quantize(parts.session.get(), parts.scheme.get(), parts.weight_view, parts.gram.get());
  llmc_packed* packed = nullptr;
  CHECK(fail_each([&](llmc_error** e) { return llmc_pack(parts.session.get(), made.get(), &packed, e); },
                  [&] {
                    llmc_packed_free(packed);
                    packed = nullptr;
                  },
                  threads == 1) > 3);
  const auto stored = pack(parts.session.get(), made.get());
  const char* names[8];
  llmc_tensor tensors[8];
  for (int32_t i = 0; i < llmc_packed_count(stored.get()); ++i) {
    tensors[i] = empty_tensor();
    must(llmc_packed_tensor, stored.get(), i, &names[i], &tensors[i]);
  }
  CHECK(fail_each(
            [&](llmc_error** e) {
              return llmc_unpack(parts.session.get(), parts.scheme.get(), names, tensors,
                                 llmc_packed_count(stored.get()), LLMC_DTYPE_BFLOAT16, &matrix, e);
            },
            drop, parts.threads == 1) > 3);
  Tensor values(DType::bf16, {40, 64});
  llmc_tensor out = tensor_of(values);
  fail_each([&](llmc_error** e) { return llmc_matrix_dequantize(parts.session.get(), made.get(), &out, e); },
            [] {}, threads == 1);
}

TEST_CASE("a folder appears whole or not at all, whatever allocation fails") {
  Parts parts(1, "{num_bits: 4, group_size: 32}", LLMC_METHOD_RTN);
  const auto matrix = quantize(parts.session.get(), parts.scheme.get(), parts.weight_view);
  const std::filesystem::path folder = std::filesystem::temp_directory_path() /
      ("llmc-allocation-" + std::to_string(getpid()));
  std::filesystem::create_directories(folder);
  const std::string output = (folder / "out").string();
  llmc_writer_options options{};
  options.struct_size = sizeof options;
  options.output_dir = output.c_str();
  options.config_json = "{\"model_type\": \"toy\"}";
  llmc_writer* writer = nullptr;
  const auto write = [&](llmc_error** e) {
    llmc_status status = llmc_writer_create(&options, &writer, e);
    if (status == LLMC_OK)
      status = llmc_writer_plan_matrix(writer, "fc1", parts.scheme.get(), LLMC_DTYPE_BFLOAT16, 40, 64, e);
    if (status == LLMC_OK)
      status = llmc_writer_plan_tensor(writer, "inputs", LLMC_DTYPE_BFLOAT16, parts.x_view.shape, 2, e);
    if (status == LLMC_OK)
      status = llmc_writer_add_matrix(parts.session.get(), writer, "fc1", matrix.get(), e);
    if (status == LLMC_OK)
      status = llmc_writer_add_tensor(parts.session.get(), writer, "inputs", &parts.x_view, e);
    if (status == LLMC_OK) status = llmc_writer_add_file(writer, "notes.txt", "x", 1, e);
    if (status == LLMC_OK) status = llmc_writer_finish(parts.session.get(), writer, e);
    return status;
  };
  const int64_t count = fail_each(
      write,
      [&] {
        llmc_writer_free(writer);
        writer = nullptr;
        const bool there = std::filesystem::exists(output);
        // no partial folder stays
        CHECK(std::distance(std::filesystem::directory_iterator(folder), {}) == there);
        if (there) CHECK(std::distance(std::filesystem::directory_iterator(output), {}) == 3);
        std::filesystem::remove_all(output);
      },
      false);
  CHECK(count > 100);
  std::filesystem::remove_all(folder);
}

TEST_CASE("a whole run from token ids writes its folder or nothing, whatever allocation fails") {
  // The text module (tokenizer, templates, data sets) is exempt: Rust ends the process when it gets no
  // memory. A run from token ids does not enter it.
  const auto session = new_session(GENERATE(1, 3));
  const llmc::TokenBatch all = tokens_from(golden("micro-llama/calibration.safetensors"));
  const std::filesystem::path folder = std::filesystem::temp_directory_path() /
      ("llmc-allocation-run-" + std::to_string(getpid()));
  std::filesystem::create_directories(folder);
  const std::string model = golden("micro-llama"), output = (folder / "out").string();
  llmc_oneshot_options options{};
  options.struct_size = sizeof options;
  options.model_dir = model.c_str();
  options.output_dir = output.c_str();
  options.recipe =
      "quant_stage: {quant_modifiers: {SmoothQuantModifier: {smoothing_strength: 0.8}, GPTQModifier: "
      "{targets: [Linear], ignore: [lm_head], scheme: W4A16}}}";
  options.token_ids = all.token_ids.data();
  options.sequence_starts = all.sequence_starts.data();
  options.num_sequences = 2;
  const auto run = [&](llmc_error** e) {
    llmc_report* report = nullptr;
    const llmc_status status = llmc_oneshot(session.get(), &options, &report, e);
    llmc_report_free(report);
    return status;
  };
  const int64_t count = count_allocations(run);
  const std::string whole = read_text(output + "/model.safetensors");
  std::filesystem::remove_all(output);
  REQUIRE(count > 2000);
  std::mt19937_64 random(1);
  std::vector<int64_t> chosen;
  for (int64_t n = 0; n < 2000; ++n) chosen.push_back(n);
  for (int i = 0; i < 500; ++i)
    chosen.push_back(2000 + static_cast<int64_t>(random() % static_cast<uint64_t>(count - 2000)));
  int64_t survived = 0, living = 0;
  for (size_t i = 0; i < chosen.size(); ++i) {
    // that one alone, or it and all after it
    const int64_t n = chosen[i], last = i % 2 ? n + 1 : INT64_MAX;
    llmc_error* error = nullptr;
    llmc_status status;
    {
      const Failing failing(n, last);
      status = run(&error);
    }
    INFO("allocation " << n << " of " << count << (last == INT64_MAX ? " and all after it: " : ": ")
                       << llmc_error_message(error));
    CHECK((status == LLMC_OK || status == LLMC_OUT_OF_MEMORY));
    llmc_error_free(error);
    survived += status == LLMC_OK;
    const auto entries = std::distance(std::filesystem::directory_iterator(folder), {});
    // Under its final name, whole, or not at all; no partial folder stays. When memory fails for the report
    // alone, the folder is complete.
    CHECK((entries == 0 || (entries == 1 && read_text(output + "/model.safetensors") == whole)));
    if (status == LLMC_OK) CHECK(entries == 1);
    for (const auto& entry : std::filesystem::directory_iterator(folder))
      std::filesystem::remove_all(entry.path());
    if (i == 100) living = g_living;
  }
  // 2400 failed runs later: buffers that the session keeps for the next one
  CHECK(g_living - living < 200);
  CHECK(survived < 700);
  std::filesystem::remove_all(folder);
}

int main(int argc, char** argv) { return Catch::Session().run(argc, argv); }
