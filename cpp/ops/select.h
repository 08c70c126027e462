// Whole slices by number, and elements by mask: index_select and its kin, on top of pick and put.
#pragma once
#include "core/scalar.h"

namespace chainrule {

Tensor index_select(const Tensor& x, int64_t dim, const Tensor& index);
const Tensor& index_add_(const Tensor& x, int64_t dim, const Tensor& index, const Tensor& source,
                         const Scalar& alpha);
const Tensor& index_copy_(const Tensor& x, int64_t dim, const Tensor& index, const Tensor& source);
const Tensor& index_fill_(const Tensor& x, int64_t dim, const Tensor& index, const Tensor& value);
Tensor take(const Tensor& x, const Tensor& index);  // of the elements in row-major order
Tensor masked_select(const Tensor& x, const Tensor& mask);
const Tensor& masked_scatter_(const Tensor& x, const Tensor& mask, const Tensor& source);
Tensor nonzero(const Tensor& x);  // a row of indices an element that is not zero

}  // namespace chainrule
