// The one place where the enums of llmc/scheme.hpp meet their spellings in config.json and recipes.
#include <algorithm>
#include <array>
#include <utility>

#include "llmc/scheme.hpp"

namespace llmc {
namespace {

// Several rows of one value: the first is what is written, all are read.
template <class E, size_t rows>
using Names = std::array<std::pair<E, std::string_view>, rows>;

constexpr Names<Strategy, 7> kStrategies{{
    {Strategy::tensor, "tensor"},
    {Strategy::channel, "channel"},
    {Strategy::group, "group"},
    {Strategy::block, "block"},
    {Strategy::token, "token"},
    {Strategy::tensor_group, "tensor_group"},
    {Strategy::attn_head, "attn_head"},
}};
constexpr Names<NumberType, 2> kNumberTypes{{
    {NumberType::integer, "int"},
    {NumberType::floating, "float"},
}};
constexpr Names<Dynamic, 3> kDynamics{{
    {Dynamic::no, "false"},
    {Dynamic::yes, "true"},
    {Dynamic::local, "local"},
}};
constexpr Names<ActOrder, 5> kActOrders{{
    {ActOrder::weight, "static"},
    {ActOrder::weight, "weight"},
    {ActOrder::group, "group"},
    {ActOrder::group, "dynamic"},
    {ActOrder::none, ""},  // null in the file: no text is read as it
}};
constexpr Names<Format, 8> kFormats{{
    {Format::dense, "dense"},
    {Format::pack_quantized, "pack-quantized"},
    {Format::int_quantized, "int-quantized"},
    {Format::float_quantized, "float-quantized"},
    {Format::naive_quantized, "naive-quantized"},
    {Format::nvfp4_pack_quantized, "nvfp4-pack-quantized"},
    {Format::mxfp4_pack_quantized, "mxfp4-pack-quantized"},
    {Format::mxfp8_quantized, "mxfp8-quantized"},
}};

template <class E, size_t rows>
constexpr bool names_all(const Names<E, rows>& table, E last) {
  for (int value = 0; value <= static_cast<int>(last); ++value)
    if (std::none_of(table.begin(), table.end(),
                     [&](const auto& row) { return row.first == static_cast<E>(value); }))
      return false;
  return true;
}
// `last` is the enum's last enumerator: one that is added behind it moves into this check with its name.
static_assert(names_all(kStrategies, Strategy::attn_head));
static_assert(names_all(kNumberTypes, NumberType::floating));
static_assert(names_all(kDynamics, Dynamic::local));
static_assert(names_all(kActOrders, ActOrder::group));
static_assert(names_all(kFormats, Format::mxfp8_quantized));

constexpr const auto& table_of(Strategy) { return kStrategies; }
constexpr const auto& table_of(NumberType) { return kNumberTypes; }
constexpr const auto& table_of(Dynamic) { return kDynamics; }
constexpr const auto& table_of(ActOrder) { return kActOrders; }
constexpr const auto& table_of(Format) { return kFormats; }

}  // namespace

template <class E>
std::string_view name_of(E value) {
  for (const auto& [candidate, name] : table_of(E{}))
    if (candidate == value) return name;
  return "";
}

template <class E>
std::optional<E> parse_name(std::string_view text) {
  if (text.empty()) return std::nullopt;
  for (const auto& [candidate, name] : table_of(E{}))
    if (name == text) return candidate;
  return std::nullopt;
}

template <class E>
std::string known_names() {
  std::string list;
  for (const auto& [value, name] : table_of(E{})) {
    if (name.empty()) continue;
    if (!list.empty()) list += ", ";
    list += name;
  }
  return list;
}

#define LLMC_NAMES_OF(Enum)                                        \
  template std::string_view name_of(Enum);                         \
  template std::optional<Enum> parse_name<Enum>(std::string_view); \
  template std::string known_names<Enum>();
LLMC_NAMES_OF(Strategy)
LLMC_NAMES_OF(NumberType)
LLMC_NAMES_OF(Dynamic)
LLMC_NAMES_OF(ActOrder)
LLMC_NAMES_OF(Format)
#undef LLMC_NAMES_OF

}  // namespace llmc
