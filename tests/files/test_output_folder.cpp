#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>
#include <catch2/catch.hpp>

#include "core/files/checkpoint_writer.hpp"
#include "core/files/replaceable.hpp"
#include "llmc/error.hpp"
#include "files/temporary_folder.hpp"

using namespace llmc;
using Catch::Matchers::Contains;
using Catch::Matchers::EndsWith;
namespace fs = std::filesystem;

namespace {

constexpr const char* kModelConfig = R"({"model_type": "llama"})";

size_t files_in(const TemporaryFolder& folder) {
  return static_cast<size_t>(std::distance(fs::directory_iterator(folder.path), fs::directory_iterator()));
}

void fill(CheckpointWriter& writer, int32_t value) {
  writer.plan({{"a", DType::i32, {1}}});
  writer.write_tensor("a", TensorView(&value, DType::i32, {1}));
  writer.write_file("config.json", kModelConfig);
}

void write_small(const std::string& target, bool overwrite, int32_t value) {
  CheckpointWriter writer({.output_dir = target, .overwrite = overwrite});
  fill(writer, value);
  writer.finish();
}

int32_t value_in(const std::string& target) { return Checkpoint(target).read("a").as<int32_t>()[0]; }

struct Entry {
  const char *name, *contents;  // a name that ends in / is a folder
};

void make(const TemporaryFolder& folder, const std::string& in, const std::vector<Entry>& entries) {
  fs::create_directories(folder / in);
  for (const auto& [name, contents] : entries) {
    const std::string path = in + "/" + name;
    fs::create_directories(fs::path(folder / path).parent_path());
    if (!path.ends_with('/')) folder.write(path, contents);
  }
}

}  // namespace

TEST_CASE("a folder may be replaced when it holds a model and nothing else") {
  const struct {
    const char* what;
    std::vector<Entry> entries;
    const char* reason;
  } rows[] = {
      {"nothing", {}, ""},
      {"a model", {{"config.json", kModelConfig}, {"model.safetensors", ""}, {"tokenizer.json", ""}}, ""},
      {"what the tensor level writes",
       {{"config.json", R"({"quantization_config": {}})"}, {"model.safetensors", ""}},
       ""},
      {"shards, templates, pooling and code",
       {{"config.json", kModelConfig},
        {"model-00001-of-00001.safetensors", ""},
        {"model.safetensors.index.json", R"({"weight_map": {"a": "first.safetensors"}})"},
        {"first.safetensors", ""},
        {"additional_chat_templates/tool_use.jinja", ""},
        {"1_Pooling/config.json", "{}"},
        {"modeling_x.py", ""},
        {"LICENSE", ""},
        {"recipe.yaml", ""}},
       ""},
      {"a web project",
       {{"config.json", R"({"name": "my web app"})"}, {"src/deep/thesis.tex", "x"}},
       "holds no config.json of a model"},
      {"a diary", {{"monday.txt", "rain"}}, "holds no config.json of a model"},
      {"a folder of LoRAs",
       {{"a.safetensors", ""}, {"b.safetensors", ""}},
       "holds no config.json of a model"},
      {"a list", {{"config.json", "[1]"}}, "holds no config.json of a model"},
      {"a broken config", {{"config.json", "{\"model_type\""}}, "holds no config.json of a model"},
      {"notes beside a model",
       {{"config.json", kModelConfig}, {"notes.txt", "x"}},
       "holds 'notes.txt', which is no file of a model"},
      {"an adapter beside a model",
       {{"config.json", kModelConfig}, {"adapter_model.safetensors", ""}},
       "holds 'adapter_model.safetensors', which is no file of a model"},
      {"a model that holds another",
       {{"config.json", "{\"architectures\": []}"}, {"a/model/config.json", "{}"}},
       "holds 'a/model', which is no file of a model"},
      {"a hidden folder",
       {{"config.json", kModelConfig}, {".git/HEAD", ""}},
       "holds '.git/HEAD', which is no file of a model"},
      {"a data set",
       {{"config.json", kModelConfig}, {"chats.jsonl", "x"}},
       "holds 'chats.jsonl', which is no file of a model"},
  };
  for (const auto& row : rows) {
    const TemporaryFolder folder;
    make(folder, "out", row.entries);
    INFO(row.what);
    CHECK(reason_to_keep(folder / "out") == row.reason);
    if (row.entries.empty()) continue;
    CHECK_THROWS_WITH(write_small(folder / "out", false, 1),
                      EndsWith("is not empty; --overwrite replaces it"));
    if (*row.reason) {
      CHECK_THROWS_WITH(
          write_small(folder / "out", true, 1),
          EndsWith(std::string(row.reason) + "; --overwrite replaces a model's folder and nothing else"));
      for (const Entry& entry : row.entries) CHECK(fs::exists(folder / ("out/" + std::string(entry.name))));
    } else {
      write_small(folder / "out", true, 7);
      CHECK(value_in(folder / "out") == 7);
    }
    CHECK(files_in(folder) == 1);
  }
}

