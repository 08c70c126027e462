// The loops of the elementwise table: contiguous arrays in, contiguous arrays out, for each line and dtype. Layouts,
// broadcasting and conversions are core/loop.h's.
#pragma once
#include "core/dtype.h"
#include "kernels/loop_args.h"
#include "ops/elementwise_fn.h"

namespace chainrule {

struct UnaryLoops {
  Loop value[kDTypes];  // by the dtype computed in; null where the function has none
  Loop dx[2];           // float32, float64: (g, x or y) -> g * dy/dx
};
struct BinaryLoops {
  Loop value[kDTypes];
  Loop da[2], db[2];   // (g, a, b, y) -> gradients
  Loop both[2];        // (g, a, b) -> both, for products only
  Loop both_added[2];  // (g, a, b, sum) -> da, sum + db
};
struct ElementwiseLoops {
  UnaryLoops unary[static_cast<int>(Unary::count)];
  BinaryLoops binary[static_cast<int>(Binary::count)];
  Loop clamp[2];     // float32 and float64: (x, low, high) -> min(max(x, low), high)
  Loop where[9];     // by element size: (condition, a, b)
  Loop add_term[2];  // float32 and float64: (x, a, b) -> x + term, with the scale and the Term in params
};
struct ElementwiseArgs { ElementwiseLoops* loops; };
CR_KERNEL(fill_elementwise_loops, ElementwiseArgs)

}  // namespace chainrule
