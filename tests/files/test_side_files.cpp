#include <catch2/catch.hpp>

#include "core/files/checkpoint.hpp"
#include "llmc/error.hpp"
#include "files/temporary_folder.hpp"

using namespace llmc;
using Catch::Matchers::Contains;
using Catch::Matchers::EndsWith;
namespace fs = std::filesystem;

namespace {

const char kEmptyFile[] = "\x02\0\0\0\0\0\0\0{}";  // safetensors without tensors

std::string_view no_tensors() { return {kEmptyFile, 10}; }

}  // namespace

TEST_CASE("what a server needs goes over; other weights, training state and claims stay, by name") {
  const TemporaryFolder folder;
  for (const char* name : {"tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt",
                           "tokenizer.model", "spiece.model", "special_tokens_map.json", "added_tokens.json",
                           "generation_config.json", "chat_template.jinja", "preprocessor_config.json",
                           "LICENSE", "LICENSE.txt", "config_sentence_transformers.json", "tekken.json"})
    folder.write(name, "{}");
  const SideFiles all = find_side_files(folder.path.string(), "{}");
  CHECK(all.copied.size() == 15);
  CHECK(all.left.empty());
  CHECK(describe_left(all).empty());
  for (const char* name : {"pytorch_model.bin", "tf_model.h5", "flax_model.msgpack", "consolidated.00.pth",
                           "model-f16.gguf", "consolidated.safetensors", "adapter_config.json",
                           "training_args.bin", "trainer_state.json", "README.md", "calibration.jsonl",
                           "train.py", ".gitattributes", "config.json", "recipe.yaml", "model.safetensors"})
    folder.write(name, "{}");
  fs::create_directory(folder / "onnx");
  const SideFiles some = find_side_files(folder.path.string(), "{}");
  CHECK(some.copied == all.copied);
  CHECK(describe_left(some) ==
        "not copied, as no part of the compressed model: README.md, adapter_config.json, calibration.jsonl, "
        "consolidated.00.pth, flax_model.msgpack, model-f16.gguf, onnx/, pytorch_model.bin and 4 more");
}

TEST_CASE("code goes over where a config names it") {
  const TemporaryFolder folder;
  folder.write("modeling_x.py", "");
  CHECK(find_side_files(folder.path.string(), "{}").copied.empty());
  CHECK(
      find_side_files(folder.path.string(), R"({"auto_map": {"AutoModel": "modeling_x.X"}})").copied.size() ==
      1);
}

TEST_CASE("sub-folders go over where the model's files refer to them") {
  const TemporaryFolder folder;
  for (const char* name : {"1_Pooling", "2_Normalize", "additional_chat_templates", "checkpoint-100"})
    fs::create_directory(folder / name);
  folder.write("modules.json", R"([{"path": ""}, {"path": "1_Pooling"}, {"path": "../up"}, {"path": 3}])");
  folder.write("1_Pooling/config.json", "{}");
  folder.write("1_Pooling/notes.txt", "");
  folder.write("2_Normalize/config.json", "{}");
  folder.write("additional_chat_templates/tool_use.jinja", "");
  folder.write("checkpoint-100/optimizer.pt", "");
  const SideFiles files = find_side_files(folder.path.string(), "{}");
  CHECK(files.copied ==
        std::vector<std::string>{"1_Pooling/config.json", "additional_chat_templates/tool_use.jinja",
                                 "modules.json"});
  CHECK(files.left == std::vector<std::string>{"1_Pooling/notes.txt", "2_Normalize/", "checkpoint-100/"});
}

