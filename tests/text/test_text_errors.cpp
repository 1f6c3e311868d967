// Every way a model folder or a data set can be wrong, and the one line that says so.
#include <catch2/catch.hpp>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "files/temporary_folder.hpp"
#include "llmc/error.hpp"
#include "text/text.hpp"

namespace {

namespace fs = std::filesystem;
using llmc::ErrorCode;
using llmc::text::Dataset;
using llmc::text::DatasetOptions;
using llmc::text::Tokenizer;

const std::string kTinyLlama = std::string(LLMC_SOURCE_DIR) + "/examples/tiny-llama";

using Folder = TemporaryFolder;

const Tokenizer& tiny_llama() {
  static const Tokenizer tokenizer(kTinyLlama);
  return tokenizer;
}

Dataset load(const std::string& path,
             DatasetOptions options = {},
             const Tokenizer* tokenizer = &tiny_llama()) {
  options.path = path;
  return llmc::text::load_dataset(tokenizer, options);
}

// The error of loading `rows`, without the "dataset: PATH" in front.
std::string error_of(const std::string& rows,
                     ErrorCode code = ErrorCode::bad_file,
                     const Tokenizer* tokenizer = &tiny_llama()) {
  Folder folder;
  const std::string path = folder.write("chats.jsonl", rows);
  try {
    load(path, {}, tokenizer);
  } catch (const llmc::Error& error) {
    CHECK(error.code() == code);
    const std::string text = error.what();
    const std::string place = "dataset: " + path;
    REQUIRE(text.substr(0, place.size()) == place);
    CHECK(text.find('\n') == std::string::npos);
    return text.substr(place.size());
  }
  return "no error";
}

template <typename Call>
ErrorCode code_of(Call&& call) {
  try {
    call();
  } catch (const llmc::Error& error) {
    return error.code();
  }
  return ErrorCode{0};
}

}  // namespace

TEST_CASE("a model folder without tokenizer.json is named with its path") {
  CHECK_THROWS_WITH(
      Tokenizer("/no/such/model"),
      "tokenizer: cannot read '/no/such/model/tokenizer.json': No such file or directory (os error 2)");
  CHECK(code_of([] { Tokenizer("/no/such/model"); }) == ErrorCode::not_found);
}

TEST_CASE("a broken tokenizer.json or tokenizer_config.json is named with the reason") {
  Folder folder;
  folder.write("tokenizer.json", "{");
  CHECK_THROWS_WITH(Tokenizer(folder.path),
                    "tokenizer: '" + folder.path.string() +
                        "/tokenizer.json': EOF while parsing an object at line 1 column 1");
  CHECK(code_of([&] { Tokenizer tokenizer(folder.path); }) == ErrorCode::bad_file);
  folder.write("tokenizer_config.json", "[]");
  CHECK_THROWS_WITH(Tokenizer(folder.path), Catch::Contains("/tokenizer_config.json': invalid type"));
}

TEST_CASE("a model without a chat template encodes text and says why it cannot render") {
  Folder folder;
  fs::copy_file(kTinyLlama + "/tokenizer.json", folder.path / "tokenizer.json");
  const Tokenizer tokenizer(folder.path);
  CHECK_FALSE(tokenizer.has_chat_template());
  CHECK(tokenizer.encode("a", false).size() == 1);
  CHECK_THROWS_WITH(tokenizer.render("[]", false),
                    "chat template: '" + folder.path.string() +
                        "' has none (no chat_template.jinja, none in tokenizer_config.json)");
}

TEST_CASE("the template is chat_template.jinja, else the config's, of several the default one") {
  Folder folder;
  fs::copy_file(kTinyLlama + "/tokenizer.json", folder.path / "tokenizer.json");
  folder.write(
      "tokenizer_config.json",
      R"({"chat_template": [{"name": "tool_use", "template": "T"}, {"name": "default", "template": "D"}]})");
  CHECK(Tokenizer(folder.path).render("[]", false) == "D");
  folder.write("chat_template.jinja", "J");
  CHECK(Tokenizer(folder.path).render("[]", false) == "J");
  CHECK(Tokenizer(folder.path, "mine").render("[]", false) == "mine");
}

