#include "core/files/side_files.hpp"

#include <algorithm>
#include <filesystem>

#include "core/files/file_io.hpp"
#include "core/files/foreign_file.hpp"
#include "core/files/name_list.hpp"
#include "core/json/json_value.hpp"
#include "llmc/error.hpp"

namespace llmc {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kTemplateFolder =
    "additional_chat_templates";  // as transformers 5 saves named ones

// Names with one * at most. Sources: transformers 5.17 (tokenizers, processors, generation), vLLM 0.32 (which of
// them it reads), sentence-transformers 5 (modules.json and the files of its modules), mistral-common (tekken).
constexpr std::string_view kModelFiles[] = {
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer*.model*",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab*",
    "merges.txt",
    "normalizer.json",
    "tekken.json",
    "spiece.model",
    "sentencepiece*.model",
    "*.tiktoken",
    "*.jinja",
    "chat_template*.json",
    "generation_config.json",
    "*processor_config.json",
    "preprocessor_config*.json",
    "configuration.json",
    "modules.json",
    "sentence_*_config.json",
    "config_sentence_transformers.json",
    "LICENSE*",
    "LICENCE*",
    "License*",
    "NOTICE*",
    "Notice*",
    "COPYING*",
    "USE_POLICY*",
};

bool matches(std::string_view pattern, std::string_view name) {
  const size_t star = pattern.find('*');
  if (star == std::string_view::npos) return name == pattern;
  const std::string_view head = pattern.substr(0, star), tail = pattern.substr(star + 1);
  if (const size_t more = tail.find('*'); more != std::string_view::npos) {  // "head*middle*"
    const std::string_view middle = tail.substr(0, more);
    return name.starts_with(head) && name.find(middle, head.size()) != std::string_view::npos;
  }
  return name.size() >= head.size() + tail.size() && name.starts_with(head) && name.ends_with(tail);
}

bool is_weights(std::string_view name) {
  return name.ends_with(".safetensors") || name.ends_with(".safetensors.index.json");
}

// Written anew, hidden, or of no interest to anyone who looks for a missing file.
bool stays_silently(std::string_view name) {
  return name.starts_with('.') || name == "config.json" || name == "recipe.yaml";
}

// The folder that links may lead into: the hub cache's models--x, for its snapshots/HASH, else the model's own.
fs::path store_of(const fs::path& directory) {
  const fs::path whole = fs::canonical(directory);
  const fs::path parent = whole.parent_path();
  return parent.filename() == "snapshots" ? parent.parent_path() : whole;
}

bool lies_in_store(const fs::path& file, const fs::path& store) {
  std::error_code error;
  const fs::path whole = fs::canonical(file, error);
  if (error) return false;
  return std::mismatch(store.begin(), store.end(), whole.begin(), whole.end()).first == store.end();
}

// The folders that modules.json names: how an embedding model pools and normalizes.
std::vector<std::string> module_folders(const std::string& directory) {
  std::vector<std::string> folders;
  const std::string path = (fs::path(directory) / "modules.json").string();
  std::error_code error;
  if (!fs::is_regular_file(path, error)) return folders;
  const JsonValue modules = parse_json(read_text_file(path), path);
  for (const JsonValue& module : modules.items) {
    const JsonValue* folder = module.find("path");
    if (folder && folder->is(JsonValue::Kind::string) && !folder->text.empty() &&
        folder->text.find_first_of("/\\") == std::string::npos && folder->text != "..")
      folders.push_back(folder->text);
  }
  return folders;
}

bool names_code(std::string_view config, const std::string& directory) {
  if (config.find("\"auto_map\"") != std::string_view::npos) return true;
  for (const char* file : {"tokenizer_config.json", "processor_config.json", "preprocessor_config.json"}) {
    const std::string path = (fs::path(directory) / file).string();
    std::error_code error;
    if (fs::is_regular_file(path, error) && read_text_file(path).find("\"auto_map\"") != std::string::npos)
      return true;
  }
  return false;
}

class Search {
 public:
  Search(const std::string& directory, std::string_view config)
      : directory_(directory),
        store_(store_of(directory)),
        code_(names_code(config, directory)),
        modules_(module_folders(directory)) {}

  SideFiles run() {
    for (const std::string& name : list_folder(directory_.string())) {
      if (is_weights(name) || stays_silently(name)) continue;
      std::error_code error;
      if (fs::is_directory(directory_ / name, error)) look_into(name);
      else decide(name, is_model_file(name) || (code_ && name.ends_with(".py")));
    }
    std::sort(found_.copied.begin(), found_.copied.end());
    std::sort(found_.left.begin(), found_.left.end());
    return std::move(found_);
  }

 private:
  void look_into(const std::string& folder) {
    const bool wanted = folder == kTemplateFolder ||
        std::find(modules_.begin(), modules_.end(), folder) != modules_.end();
    if (!wanted) return found_.left.push_back(folder + "/");
    for (const std::string& name : list_folder((directory_ / folder).string()))
      decide(folder + "/" + name, is_model_subfolder_file(folder, name));
  }

  void decide(const std::string& name, bool wanted) {
    const fs::path path = directory_ / name;
    std::error_code error;
    if (!wanted) return found_.left.push_back(name);
    if (!fs::is_regular_file(path, error)) return found_.left.push_back(name + " (no file)");
    if (!lies_in_store(path, store_))
      return found_.left.push_back(name + " (a link that leads out of the model's folder)");
    refuse_pointer(path.string());
    found_.copied.push_back(name);
  }

  const fs::path directory_, store_;
  const bool code_;
  const std::vector<std::string> modules_;
  SideFiles found_;
};

}  // namespace

SideFiles find_side_files(const std::string& directory, std::string_view config) {
  return Search(directory, config).run();
}

std::string describe_left(const SideFiles& files) {
  if (files.left.empty()) return {};
  return "not copied, as no part of the compressed model: " + some_of(files.left);
}

bool is_model_file(std::string_view name) {
  return std::any_of(std::begin(kModelFiles), std::end(kModelFiles),
                     [&](std::string_view pattern) { return matches(pattern, name); });
}

bool is_model_subfolder_file(std::string_view folder, std::string_view name) {
  if (folder == kTemplateFolder) return name.ends_with(".jinja");
  return name == "config.json" || name == "model.safetensors" || name == "pytorch_model.bin";
}

}  // namespace llmc
