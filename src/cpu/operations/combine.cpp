// Multiply and Add.
#include "cpu/operations.hpp"
#include "cpu/operations/rows.hpp"

namespace llmc::cpu {
namespace {

template <class Call, class Kernel>
void combine(Engine& engine, const Call& call, Kernel kernel) {
  const auto left = rows_of(call.x), right = rows_of(call.y);
  const auto to = rows_of(call.out);
  each_element(engine, call.x,
               [&](int64_t t, int64_t count) { kernel(left[t], right[t], call.x.dtype(), count, to[t]); });
}

}  // namespace

void run(Engine& engine, const MultiplyCall& call) { combine(engine, call, engine.elements.multiply); }
void run(Engine& engine, const AddCall& call) { combine(engine, call, engine.elements.add); }

}  // namespace llmc::cpu
