// Mutations that keep a JSON text JSON: one value of it becomes another. What libFuzzer does to bytes seldom
// gets through a parser; the readers behind it are what these targets are for.
#pragma once
#include <cstdint>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "core/json/json_value.hpp"

extern "C" size_t LLVMFuzzerMutate(uint8_t* data, size_t size, size_t max_size);

namespace llmc::fuzz {

inline void collect(JsonValue& value, std::vector<JsonValue*>& all) {
  all.push_back(&value);
  for (JsonValue& item : value.items) collect(item, all);
  for (auto& [key, member] : value.members) collect(member, all);
}

inline JsonValue number(const char* text) {
  JsonValue value = JsonValue::from_int(0);
  value.text = text;
  return value;
}

inline JsonValue another_value(const JsonValue& value, std::mt19937& dice) {
  static constexpr const char* kNumbers[] = {"0",
                                             "1",
                                             "-1",
                                             "2",
                                             "3",
                                             "4",
                                             "7",
                                             "8",
                                             "16",
                                             "0.5",
                                             "1.5",
                                             "2.0",
                                             "-0.0",
                                             "1e30",
                                             "-1e30",
                                             "1e-30",
                                             "1e300",
                                             "NaN",
                                             "Infinity",
                                             "-Infinity",
                                             "2147483647",
                                             "2147483648",
                                             "4294967297",
                                             "9223372036854775807",
                                             "-9223372036854775808",
                                             "18446744073709551615",
                                             "123456789012345678901234567890"};
  static constexpr const char* kTexts[] = {"",
                                           "default",
                                           "linear",
                                           "dynamic",
                                           "yarn",
                                           "llama3",
                                           "sliding_attention",
                                           "full_attention",
                                           "float16",
                                           "bfloat16",
                                           "float32",
                                           "tensor",
                                           "channel",
                                           "group",
                                           "block",
                                           "token",
                                           "tensor_group",
                                           "int",
                                           "float",
                                           "pack-quantized",
                                           "int-quantized",
                                           "float-quantized",
                                           "nvfp4-pack-quantized",
                                           "naive-quantized",
                                           "dense",
                                           "Linear",
                                           "Embedding",
                                           "lm_head",
                                           "re:.*",
                                           "re:.*q_proj",
                                           "re:(",
                                           "LlamaModel",
                                           "Qwen3ForCausalLM",
                                           "MistralForCausalLM",
                                           "Qwen2ForSequenceClassification",
                                           "qwen2",
                                           "local",
                                           "gelu",
                                           "relu"};
  const auto one_of = [&](const auto& list) { return list[dice() % std::size(list)]; };
  switch (dice() % 8) {
    case 0:
      return {};
    case 1:
      return JsonValue::from_bool(dice() % 2 == 0);
    case 2:
      return JsonValue::from_string(one_of(kTexts));
    case 3:
      return JsonValue::array({value});
    case 4: {
      const auto integer = value.as_int();
      return integer
          ? JsonValue::from_int(static_cast<int64_t>(static_cast<uint64_t>(*integer) + dice() % 5 - 2))
          : number(one_of(kNumbers));
    }
    case 5:
      return value.is(JsonValue::Kind::string) ? JsonValue::from_string(one_of(kTexts))
                                               : number(one_of(kNumbers));
    default:
      return number(one_of(kNumbers));
  }
}

// One edit of a value in `text`; `keys`: what a member may be called that is not there yet.
template <class Keys>
std::string mutated_json(const std::string& text, const Keys& keys, std::mt19937& dice) {
  JsonValue root;
  try {
    root = parse_json(text, "fuzz");
  } catch (const Error&) {
    return text;
  }
  for (unsigned edits = 1 + dice() % 3; edits > 0; --edits) {
    std::vector<JsonValue*> all;
    collect(root, all);
    JsonValue& chosen = *all[dice() % all.size()];
    JsonValue other = *all[dice() % all.size()];  // a copy: it may lie inside of what it takes the place of
    if (chosen.is(JsonValue::Kind::object)) {
      const unsigned what = dice() % 4;
      if (what == 0 && !chosen.members.empty())
        chosen.members.erase(chosen.members.begin() +
                             static_cast<std::ptrdiff_t>(dice() % chosen.members.size()));
      else if (what == 1 && !chosen.members.empty())
        chosen.members[dice() % chosen.members.size()].second = std::move(other);
      else if (what == 2) chosen.set(keys[dice() % std::size(keys)], another_value({}, dice));
      else chosen.set(keys[dice() % std::size(keys)], std::move(other));
    } else if (chosen.is(JsonValue::Kind::array) && dice() % 2 && !chosen.items.empty()) {
      if (dice() % 2) chosen.items.pop_back();
      else chosen.items.push_back(std::move(other));
    } else {
      chosen = another_value(chosen, dice);
    }
    if (dump_json_compact(root).size() > 20'000) return text;  // values put into themselves
  }
  return dump_json_compact(root);
}

// For LLVMFuzzerCustomMutator; the first `prefix` bytes are not JSON.
template <class Keys>
size_t mutate(uint8_t* data, size_t size, size_t max_size, unsigned seed, size_t prefix, const Keys& keys) {
  std::mt19937 dice(seed);
  if (size <= prefix || dice() % 8 == 0) return LLVMFuzzerMutate(data, size, max_size);
  const std::string text = mutated_json(
      std::string(reinterpret_cast<const char*>(data) + prefix, size - prefix), keys, dice);
  if (text.size() + prefix > max_size) return LLVMFuzzerMutate(data, size, max_size);
  std::memcpy(data + prefix, text.data(), text.size());
  if (prefix && dice() % 4 == 0) data[0] = static_cast<uint8_t>(dice());
  return text.size() + prefix;
}

}  // namespace llmc::fuzz