TEST_CASE("links are followed inside the model's own store alone") {
  const TemporaryFolder folder;
  fs::create_directories(folder / "models--x/snapshots/abc");
  fs::create_directories(folder / "models--x/blobs");
  folder.write("models--x/blobs/123", "{}");
  folder.write("secret.txt", "x");
  const std::string snapshot = folder / "models--x/snapshots/abc";
  fs::create_symlink("../../blobs/123", snapshot + "/tokenizer.json");
  fs::create_symlink("../../../secret.txt", snapshot + "/vocab.txt");
  fs::create_symlink("/dev/zero", snapshot + "/merges.txt");
  fs::create_symlink("../../blobs/gone", snapshot + "/added_tokens.json");
  const SideFiles files = find_side_files(snapshot, "{}");
  CHECK(files.copied == std::vector<std::string>{"tokenizer.json"});
  CHECK(files.left ==
        std::vector<std::string>{"added_tokens.json (no file)", "merges.txt (no file)",
                                 "vocab.txt (a link that leads out of the model's folder)"});
}

TEST_CASE("a file that is not what its name says is named for what it is") {
  const TemporaryFolder folder;
  const std::string_view pointer =
      "version https://git-lfs.github.com/spec/v1\noid sha256:0123\nsize 1234567890\n";
  const std::pair<std::string, const char*> rows[] = {
      {std::string(pointer), "model.safetensors: is a git-lfs pointer, not the file it stands for"},
      {"<!DOCTYPE html><html><body>404", "model.safetensors: is a web page, not the file"},
      {"GGUF\x03 and then some more bytes", "model.safetensors: is a GGUF file"},
      {"PK\x03\x04 and then some more bytes", "model.safetensors: is a zip file, as PyTorch saves"}};
  for (const auto& [contents, reason] : rows) {
    folder.write("model.safetensors", contents);
    CHECK_THROWS_WITH(Checkpoint(folder.path.string()), Contains(reason));
  }
  folder.write("model.safetensors", no_tensors());
  folder.write("config.json", pointer);
  CHECK_THROWS_WITH(Checkpoint(folder.path.string()), Contains("config.json: is a git-lfs pointer"));
  folder.write("config.json", "{}");
  folder.write("tokenizer.json", pointer);
  CHECK_THROWS_WITH(Checkpoint(folder.path.string()).side_files(),
                    Contains("tokenizer.json: is a git-lfs pointer"));
}

TEST_CASE("a folder without safetensors says what it holds and what to do") {
  const std::pair<const char*, const char*> rows[] = {
      {"pytorch_model.bin", "holds no safetensors file but pytorch_model.bin, PyTorch's format"},
      {"model-Q4_K_M.gguf", "holds no safetensors file but model-Q4_K_M.gguf, quantized for llama.cpp"},
      {"tf_model.h5", "holds no safetensors file but tf_model.h5, TensorFlow's format"},
      {"notes.txt", "holds no safetensors file, wanted model.safetensors or"}};
  for (const auto& [name, reason] : rows) {
    const TemporaryFolder folder;
    folder.write(name, "x");
    CHECK_THROWS_WITH(Checkpoint(folder.path.string()), Contains(reason));
  }
  const TemporaryFolder mistral;
  mistral.write("consolidated.safetensors", no_tensors());
  mistral.write("params.json", "{}");
  CHECK_THROWS_WITH(Checkpoint(mistral.path.string()).config(), Contains("holds Mistral's own form"));
}

TEST_CASE("of two sets of weights the index's is taken, as vLLM does, and a note says so") {
  const TemporaryFolder folder;
  folder.write("one.safetensors", no_tensors());
  folder.write("model.safetensors", no_tensors());
  folder.write("model.safetensors.index.json", R"({"weight_map": {"a": "gone.safetensors"}})");
  const Checkpoint stale(folder.path.string());
  CHECK(stale.files() == std::vector<std::string>{"model.safetensors"});
  CHECK(stale.notes() ==
        std::vector<std::string>{"model.safetensors.index.json names files that are not there: "
                                 "model.safetensors is used"});
  folder.write("model.safetensors.index.json", R"({"weight_map": {"a": "one.safetensors"}})");
  // The index is the one that is read: it lies about 'one.safetensors'.
  CHECK_THROWS_WITH(Checkpoint(folder.path.string()), EndsWith("'one.safetensors', which does not hold it"));
  folder.write("model.safetensors.index.json", R"({"weight_map": {}})");
  CHECK(Checkpoint(folder.path.string()).files() == std::vector<std::string>{"model.safetensors"});
}
