#include <fmt/format.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "llmc/error.hpp"
#include "llmc/recipe.hpp"

namespace llmc {

namespace {

constexpr int kMaxDepth = 32;
constexpr size_t kMaxNodes = 100'000;  // aliases can multiply a small text: bounded
constexpr uintmax_t kMaxFileBytes = 16u << 20;

class YamlConverter {
 public:
  RecipeValue convert(const YAML::Node& node, int depth = 0) {
    if (depth > kMaxDepth)
      throw Error(ErrorCode::invalid_argument,
                  fmt::format("recipe line {}: nested deeper than {}", line_of(node), kMaxDepth));
    if (++nodes_ > kMaxNodes)
      throw Error(ErrorCode::invalid_argument,
                  fmt::format("recipe line {}: more than {} values", line_of(node), kMaxNodes));
    RecipeValue out;
    out.line = line_of(node);
    switch (node.Type()) {
      case YAML::NodeType::Sequence:
        out.kind = RecipeValue::Kind::list;
        for (const auto& item : node) out.items.push_back(convert(item, depth + 1));
        break;
      case YAML::NodeType::Map:
        out.kind = RecipeValue::Kind::map;
        convert_map(node, depth, out);
        break;
      case YAML::NodeType::Scalar:
        convert_scalar(node, out);
        break;
      default:
        break;
    }
    return out;
  }

 private:
  static int line_of(const YAML::Node& node) { return node.Mark().line + 1; }

  // YAML's merge key: what the map says itself wins, then the earlier of the maps in a list.
  static bool is_merge(const YAML::Node& key) { return key.Scalar() == "<<" && key.Tag() != "!"; }

  void convert_map(const YAML::Node& node, int depth, RecipeValue& out) {
    for (const auto& entry : node) {
      if (!entry.first.IsScalar())
        throw Error(ErrorCode::invalid_argument,
                    fmt::format("recipe line {}: a key that is not text", line_of(entry.first)));
      if (is_merge(entry.first)) merge(entry.second, depth, out);
    }
    std::vector<std::string> own;
    for (const auto& entry : node) {
      if (is_merge(entry.first)) continue;
      const std::string key = entry.first.Scalar();
      if (std::find(own.begin(), own.end(), key) != own.end())
        throw Error(ErrorCode::invalid_argument,
                    fmt::format("recipe line {}: key '{}' occurs twice", line_of(entry.first), key));
      own.push_back(key);
      RecipeValue value = convert(entry.second, depth + 1);
      value.line = line_of(entry.first);
      set(out, key, std::move(value));
    }
  }

  void merge(const YAML::Node& from, int depth, RecipeValue& out) {
    if (from.IsSequence()) {
      for (size_t i = from.size(); i-- > 0;) merge(from[i], depth + 1, out);
      return;
    }
    if (!from.IsMap())
      throw Error(ErrorCode::invalid_argument,
                  fmt::format("recipe line {}: '<<' wants a mapping or a list of mappings", line_of(from)));
    RecipeValue merged = convert(from, depth + 1);
    for (auto& [key, value] : merged.entries) set(out, key, std::move(value));
  }

  static void set(RecipeValue& map, const std::string& key, RecipeValue&& value) {
    for (auto& [name, there] : map.entries)
      if (name == key) {
        there = std::move(value);
        return;
      }
    map.entries.emplace_back(key, std::move(value));
  }

  static void convert_scalar(const YAML::Node& node, RecipeValue& out) {
    out.scalar = node.Scalar();
    out.kind = RecipeValue::Kind::string;
    if (node.Tag() == "!" || node.Tag() == "tag:yaml.org,2002:str") return;  // quoted, or said to be text
    bool flag;
    int64_t integer;
    double number;
    if (out.scalar.empty() || out.scalar == "~" || out.scalar == "null" || out.scalar == "Null" ||
        out.scalar == "NULL" || out.scalar == "None")
      out.kind = RecipeValue::Kind::null;
    else if (YAML::convert<int64_t>::decode(node, integer)) out.kind = RecipeValue::Kind::integer;
    else if (YAML::convert<double>::decode(node, number)) out.kind = RecipeValue::Kind::number;
    else if (YAML::convert<bool>::decode(node, flag)) out.kind = RecipeValue::Kind::boolean;
  }

