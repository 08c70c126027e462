#include "ops/loop_primitive.h"

#include "autograd/record.h"
#include "core/loop.h"
#include "core/shape_checks.h"
#include "ops/elementwise.h"

namespace chainrule {

ElementwiseLoops elementwise_loops;

void init_elementwise() {
  kernels::fill_elementwise_loops({&elementwise_loops});
  init_unary();
  init_binary();
}

namespace {

void run_elementwise(const Launch& l) {
  const auto& p = static_cast<const LoopPrimitive&>(l.primitive);
  const auto& attrs = l.attrs<LoopAttrs>();
  LoopSpec spec;
  spec.out_count = l.out_count;
  for (int i = 0; i < l.out_count; ++i) spec.outs[i] = &l.out(i);
  spec.in_count = l.in_count;
  for (int i = 0; i < l.in_count; ++i) {
    spec.ins[i] = &l.in(i);
    spec.in_types[i] = attrs.compute;
  }
  spec.out_types[0] = spec.out_types[1] = p.gives_bool ? DType::Bool : attrs.compute;
  spec.params = attrs.params;
  spec.takes_single = !p.gives_bool && (is_floating(attrs.compute) || p.of_two_numbers);
  run_loop(p.table[static_cast<int>(attrs.compute) - (p.by_floating ? static_cast<int>(DType::Float32) : 0)],
           spec);
}

}  // namespace

LoopPrimitive value_primitive(const char* name, Kind kind, int arguments, const Loop* table) {
  return {{name, run_elementwise, sizeof(LoopAttrs)},
          table,
          false,
          kind == Kind::truth,
          kind == Kind::number && arguments == 2};
}
LoopPrimitive derivative_primitive(const char* name, const Loop* table) {
  return {{name, run_elementwise, sizeof(LoopAttrs)}, table, true};
}

bool takes_result(const char* op, const Tensor& out, const Dims& sizes, DType dtype, TensorPtrs ins) {
  if (!out.defined() || out.dtype() != dtype || !(out.sizes() == sizes) || recording(out)) return false;
  for (const Tensor* in : ins)
    if (recording(*in) || may_overlap_partly(out, *in)) return false;
  before_write(op, out);
  out.count_write();
  return true;
}

}  // namespace chainrule