TEST_CASE("a template's own exception, its syntax error and its undefined value are one line each") {
  CHECK_THROWS_WITH(Tokenizer(kTinyLlama, "{{ raise_exception('no\ntools') }}").render("[]", false),
                    "chat template: no tools");
  CHECK_THROWS_WITH(Tokenizer(kTinyLlama, "a\n{% if %}").render("[]", false),
                    Catch::StartsWith("chat template: line 2: syntax error: "));
  CHECK_THROWS_WITH(Tokenizer(kTinyLlama, "{{ a.b }}").render("[]", false),
                    "chat template: line 1: undefined value");
}

TEST_CASE("a conversation that is no JSON or no array, and a date that is none, are refused") {
  CHECK_THROWS_WITH(tiny_llama().render("[", false), Catch::StartsWith("chat template: conversation: EOF"));
  CHECK_THROWS_WITH(
      tiny_llama().render("{}", false),
      "chat template: conversation: expected an array of messages, or an object with one under 'messages'");
  CHECK_THROWS_WITH(
      tiny_llama().render("[]", false, "yesterday"),
      "chat template: template date 'yesterday' is not a date such as 2024-07-26 or 2024-07-26T15:04:05");
  CHECK_THROWS_WITH(tiny_llama().encode("a\xff", false), "text: text: byte 1 is not UTF-8");
}

TEST_CASE("a row of unknown columns is named with file, line, keys and what was wanted") {
  CHECK(error_of("{\"text\": \"a\"}\n\n{\"foo\": 1, \"bar\": 2}\n") ==
        ":3: expected one of 'messages', 'text', 'prompt', 'input_ids', 'conversations', 'instruction', "
        "'question', 'chosen', got keys 'foo', 'bar'");
  CHECK_THAT(error_of("{}"), Catch::EndsWith("'question', 'chosen', got no keys"));
}

TEST_CASE("malformed rows are named with file, line and reason") {
  CHECK(error_of("{\"text\": \"a\"}\n{\"text\": \n") ==
        ":2: malformed JSON: EOF while parsing a value at column 0");
  CHECK(error_of("{\"text\": \"a\" \"b\"}") == ":1: malformed JSON: expected `,` or `}` at column 14");
  CHECK(error_of("17\n") == ":1: expected a JSON object, got a number");
  CHECK(error_of("{\"text\": \"a\xff\"}") == ":1: byte 11 of the row is not UTF-8");
  CHECK(error_of("[{\"text\": \"a\"},\n 5]") == ":2: expected a JSON object, got a number");
  CHECK(error_of("[{\"text\": \"a\"},\n") == ":2: EOF while parsing a value at line 2 column 0");
}

TEST_CASE("a column of the wrong type is named with what it got and wanted") {
  CHECK(error_of("{\"text\": 5}") == ":1: 'text' must be a string, got a number");
  CHECK(error_of("{\"prompt\": \"a\", \"completion\": null}") ==
        ":1: 'completion' must be a string, got null");
  CHECK(error_of("{\"messages\": \"hi\"}") == ":1: 'messages' must be an array, got a string");
  CHECK(error_of("{\"messages\": [{}, 5]}") == ":1: 'messages[1]' must be an object, got a number");
  CHECK(error_of("{\"input_ids\": 5}") == ":1: 'input_ids' must be an array of integers, got a number");
  CHECK(error_of("{\"input_ids\": [3, -1]}") ==
        ":1: 'input_ids[1]' must be an integer from 0 to 2147483647, got -1");
  CHECK(error_of("{\"input_ids\": [1.5]}") ==
        ":1: 'input_ids[0]' must be an integer from 0 to 2147483647, got 1.5");
  CHECK(error_of("{\"input_ids\": [\"a\"]}") ==
        ":1: 'input_ids[0]' must be an integer from 0 to 2147483647, got a string");
  CHECK(error_of("{\"input_ids\": [2147483648]}") ==
        ":1: 'input_ids[0]' must be an integer from 0 to 2147483647, got 2147483648");
}

TEST_CASE("a message the template refuses is named with file, line and the template's words") {
  const Tokenizer strict(kTinyLlama, "{{ raise_exception('roles must alternate') }}");
  CHECK(error_of("{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}]}", ErrorCode::bad_file,
                 &strict) == ":1: chat template: roles must alternate");
}

