#include <catch2/catch.hpp>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <numeric>
#include <thread>

#include "core/files/checkpoint_writer.hpp"
#include "llmc/error.hpp"
#include "files/temporary_folder.hpp"

using namespace llmc;
using Catch::Matchers::Contains;
using Catch::Matchers::EndsWith;
namespace fs = std::filesystem;

namespace {

Tensor counting(Shape shape) {
  Tensor tensor(DType::i32, std::move(shape));
  std::iota(tensor.as<int32_t>(), tensor.as<int32_t>() + tensor.size(), 0);
  return tensor;
}

size_t files_in(const TemporaryFolder& folder) {
  return static_cast<size_t>(std::distance(fs::directory_iterator(folder.path), fs::directory_iterator()));
}

// A file size limit stands in for the disk: both make the same system calls fail.
struct FullDisk {
  rlimit before{};
  void (*handler)(int);
  FullDisk() : handler(::signal(SIGXFSZ, SIG_IGN)) {
    ::getrlimit(RLIMIT_FSIZE, &before);
    const rlimit small{1 << 16, before.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &small);
  }
  ~FullDisk() {
    ::setrlimit(RLIMIT_FSIZE, &before);
    ::signal(SIGXFSZ, handler);
  }
};

}  // namespace

TEST_CASE("rows may come in any order and from any thread") {
  const TemporaryFolder folder;
  const Tensor rows = counting({64, 1000});
  CheckpointWriter writer({.output_dir = folder / "out"});
  writer.plan({{"small", DType::u8, {3}},
               {"rows", DType::i32, {64, 1000}},
               {"scalar", DType::f32, {}},
               {"none", DType::f32, {0, 4}}});
  std::vector<std::thread> threads;
  for (int part = 3; part >= 0; --part)
    threads.emplace_back([&, part] {
      for (int64_t row = part; row < 64; row += 4)
        writer.write_rows("rows", row, TensorView(rows).row_range(row, row + 1));
    });
  for (auto& thread : threads) thread.join();
  const float half = 0.5f;
  writer.write_tensor("scalar", TensorView(&half, DType::f32, {}));
  writer.write_tensor("small", TensorView("xyz", DType::u8, {3}));
  writer.write_file("config.json", "{}");
  CHECK_FALSE(fs::exists(folder / "out"));
  writer.finish();

  const Checkpoint written(folder / "out");
  const Tensor back = written.read("rows");
  CHECK(std::equal(rows.as<int32_t>(), rows.as<int32_t>() + rows.size(), back.as<int32_t>()));
  CHECK(written.read("scalar").as<float>()[0] == 0.5f);
  CHECK(written.read("small").as<char>()[2] == 'z');
  CHECK(written.info("none").shape == Shape{0, 4});
  CHECK(SafetensorsFile(folder / "out/model.safetensors").metadata().at("format") == "pt");
  CHECK(files_in(folder) == 1);
}

TEST_CASE("tensors beyond the shard size go into numbered shards with an index") {
  const TemporaryFolder folder;
  const Tensor rows = counting({10});
  {
    CheckpointWriter writer({.output_dir = folder / "out", .max_shard_bytes = 100});
    writer.plan({{"a", DType::i32, {10}}, {"b", DType::i32, {10}}, {"c", DType::i32, {10}}});
    for (const char* name : {"c", "a", "b"}) writer.write_tensor(name, rows);
    writer.finish();
  }
  const Checkpoint written(folder / "out");
  CHECK(written.files() ==
        std::vector<std::string>{"model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"});
  CHECK_THAT(read_text_file(folder / "out/model.safetensors.index.json"), Contains("\"total_size\": 120"));

  CheckpointWriter copy({.output_dir = folder / "copy", .inputs = {{"the model's folder", folder / "out"}}});
  copy.plan({{"x", DType::i32, {10}}});
  copy.copy_tensor(written, "c", "x");
  copy.copy_file(folder / "out", "model.safetensors.index.json");
  copy.finish();
  CHECK(SafetensorsFile(folder / "copy/model.safetensors").read("x").as<int32_t>()[9] == 9);
}

TEST_CASE("a row that never came or came twice is an error, and nothing is left behind") {
  const TemporaryFolder folder;
  const Tensor rows = counting({4, 2});
  {
    CheckpointWriter writer({.output_dir = folder / "out"});
    writer.plan({{"rows", DType::i32, {4, 2}}});
    writer.write_rows("rows", 0, TensorView(rows).row_range(0, 2));
    writer.write_rows("rows", 3, TensorView(rows).row_range(3, 4));
    CHECK_THROWS_WITH(writer.write_rows("rows", 1, TensorView(rows).row_range(1, 2)), Contains("twice"));
    CHECK_THROWS_WITH(writer.write_rows("rows", 3, TensorView(rows).row_range(0, 2)),
                      Contains("is planned as [4, 2] I32"));
    CHECK_THROWS_WITH(writer.write_rows("other", 0, rows), Contains("was not planned"));
    CHECK_THROWS_WITH(writer.finish(), "writer: tensor 'rows' was never given its row 2 of 4");
  }
  CHECK(files_in(folder) == 0);
}

