// The forms of a row, the places of a template and the way out: what gives the same tokens, and what is told.
#include <atomic>
#include <catch2/catch.hpp>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "files/temporary_folder.hpp"
#include "llmc/error.hpp"
#include "text/text.hpp"

namespace {

namespace fs = std::filesystem;
using llmc::text::Dataset;
using llmc::text::DatasetOptions;
using llmc::text::Tokenizer;

const std::string kTinyLlama = std::string(LLMC_SOURCE_DIR) + "/examples/tiny-llama";

using Folder = TemporaryFolder;

Dataset load_rows(const std::string& rows, const Tokenizer* tokenizer, DatasetOptions options = {}) {
  Folder folder;
  options.path = folder.write("rows.jsonl", rows);
  return llmc::text::load_dataset(tokenizer, options);
}

std::vector<int32_t> tokens_of(const std::string& row, const Tokenizer* tokenizer) {
  return load_rows(row, tokenizer).token_ids;
}

// The error without what stands in front of "PLACE: ".
std::string error_of(const std::string& path, DatasetOptions options = {}) {
  options.path = path;
  try {
    llmc::text::load_dataset(nullptr, options);
  } catch (const llmc::Error& error) {
    return error.what();
  }
  return "no error";
}

const char* const kMessages =
    R"({"messages": [{"role": "user", "content": "Light\nand"}, {"role": "assistant", "content": "dark"}]})";

}  // namespace

TEST_CASE("one conversation has the same tokens in every form that it is written in") {
  const Tokenizer tokenizer(kTinyLlama);
  const std::vector<int32_t> expected = tokens_of(kMessages, &tokenizer);
  REQUIRE(expected.size() > 10);
  for (
      const char* row : {
          R"({"conversations": [{"from": "human", "value": "Light\nand"}, {"from": "gpt", "value": "dark"}]})",
          R"({"conversations": [{"role": "user", "content": "Light\nand"}, {"role": "assistant", "content": "dark"}]})",
          R"({"instruction": "Light", "input": "and", "output": "dark"})",
          R"({"question": "Light\nand", "answer": "dark"})",
          R"({"prompt": "Light\nand", "response": "dark"})",
          R"({"prompt": "x", "chosen": [{"role": "user", "content": "Light\nand"}, {"role": "assistant", "content": "dark"}]})",
          R"({"messages": [{"role": "user", "content": [{"type": "text", "text": "Light"}, {"type": "text", "text": "and"}]}, {"role": "assistant", "content": "dark"}]})",
      }) {
    INFO(row);
    CHECK(tokens_of(row, &tokenizer) == expected);
  }
  CHECK(tokens_of(R"({"prompt": "Light and", "chosen": " dark"})", &tokenizer) ==
        tokenizer.encode("Light and dark", true));
}

TEST_CASE("tools count as a list and as JSON text, and JSON that is broken names the row") {
  const Tokenizer tokenizer(kTinyLlama,
                            "{% for t in tools or [] %}{{ t.name }}{% endfor %}{{ messages[0].content }}");
  const std::string messages = R"("messages": [{"role": "user", "content": "dark"}])";
  const std::vector<int32_t> expected = tokenizer.encode("Lightdark", false);
  CHECK(tokens_of("{" + messages + R"(, "tools": [{"name": "Light"}]})", &tokenizer) == expected);
  CHECK(tokens_of("{" + messages + R"(, "tools": "[{\"name\": \"Light\"}]"})", &tokenizer) == expected);
  CHECK(tokens_of("{" + messages + R"(, "tools": "[]"})", &tokenizer) == tokenizer.encode("dark", false));
  CHECK_THROWS_WITH(tokens_of("{" + messages + R"(, "tools": "[{"})", &tokenizer),
                    Catch::Contains("rows.jsonl:1: 'tools' is text that is not JSON: "));
}

TEST_CASE("an image among the parts is an error that names the row and the part") {
  const Tokenizer tokenizer(kTinyLlama);
  const std::string row =
      R"({"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "image"}]}]})";
  CHECK_THROWS_WITH(
      tokens_of(std::string(kMessages) + "\n" + row, &tokenizer),
      Catch::EndsWith("rows.jsonl:2: 'messages[0].content[1]' is of type 'image', wanted 'text': "
                      "llmc calibrates with text alone"));
}

