// Which family a config.json means, and which head. Names differ by case and by maker ("LLaMAForCausalLM");
// what follows the family's name decides what the model ends in.
#include <fmt/format.h>

#include <algorithm>

#include "core/families/decoder_spec.hpp"

namespace llmc {

namespace {

using Head = Architecture::Head;

// of transformers' classes; a decoder with another head than a language model's is a decoder all the same
constexpr struct {
  const char* suffix;
  Head head;
} kKinds[] = {{"forcausallm", Head::language},
              {"forsequenceclassification", Head::none},
              {"fortokenclassification", Head::none},
              {"forquestionanswering", Head::none},
              {"forrewardmodel", Head::none},
              {"forprocessrewardmodel", Head::none},
              {"model", Head::none}};

// Classes that are a known family under another name, as vLLM's registry has it.
constexpr struct {
  const char* maker;
  const char* model_type;
} kAliases[] = {{"aquila", "llama"}, {"internlm3", "llama"}, {"xverse", "llama"}, {"yi", "llama"}};

// Parts of names of classes that have a family's name in theirs and compute something else.
constexpr const char* kOtherFunctions[] = {"eagle", "medusa", "mtp", "bidirec", "speculator"};

std::string lower(std::string text) {
  for (char& c : text)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return text;
}

struct ClassName {
  std::string maker;  // "llama" of LLaMAForCausalLM
  Head head = Head::none;
  bool known_kind = false;
};

ClassName split_class(const std::string& name) {
  const std::string text = lower(name);
  for (const auto& kind : kKinds)
    if (text.ends_with(kind.suffix))
      return {text.substr(0, text.size() - std::string_view(kind.suffix).size()), kind.head, true};
  return {text, Head::none, false};
}

const Family* family_of_class(const std::string& maker) {
  for (const Family& family : families())
    if (maker == lower(family.class_prefix)) return &family;
  return nullptr;
}

const Family* family_of_type(const std::string& model_type) {
  for (const Family& family : families())
    if (lower(model_type) == family.model_type) return &family;
  return nullptr;
}

std::vector<std::string> named_architectures(const JsonValue& config) {
  std::vector<std::string> names;
  if (const JsonValue* list = config.find("architectures"))
    for (const JsonValue& item : list->items)
      if (const auto name = item.as_string()) names.push_back(*name);
  return names;
}

// Whether a class of another maker is what its model_type says: an alias, or a name that ends in the family's
// ("TinyLlamaForCausalLM"), without code of its own in the folder.
bool is_its_model_type(const ConfigReader& config, const ClassName& named, const Family& family) {
  if (!named.known_kind || named.head != Head::language || config.has("auto_map")) return false;
  const auto has = [&](const char* word) { return named.maker.find(word) != std::string::npos; };
  for (const auto& alias : kAliases)
    if (named.maker == alias.maker && family.model_type == std::string_view(alias.model_type)) return true;
  return named.maker.ends_with(family.model_type) &&
      std::none_of(std::begin(kOtherFunctions), std::end(kOtherFunctions), has);
}

}  // namespace

Architecture architecture_of(const ConfigReader& config) {
  const std::vector<std::string> names = named_architectures(config.json());
  const Family* by_type = family_of_type(config.text_or("model_type", ""));
  Architecture found;
  for (const std::string& name : names) {
    const ClassName named = split_class(name);
    if (!named.known_kind || !family_of_class(named.maker)) continue;
    found.name = name;
    found.family = family_of_class(named.maker);
    found.head = named.head;
    return found;
  }
  if (names.empty()) {
    found.family = by_type;
    found.head = Head::unsaid;
    if (by_type)
      found.notes.push_back(fmt::format(
          "config.json names no architecture; it is read as {} by its model_type", by_type->model_type));
    return found;
  }
  found.name = names.front();
  if (by_type && is_its_model_type(config, split_class(names.front()), *by_type)) {
    found.family = by_type;
    found.notes.push_back(
        fmt::format("config.json names the architecture '{}'; it is read as {} by its model_type", found.name,
                    by_type->model_type));
  }
  return found;
}

}  // namespace llmc