TEST_CASE("a link in a folder is somebody's file: the folder stays") {
  const TemporaryFolder folder;
  make(folder, "out", {{"config.json", kModelConfig}});
  folder.write("weights", "x");
  fs::create_symlink(folder / "weights", folder / "out/model.safetensors");
  CHECK(reason_to_keep(folder / "out") == "holds 'model.safetensors', which is no regular file");
}

TEST_CASE("what may be replaced is asked again just before the exchange") {
  const TemporaryFolder folder;
  write_small(folder / "out", false, 1);
  CheckpointWriter writer({.output_dir = folder / "out", .overwrite = true});
  fill(writer, 2);
  folder.write("out/thesis.tex", "meanwhile");
  CHECK_THROWS_WITH(writer.finish(), Contains("holds 'thesis.tex'"));
  CHECK(fs::exists(folder / "out/thesis.tex"));
  CHECK(value_in(folder / "out") == 1);
}

TEST_CASE("an existing folder is replaced only when asked") {
  const TemporaryFolder folder;
  const std::string out = folder / "out";
  fs::create_directory(out);
  write_small(out, false, 1);  // empty: fine
  CHECK_THROWS_WITH(write_small(out, false, 2), EndsWith("exists and is not empty; --overwrite replaces it"));
  write_small(out, true, 3);
  CHECK(value_in(out) == 3);
  CHECK(files_in(folder) == 1);
  folder.write("file", "x");
  CHECK_THROWS_WITH(write_small(folder / "file", true, 5), EndsWith("exists and is no folder"));
}

TEST_CASE("a failed overwrite leaves the old folder as it was") {
  const TemporaryFolder folder;
  write_small(folder / "out", false, 1);
  {
    CheckpointWriter writer({.output_dir = folder / "out", .overwrite = true});
    writer.plan({{"a", DType::i32, {1}}});
  }
  CHECK(value_in(folder / "out") == 1);
  CHECK(files_in(folder) == 1);
}

TEST_CASE("the output is none of the folders and files that are read, lies in none and holds none") {
  const TemporaryFolder folder;
  fs::create_directories(folder / "in/sub");
  fs::create_directory_symlink(folder / "in", folder / "link");
  const InputPath input{"the model's folder", folder / "in"};
  const std::pair<const char*, const char*> rows[] = {{"in", "is the model's folder"},
                                                      {"in/", "is the model's folder"},
                                                      {"link", "is the model's folder"},
                                                      {"in/sub/../", "is the model's folder"},
                                                      {"in/sub", "lies inside the model's folder"},
                                                      {"link/new/deep", "lies inside the model's folder"},
                                                      {"", "contains the model's folder"}};
  for (const auto& [target, reason] : rows) {
    INFO(target);
    CHECK_THROWS_WITH(CheckpointWriter({.output_dir = folder / target, .inputs = {input}, .overwrite = true}),
                      Contains(reason));
  }
  CHECK_NOTHROW(CheckpointWriter({.output_dir = folder / "in2", .inputs = {input}}));
  folder.write("in2.jsonl", "{}");
  const InputPath data{"the data set", folder / "data/set.jsonl"};
  make(folder, "data", {{"set.jsonl", "{}"}});
  CHECK_THROWS_WITH(
      CheckpointWriter({.output_dir = folder / "data", .inputs = {input, data}, .overwrite = true}),
      Contains("contains the data set"));
}

TEST_CASE("what a killed run left is removed by the next one, which says so; nothing shows the final name") {
  const TemporaryFolder folder;
  const pid_t child = ::fork();
  if (child == 0) {
    CheckpointWriter writer({.output_dir = folder / "out"});
    fill(writer, 1);
    ::kill(::getpid(), SIGKILL);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  CHECK(WIFSIGNALED(status));
  CHECK_FALSE(fs::exists(folder / "out"));
  CHECK(fs::exists(folder / ".out.llmc-partial/model.safetensors"));
  CheckpointWriter writer({.output_dir = folder / "out"});
  REQUIRE(writer.notes().size() == 1);
  CHECK(writer.notes()[0] ==
        "removed '" + fs::canonical(folder.path).string() +
            "/.out.llmc-partial', which a run that was killed had left");
  fill(writer, 2);
  writer.finish();
  CHECK(value_in(folder / "out") == 2);
  CHECK(files_in(folder) == 1);
}

TEST_CASE("two runs into one folder: the second is refused while the first lives") {
  const TemporaryFolder folder;
  {
    CheckpointWriter first({.output_dir = folder / "out"});
    CHECK_THROWS_WITH(CheckpointWriter({.output_dir = folder / "out"}),
                      Contains("another run is writing it"));
    CHECK_NOTHROW(CheckpointWriter({.output_dir = folder / "other"}));
    fill(first, 1);
    first.finish();
  }
  CHECK(value_in(folder / "out") == 1);
  CHECK(files_in(folder) == 1);
}