TEST_CASE("ids behind a mask of 0 are padding, and a column of ids that is not used is named") {
  const Dataset dataset = load_rows(
      R"({"input_ids": [0, 0, 5, 6], "attention_mask": [0, 0, 1, 1], "labels": [1]}
{"input_ids": [7], "position_ids": [0]})",
      nullptr);
  CHECK(dataset.token_ids == std::vector<int32_t>{5, 6, 7});
  CHECK(dataset.notes ==
        std::vector<std::string>{"dataset: column 'position_ids' is not used, though 1 rows have it"});
}

TEST_CASE("a file of another format is named with its format") {
  Folder folder;
  const std::string parquet = folder.write("train.parquet", "PAR1\x15\x04");
  CHECK(error_of(parquet) ==
        "dataset: '" + parquet +
            "' is Parquet, wanted JSON: one object per line, or one array of them; "
            "pandas.read_parquet(...).to_json('rows.jsonl', orient='records', lines=True) "
            "makes them");
  CHECK_THAT(error_of(folder.write("rows.jsonl.gz", "\x1f\x8b\x08")),
             Catch::Contains("is gzip, wanted JSON"));
  CHECK_THAT(error_of(folder.write("rows.csv", "text,label\n")), Catch::Contains("is CSV, wanted JSON"));
  CHECK_THAT(error_of(folder.write("notes.txt", "Once upon\n")),
             Catch::Contains("is plain text, wanted JSON"));
  CHECK_THAT(error_of(folder.write("rows.json", "{\n  \"train\": []\n}\n")),
             Catch::Contains("rows.json:1: an object over several lines"));
  folder.write("disk/state.json", "{}");
  CHECK_THAT(error_of(folder.path / "disk"), Catch::Contains("is a folder of datasets' save_to_disk"));
}

TEST_CASE("without tokenizer.json the error says what lies there instead and what makes one") {
  Folder folder;
  folder.write("tokenizer.model", "");
  const std::string cause = "tokenizer.json is missing in '" + folder.path.string() +
      "', found 'tokenizer.model'; transformers' AutoTokenizer.from_pretrained('" + folder.path.string() +
      "').save_pretrained('" + folder.path.string() + "') makes one";
  CHECK_THROWS_WITH(Tokenizer(folder.path), "tokenizer: " + cause);
  DatasetOptions options;
  options.tokenizer_dir = folder.path;
  CHECK_THAT(error_of(folder.write("rows.jsonl", kMessages), options),
             Catch::EndsWith("no tokenizer to turn messages into token ids: " + cause +
                             "; or pass rows with 'input_ids'"));
  const std::string pointer = folder.write("tokenizer.json", "version https://git-lfs.github.com/spec/v1\n");
  CHECK_THROWS_WITH(
      Tokenizer(folder.path),
      "tokenizer: '" + pointer +
          "' is a git-lfs pointer, not the file itself; 'git lfs pull' in its folder fetches it");
}

TEST_CASE("a template is found in chat_template.json and additional_chat_templates, tool_use for tools") {
  Folder folder;
  fs::copy_file(kTinyLlama + "/tokenizer.json", folder.path / "tokenizer.json");
  folder.write("chat_template.json", R"({"chat_template": "P"})");
  CHECK(Tokenizer(folder.path).render("[]", false) == "P");
  folder.write("tokenizer_config.json", R"({"chat_template": [{"name": "rag", "template": "R"}]})");
  CHECK_THROWS_WITH(Tokenizer(folder.path).render("[]", false),
                    Catch::EndsWith("has none named 'default', which is the one used; it has 'rag'"));
  folder.write("chat_template.jinja", "D");
  folder.write("additional_chat_templates/tool_use.jinja", "T");
  const Tokenizer tokenizer(folder.path);
  CHECK(tokenizer.render("[]", false) == "D");
  CHECK(tokenizer.render(R"({"messages": [], "tools": [{}]})", false) == "T");
}

TEST_CASE("a template that never ends, or asks for 100 GB, is an error") {
  for (const char* source : {"{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
                             "{{ 'a'.ljust(100000000000) }}", "{{ [1]|tojson(indent=100000000000) }}"})
    CHECK_THROWS_WITH(Tokenizer(kTinyLlama, source).render("[]", false),
                      Catch::StartsWith("chat template: line 1: "));
}

TEST_CASE("a flag that is set ends the reading of a data set") {
  const std::atomic<bool> cancel{true};
  DatasetOptions options;
  options.cancel = &cancel;
  try {
    load_rows("{\"input_ids\": [1]}", nullptr, options);
    FAIL("it was read");
  } catch (const llmc::Error& error) {
    CHECK(error.code() == llmc::ErrorCode::cancelled);
  }
}
