#include "cpu/forward.hpp"

#include <cstring>

#include "cpu/operations.hpp"
#include "llmc/error.hpp"

namespace llmc::cpu {
namespace {

constexpr Fusion kFusions[] = {Fusion::linears};

[[noreturn]] void refuse(const Tensor& elsewhere) {
  throw Error(ErrorCode::internal,
              "cpu: a tensor " + to_string(elsewhere.shape()) + " lies on a device, wanted it on the host");
}

}  // namespace

std::span<const Fusion> Forward::fusions() const { return kFusions; }
Tensor Forward::bring_value(const Tensor& elsewhere) { refuse(elsewhere); }
Tensor Forward::bring_weight(const Tensor& elsewhere) { refuse(elsewhere); }
void Forward::copy_rows(const Tensor& from, int64_t first, int64_t rows, Tensor& to, int64_t at) {
  const int64_t row_bytes = from.columns() * static_cast<int64_t>(item_size(from.dtype()));
  std::memcpy(to.data() + at * row_bytes, from.data() + first * row_bytes,
              static_cast<size_t>(rows * row_bytes));
}
void Forward::run(const OperationCall& call) {
  std::visit([&](const auto& operation) { cpu::run(engine_, operation); }, call);
}

}  // namespace llmc::cpu
