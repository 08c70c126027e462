// Reductions over dimensions, running sums and products. `dims` empty means all dimensions; keepdim leaves them with
// one element. Every one knows its derivatives of every order.
#pragma once
#include <optional>

#include "core/tensor.h"

namespace chainrule {

// Integers and bool: in int64.
Tensor sum(const Tensor& x, const Dims& dims = {}, bool keepdim = false);
Tensor prod(const Tensor& x, const Dims& dims = {}, bool keepdim = false);

Tensor mean(const Tensor& x, const Dims& dims = {}, bool keepdim = false);
Tensor var(const Tensor& x, const Dims& dims, double correction, bool keepdim);
Tensor standard_deviation(const Tensor& x, const Dims& dims, double correction, bool keepdim);
Tensor norm(const Tensor& x, double p, const Dims& dims = {}, bool keepdim = false);
Tensor logsumexp(const Tensor& x, const Dims& dims, bool keepdim = false);

// Extrema: NaN wins. Equal extrema share the gradient of amax, amin, max_all and min_all.
Tensor amax(const Tensor& x, const Dims& dims = {}, bool keepdim = false);
Tensor amin(const Tensor& x, const Dims& dims = {}, bool keepdim = false);
Tensor max_all(const Tensor& x);
Tensor min_all(const Tensor& x);
struct Extremum { Tensor values, indices; };  // the first index
Extremum max_along(const Tensor& x, int64_t dim, bool keepdim);
Extremum min_along(const Tensor& x, int64_t dim, bool keepdim);
Tensor argmax(const Tensor& x, std::optional<int64_t> dim, bool keepdim);
Tensor argmin(const Tensor& x, std::optional<int64_t> dim, bool keepdim);

Tensor all(const Tensor& x, const Dims& dims = {}, bool keepdim = false);
Tensor any(const Tensor& x, const Dims& dims = {}, bool keepdim = false);

Tensor cumsum(const Tensor& x, int64_t dim, bool reverse = false);
Tensor cumprod(const Tensor& x, int64_t dim);

}  // namespace chainrule
