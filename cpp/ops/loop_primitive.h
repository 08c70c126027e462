// What the recorded ops of the elementwise table share: the primitive that runs a line's loop.
#pragma once
#include "core/launch.h"
#include "kernels/elementwise.h"

namespace chainrule {

extern ElementwiseLoops elementwise_loops;  // of the chosen instruction set
void init_unary();                          // take theirs from it
void init_binary();

// Which dtypes a line computes in and gives: number (any but bool), floating (integers become the default dtype),
// rounding (integers are their own result), truth (bool, whatever it reads), bits (integers and bool).
enum class Kind { number, floating, rounding, truth, bits };

struct LoopAttrs {
  DType compute;
  double params[2];
};

// An elementwise primitive knows its row; the loop is chosen by the dtype computed in.
struct LoopPrimitive : Primitive {
  const Loop* table = nullptr;  // by dtype, or by floating dtype for derivatives
  bool by_floating = false;
  bool gives_bool = false;  // the loop writes truth values, whatever it computes in
  // Its loops take a single element in place of an array in all dtypes, not only floating.
  bool of_two_numbers = false;
};

LoopPrimitive value_primitive(const char* name, Kind kind, int arguments, const Loop* table);
LoopPrimitive derivative_primitive(const char* name, const Loop* table);

inline LoopAttrs attrs_of(DType compute, const double* p) {
  return p == nullptr ? LoopAttrs{compute, {}} : LoopAttrs{compute, {p[0], p[1]}};
}

// Can a loop write its result into `out`, as out= asks? Then the write is counted. Not where `out` has to be resized or
// converted to, or is refused because of a graph, and not over what the loop has yet to read: then the result is made
// apart, and the caller copies it.
bool takes_result(const char* op, const Tensor& out, const Dims& sizes, DType dtype, TensorPtrs ins);

}  // namespace chainrule