  size_t nodes_ = 0;
};

std::string read_file(const std::filesystem::path& path) {
  std::error_code failed;
  if (std::filesystem::file_size(path, failed) > kMaxFileBytes || failed)
    throw Error(ErrorCode::bad_file,
                fmt::format("recipe '{}': cannot be read, or larger than 16 MiB", path.string()));
  std::ifstream file(path, std::ios::binary);
  std::stringstream text;
  text << file.rdbuf();
  if (!file) throw Error(ErrorCode::io, fmt::format("recipe '{}': read error", path.string()));
  return text.str();
}

// Markdown carries its recipe between two lines of --- (YAML) or +++; line numbers stay those of the file.
std::string front_matter(const std::string& text) {
  for (const char* fence : {"---", "+++"}) {
    if (text.rfind(fence, 0) != 0) continue;
    const size_t end = text.find(std::string("\n") + fence, 3);
    if (end != std::string::npos) return "   " + text.substr(3, end - 3) + "\n";
  }
  throw Error(ErrorCode::invalid_argument,
              "recipe: a .md recipe needs front matter between two lines of ---");
}

bool is_recipe_path(const std::string& text) {
  if (text.find('\n') != std::string::npos || text.size() > 4096) return false;
  const std::string extension = std::filesystem::path(text).extension();
  std::error_code ignored;
  return extension == ".yaml" || extension == ".yml" || extension == ".json" || extension == ".md" ||
      std::filesystem::is_regular_file(text, ignored);
}

std::string recipe_text(const std::string& file_or_text) {
  if (!is_recipe_path(file_or_text)) return file_or_text;
  std::error_code ignored;
  if (!std::filesystem::is_regular_file(file_or_text, ignored))
    throw Error(ErrorCode::not_found, fmt::format("recipe '{}': file not found", file_or_text));
  const std::string text = read_file(file_or_text);
  return std::filesystem::path(file_or_text).extension() == ".md" ? front_matter(text) : text;
}

const RecipeValue& want_map(const RecipeValue& value, const std::string& what) {
  if (value.kind != RecipeValue::Kind::map)
    throw Error(ErrorCode::invalid_argument,
                fmt::format("recipe line {}: '{}' is not a mapping", value.line, what));
  return value;
}

}  // namespace

RecipeValue parse_recipe_value(const std::string& text) {
  try {
    return YamlConverter().convert(YAML::Load(text));
  } catch (const YAML::Exception& problem) {
    throw Error(ErrorCode::invalid_argument,
                fmt::format("recipe line {}: {}", problem.mark.line + 1, problem.msg));
  }
}

Recipe parse_recipe(const std::string& file_or_text, std::string_view stage) {
  const std::string text = recipe_text(file_or_text);
  const RecipeValue root = parse_recipe_value(text);
  if (root.kind != RecipeValue::Kind::map)
    throw Error(ErrorCode::invalid_argument,
                "recipe: got text that is not a mapping, wanted '<name>_stage: <group>_modifiers: Modifier: "
                "{...}' or an existing file");

  Recipe recipe;
  bool cut = false;  // by `stage`
  std::string stages;
  for (const auto& [stage_name, stage_value] : root.entries) {
    if (!stage_name.ends_with("stage")) {
      recipe.notes.push_back(
          fmt::format("recipe line {}: key '{}' is not a stage ('..._stage') and is skipped",
                      stage_value.line, stage_name));
      continue;
    }
    stages += (stages.empty() ? "" : ", ") + stage_name;
    if (stage_name.rfind(stage, 0) != 0) {
      cut = true;
      continue;
    }
    for (const auto& [group_name, group_value] : want_map(stage_value, stage_name).entries) {
      if (!group_name.ends_with("modifiers")) {
        recipe.notes.push_back(fmt::format(
            "recipe line {}: key '{}' in '{}' is not a group of modifiers ('..._modifiers') and is skipped",
            group_value.line, group_name, stage_name));
        continue;
      }
      for (const auto& [type, arguments] : want_map(group_value, group_name).entries) {
        ModifierSpec spec{type, arguments, stage_name, group_name, arguments.line};
        if (spec.arguments.is_null()) spec.arguments.kind = RecipeValue::Kind::map;
        want_map(spec.arguments, type);
        recipe.modifiers.push_back(std::move(spec));
      }
    }
  }
  if (!stage.empty() && recipe.modifiers.empty())
    throw Error(ErrorCode::invalid_argument,
                fmt::format("recipe: stage '{}' matches none of: {}", stage,
                            stages.empty() ? "(no stages)" : stages));
  if (recipe.modifiers.empty()) {
    const std::string why = recipe.notes.empty() ? "wanted '<name>_stage: <group>_modifiers: Modifier: {...}'"
                                                 : recipe.notes.front();
    throw Error(ErrorCode::invalid_argument, fmt::format("recipe: no modifiers in it; {}", why));
  }
  if (!cut) recipe.text = text;
  return recipe;
}

Recipe recipe_for_scheme(const std::string& scheme_name) {
  return parse_recipe(
      fmt::format("quant_stage:\n  quant_modifiers:\n    QuantizationModifier:\n      targets: "
                  "[\"Linear\"]\n      scheme: \"{}\"\n      ignore: [\"lm_head\"]\n",
                  scheme_name));
}

}  // namespace llmc
