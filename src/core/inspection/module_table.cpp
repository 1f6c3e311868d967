#include "core/inspection/module_table.hpp"

#include <algorithm>
#include <cctype>

#include "core/files/quantization_method.hpp"
#include "core/json/json_value.hpp"
#include "core/model/known_modules.hpp"

namespace llmc {
ModuleTable::ModuleTable(const Checkpoint& folder) {
  const JsonValue config = parse_json(folder.config(), folder.directory() + "/config.json");
  if (const JsonValue* quantization = find_quantization_config(config);
      quantization && quantization->is(JsonValue::Kind::object))
    method_ = quantization_method(*quantization);
  if (method_ == "compressed-tensors") reader_ = open_reader(folder);
  known_ = known_modules(folder);

  for (const std::string& name : folder.names()) modules_[module_of(name)].parts.insert(last_part(name));
  if (!reader_) return;
  for (auto& [module, entry] : modules_) {
    const bool small = entry.parts.count("weight") && item_size(folder.info(module + ".weight").dtype) == 1;
    if (!small && std::none_of(entry.parts.begin(), entry.parts.end(), [](const std::string& part) {
          return is_quantization_part(part);
        }))
      continue;
    const auto known = known_.class_of.find(module);
    const Scheme* scheme = reader_->scheme_of(
        module, known == known_.class_of.end() ? class_by_name(module) : known->second);
    if (scheme && scheme->weights) entry.scheme = scheme;
  }
}

const Scheme* ModuleTable::scheme_of(const std::string& module) const {
  const auto found = modules_.find(module);
  return found == modules_.end() ? nullptr : found->second.scheme;
}

std::optional<Shape> ModuleTable::known_shape(const std::string& module) const {
  const auto found = known_.weight_shape.find(module);
  return found == known_.weight_shape.end() ? std::nullopt : std::optional(found->second);
}

std::string with_stars(const std::string& name) {
  std::string out;
  for (size_t begin = 0; begin <= name.size();) {
    const size_t end = std::min(name.find('.', begin), name.size());
    const bool number = end > begin &&
        std::all_of(name.begin() + static_cast<std::ptrdiff_t>(begin),
                    name.begin() + static_cast<std::ptrdiff_t>(end),
                    [](unsigned char c) { return std::isdigit(c); });
    if (begin) out += '.';
    out += number ? "*" : name.substr(begin, end - begin);
    begin = end + 1;
  }
  return out;
}

std::string module_of(const std::string& tensor) {
  const size_t dot = tensor.rfind('.');
  return dot == std::string::npos ? "" : tensor.substr(0, dot);
}
std::string last_part(const std::string& name) { return name.substr(name.rfind('.') + 1); }

}  // namespace llmc
