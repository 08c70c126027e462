// What a reduction over dimensions makes of a shape, shared by the ops that reduce.
#pragma once
#include "core/tensor.h"
#include "kernels/reduce.h"

namespace chainrule {

struct ReducedShape {
  Dims dims;    // reduced, ascending
  Dims kept;    // the sizes with 1 in place of the reduced ones
  Dims result;  // kept, or without them
  int64_t n;    // elements that become one
};
ReducedShape reduced_shape(const char* op, const Tensor& x, const Dims& dims, bool keepdim);

// A contiguous [outer, n, inner] view of x with the reduced dimensions in the middle, or a copy in that order.
struct Middle {
  Tensor x;
  int64_t outer, n, inner;
};
Middle as_middle(const Tensor& x, const ReducedShape& shape);
// The same for one dimension, which is always possible without reordering.
Middle as_middle(const Tensor& x, int dim);

// g, of the result's shape, seen over x's shape.
Tensor spread(const Tensor& g, const ReducedShape& shape, const Dims& sizes);

// Outside of any graph.
Tensor run_reduction(const char* op, Reduction reduction, const Tensor& x, const ReducedShape& shape,
                     double parameter = 0, double divisor = 1);

}  // namespace chainrule
