#include "cpu/operations.hpp"
#include "cpu/operations/rows.hpp"

namespace llmc::cpu {

void run(Engine& engine, const ActivationCall& call) {
  const auto from = rows_of(call.x);
  const auto to = rows_of(call.out);
  each_element(engine, call.x, [&](int64_t t, int64_t count) {
    engine.elements.activate(call.operation.kind, from[t], call.x.dtype(), count, to[t]);
  });
}

}  // namespace llmc::cpu
