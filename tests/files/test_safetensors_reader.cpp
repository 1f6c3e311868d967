#include <catch2/catch.hpp>

#include "core/files/checkpoint.hpp"
#include "llmc/error.hpp"
#include "files/temporary_folder.hpp"

using namespace llmc;
using Catch::Matchers::Contains;
using Catch::Matchers::EndsWith;

namespace {

std::string with_length(uint64_t length, const std::string& rest) {
  std::string text;
  for (int i = 0; i < 8; ++i) text += static_cast<char>(length >> (8 * i) & 0xFF);
  return text + rest;
}
std::string file_of(const std::string& header, size_t data_bytes) {
  return with_length(header.size(), header + std::string(data_bytes, '\1'));
}

}  // namespace

TEST_CASE("a header that lies is refused with the reason") {
  struct Row {
    const char* reason;
    std::string contents;
  };
  const std::vector<Row> rows = {
      {"file has 3 bytes, wanted at least 8", "abc"},
      {"header has 0 bytes", with_length(0, "{}")},
      {"header has 200000000 bytes, wanted at most 100000000", with_length(200000000, "{}")},
      {"header has 18446744073709551615 bytes, wanted at most 100000000", with_length(~uint64_t{0}, "{}")},
      {"header has 50 bytes, the file has 2 after the length", with_length(50, "{}")},
      {"safetensors header: is not valid JSON at byte 2", file_of("{x}", 0)},
      {"header is not a JSON object", file_of("[]", 0)},
      {"safetensors header: key 'a' is there twice",
       file_of(
           R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})",
           1)},
      {"safetensors header: key 'shape' is there twice",
       file_of(R"({"a":{"dtype":"U8","shape":[1],"shape":[2],"data_offsets":[0,1]}})", 1)},
      {"tensor 'a' begins at 4 and ends at 0",
       file_of(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}})", 4)},
      {"tensor 'a' ends at 8, the file holds 4 bytes of data",
       file_of(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 4)},
      {"tensor 'a' spans 4 bytes, its shape [64] BF16 needs 128",
       file_of(R"({"a":{"dtype":"BF16","shape":[64],"data_offsets":[0,4]}})", 4)},
      {"tensor 'b' begins at 2, inside the tensor before it, which ends at 4",
       file_of(
           R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[2],"data_offsets":[2,4]}})",
           4)},
      {"tensor 'b' begins at 3, 1 bytes after the tensor before it",
       file_of(
           R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[1],"data_offsets":[3,4]}})",
           4)},
      {"tensors end at 2, the file holds 4 bytes of data",
       file_of(R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}})", 4)},
      {"tensor 'a' has '-1' in 'shape', wanted whole numbers from 0 on",
       file_of(R"({"a":{"dtype":"U8","shape":[-1],"data_offsets":[0,0]}})", 0)},
      {"tensor 'a' has '1.5' in 'shape', wanted whole numbers from 0 on",
       file_of(R"({"a":{"dtype":"U8","shape":[1.5],"data_offsets":[0,1]}})", 1)},
      {"tensor 'a' has '18446744073709551617' in 'data_offsets', wanted whole numbers from 0 on",
       file_of(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,18446744073709551617]}})", 1)},
      {"tensor 'a' has shape [4611686018427387904, 4], which overflows",
       file_of(R"({"a":{"dtype":"U8","shape":[4611686018427387904,4],"data_offsets":[0,0]}})", 0)},
      {"tensor 'a' has shape [4611686018427387904], which overflows",
       file_of(R"({"a":{"dtype":"F64","shape":[4611686018427387904],"data_offsets":[0,0]}})", 0)},
      {"tensor 'a' has dtype 'F12', which is unknown",
       file_of(R"({"a":{"dtype":"F12","shape":[1],"data_offsets":[0,1]}})", 1)},
      {"tensor 'a' has no dtype", file_of(R"({"a":{"shape":[1],"data_offsets":[0,1]}})", 1)},
      {"tensor 'a' has no list 'shape'", file_of(R"({"a":{"dtype":"U8","data_offsets":[0,1]}})", 1)},
      {"tensor 'a' has 3 data_offsets, wanted 2",
       file_of(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1,2]}})", 1)},
      {"tensor 'a' is not a JSON object", file_of(R"({"a":7})", 0)},
      {"__metadata__ key 'x' is not a string", file_of(R"({"__metadata__":{"x":1}})", 0)},
  };
  const TemporaryFolder folder;
  for (size_t i = 0; i < rows.size(); ++i) {
    const std::string path = folder.write("lie" + std::to_string(i) + ".safetensors", rows[i].contents);
    INFO(rows[i].reason);
    CHECK_THROWS_WITH(SafetensorsFile(path), Contains(path) && EndsWith(rows[i].reason));
    try {
      SafetensorsFile file(path);
    } catch (const Error& error) {
      CHECK(error.code() == ErrorCode::bad_file);
    }
  }
}

