// Whether config.json says that a model is quantized, and by whom.
#pragma once
#include <string>

namespace llmc {

struct JsonValue;

// The object of a whole config.json that says how it is quantized: quantization_config, or compression_config
// as folders of 2024 call it, at the top or in text_config. Null when there is none.
const JsonValue* find_quantization_config(const JsonValue& config);
// config.json without any of them
void erase_quantization_config(JsonValue& config);
// quant_method; for objects without one, the method whose keys it has: "bitsandbytes", "gptq", "awq",
// "modelopt"; else "unnamed method".
std::string quantization_method(const JsonValue& quantization);

// Error(unsupported) for a source that `method` has quantized already: what to take instead.
[[noreturn]] void refuse_quantized(const std::string& place, const std::string& method);

}  // namespace llmc
