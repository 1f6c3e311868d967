// Any bytes as config.json: JSON, the model's graph, the quantization_config.
#include <cstdint>
#include <string>
#include <string_view>

#include "core/json/json_value.hpp"
#include "core/checkpoint/quantization_config.hpp"
#include "core/families/decoder_spec.hpp"
#include "llmc/error.hpp"

template <class Call>
static void expect_error_only(Call call) {
  try {
    call();
  } catch (const llmc::Error&) {
  }
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  const std::string text(reinterpret_cast<const char*>(bytes), size);
  expect_error_only([&] { llmc::dump_json_like_python(llmc::parse_json(text, "fuzz")); });
  expect_error_only([&] { llmc::build_graph(text); });
  expect_error_only([&] {
    if (const auto config = llmc::parse_quantization_config(text))
      llmc::GroupMatcher(*config).match("model.layers.0.mlp.up_proj");
  });
  return 0;
}
