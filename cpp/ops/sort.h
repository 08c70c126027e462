// Elements in order. NaN counts as the largest number; equal elements keep their order.
#pragma once
#include <utility>

#include "core/tensor.h"

namespace chainrule {

Tensor argsort(const Tensor& x, int64_t dim, bool descending);
// The elements in order and where they stood.
std::pair<Tensor, Tensor> sort(const Tensor& x, int64_t dim, bool descending);
std::pair<Tensor, Tensor> topk(const Tensor& x, int64_t k, int64_t dim, bool largest);
std::pair<Tensor, Tensor> kthvalue(const Tensor& x, int64_t k, int64_t dim, bool keepdim);

// The distinct elements in order; where each element of x stands among them; how often each occurs.
struct Distinct { Tensor values, inverse, counts; };
Distinct unique(const Tensor& x);
Distinct unique_slices(const Tensor& x, int64_t dim);

// Where `values` would be inserted in the sorted last dimension of `sorted`: before equal elements, or after
// them.
Tensor searchsorted(const Tensor& sorted, const Tensor& values, bool right);
// How often each number from 0 on occurs, or the sum of its weights.
Tensor bincount(const Tensor& x, const Tensor& weights, int64_t min_length);

}  // namespace chainrule