TEST_CASE("a file without rows, or without a token in them, is an error") {
  CHECK(error_of("") == ": no rows");
  CHECK(error_of("\n \n") == ": no rows");
  CHECK(error_of("[]") == ": no rows");
  CHECK(error_of("{\"input_ids\": []}\n{\"text\": \"\"}\n") == ": none of the 2 rows used has any tokens");
}

TEST_CASE("a file that is not there, a folder, and options out of range are refused") {
  CHECK_THROWS_WITH(load("/no/chats.jsonl"),
                    "dataset: cannot read '/no/chats.jsonl': No such file or directory (os error 2)");
  CHECK(code_of([] { load("/no/chats.jsonl"); }) == ErrorCode::not_found);
  CHECK_THROWS_WITH(load(kTinyLlama),
                    "dataset: '" + kTinyLlama +
                        "' is not a file; it is a folder that holds 'calibration.jsonl', 'config.json', "
                        "'eval_chat.jsonl'");
  DatasetOptions options;
  options.concatenate = true;
  CHECK_THROWS_WITH(load("any", options), "dataset: concatenate needs a max_seq_length above 0, got 0");
  options.max_seq_length = -1;
  CHECK_THROWS_WITH(load("any", options), "text: max_seq_length must be 0 or more, got -1");
}

TEST_CASE("without a tokenizer rows of ids load and rows of text are refused") {
  Folder folder;
  const Dataset dataset = load(
      folder.write("ids.jsonl", "{\"input_ids\": [1, 2, 3]}\n{\"input_ids\": [4]}\n"), {}, nullptr);
  CHECK(dataset.token_ids == std::vector<int32_t>{1, 2, 3, 4});
  CHECK(dataset.sequence_starts == std::vector<int64_t>{0, 3, 4});
  CHECK(error_of("{\"text\": \"a\"}", ErrorCode::invalid_argument, nullptr) ==
        ":1: no tokenizer to turn text into token ids; open one, or pass rows with 'input_ids'");
}

TEST_CASE("rows are cut, skipped and counted, and too few of them are worth a note") {
  Folder folder;
  DatasetOptions options;
  options.max_seq_length = 2;
  options.num_samples = 5;
  const std::string path = folder.write(
      "ids.json", "[{\"input_ids\": [1, 2, 3]}, {\"input_ids\": []}, {\"input_ids\": [4]}]");
  Dataset dataset = load(path, options, nullptr);
  CHECK(dataset.token_ids == std::vector<int32_t>{1, 2, 4});
  CHECK(dataset.rows == 3);
  CHECK(dataset.samples == 2);
  CHECK(dataset.truncated == 1);
  CHECK(dataset.skipped_empty == 1);
  CHECK(dataset.notes ==
        std::vector<std::string>{"dataset: " + path + " has 3 rows, 5 were asked for; all are used",
                                 "dataset: 1 rows without tokens were skipped"});

  options.concatenate = true;
  dataset = load(path, options, nullptr);
  CHECK(dataset.token_ids == std::vector<int32_t>{1, 2, 3, 4});
  CHECK(dataset.sequence_starts == std::vector<int64_t>{0, 2, 4});
}

TEST_CASE("prompt and completion are one text, and a named text column wins over messages") {
  Folder folder;
  const std::vector<int32_t> expected = tiny_llama().encode("Light and dark", true);
  CHECK(load(folder.write("a.jsonl", R"({"prompt": "Light and", "completion": " dark"})")).token_ids ==
        expected);
  DatasetOptions options;
  options.text_column = "verse";
  CHECK(load(folder.write("b.jsonl", R"({"messages": [], "verse": "Light and dark"})"), options).token_ids ==
        expected);
  options.max_seq_length = 2;
  CHECK(load(folder.write("c.jsonl", R"({"verse": "Light and dark"})"), options).token_ids ==
        std::vector<int32_t>(expected.begin(), expected.begin() + 2));
}

TEST_CASE("the first wrong row is reported, whatever the number of threads") {
  Folder folder;
  std::string rows;
  for (int row = 1; row <= 50; ++row) rows += row % 20 == 0 ? "{}\n" : "{\"text\": \"a\"}\n";
  const std::string path = folder.write("rows.jsonl", rows);
  DatasetOptions options;
  options.threads = 4;
  CHECK_THROWS_WITH(load(path, options), Catch::StartsWith("dataset: " + path + ":20: expected one of"));
}
