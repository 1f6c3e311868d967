#include "cpu/forward.hpp"

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
void Forward::run(const OperationCall& call) {
  std::visit([&](const auto& operation) { cpu::run(engine_, operation); }, call);
}

}  // namespace llmc::cpu
