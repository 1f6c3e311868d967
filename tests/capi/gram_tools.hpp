// Grams that are refused, saved and loaded, as tests of llmc_tensor.h need them.
#pragma once
#include <catch2/catch.hpp>

#include <string>

#include "capi/matrix_tools.hpp"

namespace llmc::test {

inline Refusal refuse_add(llmc_session* session, llmc_gram* gram, const llmc_tensor* values) {
  return refusal(llmc_gram_add, session, gram, values);
}
inline Refusal refuse_load(const std::string& path) {
  llmc_gram* gram = reinterpret_cast<llmc_gram*>(16);
  const Refusal result = refusal(llmc_gram_load, path.c_str(), &gram);
  CHECK(gram == nullptr);
  return result;
}
inline OwnedGram load(const std::string& path) {
  llmc_gram* gram = nullptr;
  must(llmc_gram_load, path.c_str(), &gram);
  return OwnedGram(gram);
}
inline void save(const llmc_gram* gram, const std::string& path) { must(llmc_gram_save, gram, path.c_str()); }

}  // namespace llmc::test
