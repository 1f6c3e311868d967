#include "core/files/replaceable.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <set>

#include "core/files/file_io.hpp"
#include "core/files/side_files.hpp"
#include "core/json/json_value.hpp"
#include "llmc/error.hpp"

namespace llmc {
namespace {

namespace fs = std::filesystem;

bool says_model(const fs::path& config) {
  try {
    const JsonValue value = parse_json(read_text_file(config.string()), config.string());
    return value.is(JsonValue::Kind::object) &&
        (value.find("model_type") || value.find("architectures") || value.find("quantization_config"));
  } catch (const Error&) {
    return false;
  }
}

// model.safetensors, model-00001-of-00002.safetensors, and what the index names.
std::set<std::string> indexed_files(const fs::path& folder) {
  std::set<std::string> files;
  try {
    const fs::path path = folder / "model.safetensors.index.json";
    if (!fs::exists(path)) return files;
    const JsonValue index = parse_json(read_text_file(path.string()), path.string());
    if (const JsonValue* map = index.find("weight_map"))
      for (const auto& [tensor, file] : map->members) files.insert(file.text);
  } catch (const Error&) {
    files.clear();
  }
  return files;
}

bool is_weights(const std::string& name, const std::set<std::string>& indexed) {
  return name == "model.safetensors" || name == "model.safetensors.index.json" || indexed.count(name) ||
      (name.starts_with("model-") && name.ends_with(".safetensors"));
}

// The first entry that is no regular file of a model's sub-folder; empty: none.
std::string foreign_entry(const fs::path& folder, const std::string& name) {
  for (const std::string& file : list_folder((folder / name).string()))
    if (!fs::is_regular_file(fs::symlink_status(folder / name / file)) ||
        !is_model_subfolder_file(name, file))
      return name + "/" + file;
  return {};
}

}  // namespace

std::string reason_to_keep(const std::string& folder) {
  const fs::path path(folder);
  const std::vector<std::string> names = list_folder(folder);
  if (names.empty()) return {};
  if (!std::count(names.begin(), names.end(), "config.json") || !says_model(path / "config.json"))
    return "holds no config.json of a model";
  const std::set<std::string> indexed = indexed_files(path);
  for (const std::string& name : names) {
    const fs::file_status status = fs::symlink_status(path / name);
    if (fs::is_directory(status)) {
      if (const std::string file = foreign_entry(path, name); !file.empty())
        return fmt::format("holds '{}', which is no file of a model", file);
    } else if (!fs::is_regular_file(status)) {
      return fmt::format("holds '{}', which is no regular file", name);
    } else if (name != "config.json" && name != "recipe.yaml" && !is_weights(name, indexed) &&
               !is_model_file(name) && !name.ends_with(".py")) {
      return fmt::format("holds '{}', which is no file of a model", name);
    }
  }
  return {};
}

}  // namespace llmc
