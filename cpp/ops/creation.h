// Tensors made from nothing but numbers. (Those filled with one value: ops/fill.h; with random ones:
// ops/random.h.)
#pragma once
#include "core/scalar.h"

namespace chainrule {

// start, start + step, ... up to but without end.
Tensor arange(const Scalar& start, const Scalar& end, const Scalar& step, DType dtype);
// The dtype that arange has by itself: int64, or the default dtype when one of the numbers is not whole.
DType arange_dtype(const Scalar& start, const Scalar& end, const Scalar& step);
// `steps` numbers from start to end, both included.
Tensor linspace(const Scalar& start, const Scalar& end, int64_t steps, DType dtype);
// Ones on the diagonal.
Tensor eye(int64_t rows, int64_t columns, DType dtype);

// Uninitialised, with t's shape and its order of dimensions in memory.
Tensor empty_as(const Tensor& t, DType dtype);
inline Tensor empty_as(const Tensor& t) { return empty_as(t, t.dtype()); }

// Throws when a number cannot be stored in elements of that type: 300 in a uint8, 1e300 in a float32.
void check_fits(const char* op, const Scalar& value, DType dtype);

}  // namespace chainrule
