// Tensors filled with one value.
#pragma once
#include "core/scalar.h"

namespace chainrule {

Tensor full(const Dims& sizes, const Scalar& value, DType dtype);
inline Tensor zeros(const Dims& sizes, DType dtype) { return full(sizes, 0, dtype); }
inline Tensor ones(const Dims& sizes, DType dtype) { return full(sizes, 1, dtype); }
inline Tensor zeros_like(const Tensor& t) { return zeros(t.sizes(), t.dtype()); }
inline Tensor ones_like(const Tensor& t) { return ones(t.sizes(), t.dtype()); }
inline Tensor zero(const Tensor& t) { return zeros_like(t); }  // the table's word
// x[...] = value, recorded as a write.
const Tensor& fill_(const Tensor& x, const Scalar& value, const char* name = "fill");

}  // namespace chainrule
