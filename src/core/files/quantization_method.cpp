#include "core/files/quantization_method.hpp"

#include <fmt/format.h>

#include <utility>

#include "core/json/json_value.hpp"
#include "llmc/error.hpp"

namespace llmc {
namespace {

using Kind = JsonValue::Kind;

constexpr const char* kConfigKeys[] = {"quantization_config", "compression_config"};

// Of configs that do not name their method.
constexpr std::pair<const char*, const char*> kTellingKeys[] = {{"load_in_4bit", "bitsandbytes"},
                                                                {"load_in_8bit", "bitsandbytes"},
                                                                {"_load_in_4bit", "bitsandbytes"},
                                                                {"_load_in_8bit", "bitsandbytes"},
                                                                {"bnb_4bit_quant_type", "bitsandbytes"},
                                                                {"desc_act", "gptq"},
                                                                {"w_bit", "awq"},
                                                                {"q_group_size", "awq"},
                                                                {"quant_algo", "modelopt"},
                                                                {"zero_point", "awq"},
                                                                {"damp_percent", "gptq"}};

constexpr std::pair<const char*, const char*> kWaysOut[] = {
    {"compressed-tensors", "--dequantize makes one of it"},
    {"bitsandbytes", "transformers' model.dequantize() and save_pretrained() make one of it"},
    {"fp8", "take the model's bfloat16 release, or multiply its weights by their weight_scale_inv first"},
};

}  // namespace

const JsonValue* find_quantization_config(const JsonValue& config) {
  for (const char* key : kConfigKeys)
    for (const JsonValue* place : {&config, config.find("text_config")})
      if (const JsonValue* found = place ? place->find(key) : nullptr; found && !found->is(Kind::null))
        return found;
  return nullptr;
}

void erase_quantization_config(JsonValue& config) {
  for (const char* key : kConfigKeys) config.erase(key);
  for (auto& [name, value] : config.members)
    if (name == "text_config")
      for (const char* key : kConfigKeys) value.erase(key);
}

std::string quantization_method(const JsonValue& quantization) {
  const JsonValue* method = quantization.find("quant_method");
  if (method && method->is(Kind::string)) return method->text;
  for (const auto& [key, name] : kTellingKeys)
    if (quantization.find(key)) return name;
  return "unnamed method";
}

void refuse_quantized(const std::string& place, const std::string& method) {
  std::string way_out = "take the release that it was made from";
  for (const auto& [name, text] : kWaysOut)
    if (method == name) way_out = text;
  throw Error(ErrorCode::unsupported,
              fmt::format("'{}': the model is already quantized, by '{}'; wanted an unquantized one; {}",
                          place, method, way_out));
}

}  // namespace llmc