TEST_CASE("tensors and rows are read, scalars and empty tensors too") {
  const TemporaryFolder folder;
  const std::string header =
      R"({"rows":{"dtype":"U8","shape":[3,2],"data_offsets":[0,6]},"none":{"dtype":"F32","shape":[0,5],"data_offsets":[6,6]},"one":{"dtype":"I8","shape":[],"data_offsets":[6,7]}})";
  const SafetensorsFile file(folder.write("a.safetensors", with_length(header.size(), header + "abcdefg")));
  const Tensor rows = file.read("rows");
  CHECK(rows.shape() == Shape{3, 2});
  CHECK(rows.as<char>()[5] == 'f');
  std::byte two[4];
  file.read_rows("rows", 1, 2, two);
  CHECK(static_cast<char>(two[0]) == 'c');
  CHECK_THROWS_AS(file.read_rows("rows", 2, 2, two), Error);
  CHECK_THROWS_AS(file.read_rows("rows", -1, 1, two), Error);
  CHECK(file.read("none").size() == 0);
  CHECK(file.read("one").as<char>()[0] == 'g');
  CHECK_THROWS_WITH(file.read("two"), EndsWith("has no tensor 'two'"));
}

TEST_CASE("a file cut short while it is open is an error, not a crash") {
  const TemporaryFolder folder;
  const std::string path = folder.write(
      "a.safetensors", file_of(R"({"a":{"dtype":"U8","shape":[9000],"data_offsets":[0,9000]}})", 9000));
  const SafetensorsFile file(path);
  std::filesystem::resize_file(path, 1000);
  CHECK_THROWS_WITH(file.read("a"), Contains("ends at byte 1000"));
}

TEST_CASE("a model folder is one file, an index with its shards, or any safetensors files") {
  const std::string a = file_of(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})", 1),
                    b = file_of(R"({"b":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})", 1);
  const auto index = [](const std::string& map) {
    return R"({"metadata":{"total_size":2},"weight_map":)" + map + "}";
  };
  const TemporaryFolder folder;
  CHECK_THROWS_WITH(Checkpoint(folder / "absent"), EndsWith("is not a folder"));
  CHECK_THROWS_WITH(Checkpoint(folder.path.string()), Contains("holds no safetensors file"));

  folder.write("one.safetensors", a);
  folder.write("two.safetensors", b);
  CHECK(Checkpoint(folder.path.string()).names() == std::vector<std::string>{"a", "b"});
  CHECK_THROWS_WITH(Checkpoint(folder.path.string()).config(),
                    "config.json: not found in '" + folder.path.string() + "'");

  folder.write("model.safetensors.index.json", index(R"({"b":"two.safetensors"})"));
  const Checkpoint indexed(folder.path.string());
  CHECK(indexed.names() == std::vector<std::string>{"b"});
  CHECK(indexed.info("b").file == "two.safetensors");
  CHECK(indexed.total_bytes() == 1);

  const std::pair<const char*, const char*> lies[] = {
      {R"({"a":"one.safetensors","b":"three.safetensors"})",
       "names the file 'three.safetensors', which is not there"},
      {R"({"a":"one.safetensors","b":"one.safetensors"})",
       "tensor 'b' is said to be in 'one.safetensors', which does not hold it"},
      {R"({"a":"../one.safetensors"})",
       "tensor 'a' is said to be in '../one.safetensors', wanted a file name in the same folder"},
      {R"({"a":"/etc/passwd"})",
       "tensor 'a' is said to be in '/etc/passwd', wanted a file name in the same folder"},
      {R"({"a":".."})", "tensor 'a' is said to be in '..', wanted a file name in the same folder"},
      {"7", "has no object 'weight_map'"},
  };
  for (const auto& [map, reason] : lies) {
    folder.write("model.safetensors.index.json", index(map));
    CHECK_THROWS_WITH(Checkpoint(folder.path.string()), EndsWith(reason));
  }

  std::filesystem::remove(folder.path / "model.safetensors.index.json");
  folder.write("two.safetensors", a);
  CHECK_THROWS_WITH(Checkpoint(folder.path.string()),
                    EndsWith("tensor 'a' is in 'one.safetensors' and in 'two.safetensors'"));
}

TEST_CASE(
    "config.json is checked when the folder is opened, and tells whether the model is quantized already") {
  const TemporaryFolder folder;
  folder.write("model.safetensors", file_of("{}", 0));
  folder.write("config.json", "{\"a\": ");
  CHECK_THROWS_WITH(Checkpoint(folder.path.string()), Contains("config.json: is not valid JSON"));
  folder.write("config.json", "{\"quantization_config\": null}");
  CHECK_FALSE(Checkpoint(folder.path.string()).is_quantized());
  folder.write("config.json", "{\"text_config\": {\"quantization_config\": {}}}");
  CHECK(Checkpoint(folder.path.string()).is_quantized());
}