TEST_CASE("a process killed half way leaves nothing under the final name") {
  const TemporaryFolder folder;
  const pid_t child = ::fork();
  if (child == 0) {
    const Tensor rows = counting({4, 2});
    CheckpointWriter writer({.output_dir = folder / "out"});
    writer.plan({{"rows", DType::i32, {4, 2}}});
    writer.write_rows("rows", 0, TensorView(rows).row_range(0, 2));
    ::kill(::getpid(), SIGKILL);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  CHECK(WIFSIGNALED(status));
  CHECK_FALSE(fs::exists(folder / "out"));
}

TEST_CASE("what changed on the disk after it was written is noticed before anything is renamed") {
  const TemporaryFolder folder;
  const Tensor rows = counting({1000});
  CheckpointWriter writer({.output_dir = folder / "out"});
  writer.plan({{"rows", DType::i32, {1000}}});
  writer.write_tensor("rows", rows);
  {
    std::fstream file(writer.partial_directory() + "/model.safetensors",
                      std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(-5, std::ios::end);
    file.put('x');
  }
  CHECK_THROWS_WITH(writer.finish(), Contains("tensor 'rows' reads back differently"));
  CHECK_FALSE(fs::exists(folder / "out"));
}

TEST_CASE("a large piece is read back while others are written: what went wrong with it ends the writing") {
  const TemporaryFolder folder;
  const Tensor piece = counting({1 << 18});  // 1 MiB
  CheckpointWriter writer({.output_dir = folder / "out", .read_back_lag = 3 << 19});
  writer.plan({{"rows", DType::i32, {64 << 18}}});
  writer.write_rows("rows", 0, piece);
  {
    std::fstream file(writer.partial_directory() + "/model.safetensors",
                      std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(5000);
    file.put('x');
  }
  const auto go_on = [&] {
    for (int64_t i = 1; i < 64; ++i) {
      writer.write_rows("rows", i << 18, piece);
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    writer.finish();
  };
  CHECK_THROWS_WITH(
      go_on(), Contains("tensor 'rows' reads back differently from what was written, in bytes [0, 1048576)"));
}

TEST_CASE("pieces of all sizes in any order are read back once each, while they are written or at the end") {
  const TemporaryFolder folder;
  const Tensor whole = counting({5 << 18});
  CheckpointWriter writer({.output_dir = folder / "out", .read_back_lag = 1 << 20});
  writer.plan({{"rows", DType::i32, {5 << 18}}, {"small", DType::u8, {3}}});
  for (const int64_t i : {4, 0, 3, 1, 2})
    writer.write_rows("rows", i << 18, TensorView(whole).row_range(i << 18, (i + 1) << 18));
  writer.write_bytes("small", 1, reinterpret_cast<const std::byte*>("yz"), 2);
  writer.write_bytes("small", 0, reinterpret_cast<const std::byte*>("x"), 1);
  CHECK_THROWS_WITH(writer.write_bytes("small", 2, reinterpret_cast<const std::byte*>("zz"), 2),
                    Contains("has 3 bytes, got 2 at 2"));
  writer.finish();
  const Checkpoint written(folder / "out");
  const Tensor back = written.read("rows");
  CHECK(std::equal(whole.as<int32_t>(), whole.as<int32_t>() + whole.size(), back.as<int32_t>()));
  CHECK(written.read("small").as<char>()[2] == 'z');
}

TEST_CASE("tensors that name a file go there, and the index says so even for one file of another name") {
  const TemporaryFolder folder;
  const Tensor rows = counting({10});
  {
    CheckpointWriter writer({.output_dir = folder / "out"});
    writer.plan({{"a", DType::i32, {10}, "two.safetensors"},
                 {"b", DType::i32, {10}, "one.safetensors"},
                 {"c", DType::i32, {10}, "two.safetensors"}});
    for (const char* name : {"c", "a", "b"}) writer.write_tensor(name, rows);
    writer.finish();
  }
  const Checkpoint written(folder / "out");
  CHECK(written.files() == std::vector<std::string>{"one.safetensors", "two.safetensors"});
  CHECK(written.info("c").file == "two.safetensors");
  CheckpointWriter mixed({.output_dir = folder / "mixed"});
  CHECK_THROWS_WITH(mixed.plan({{"a", DType::i32, {10}, "two.safetensors"}, {"b", DType::i32, {10}}}),
                    Contains("tensor 'b'") && Contains("for all or for none"));
  CheckpointWriter outside({.output_dir = folder / "outside"});
  CHECK_THROWS_WITH(outside.plan({{"a", DType::i32, {10}, "../two.safetensors"}}),
                    Contains("wanted a plain name"));
}

TEST_CASE(
    "a full disk is reported with the file and the bytes that did not fit, before and while data is "
    "written") {
  const TemporaryFolder folder;
  const auto failure = [&](auto work) -> std::string {
    const FullDisk disk;
    try {
      CheckpointWriter writer({.output_dir = folder / "out"});
      work(writer);
    } catch (const Error& error) {
      return (error.code() == ErrorCode::io ? "" : "wrong code: ") + std::string(error.what());
    }
    return "no error";
  };
  CHECK_THAT(failure([](CheckpointWriter& writer) {
               writer.plan({{"rows", DType::u8, {1 << 20}}});
             }),
             Contains("model.safetensors: cannot allocate 104") && Contains(" bytes: "));
  CHECK_THAT(failure([](CheckpointWriter& writer) {
               writer.write_file("tokenizer.json", std::string(100'000, ' '));
             }),
             Contains("tokenizer.json: cannot write 34464 bytes at 65536: "));
  CHECK(files_in(folder) == 0);
}
