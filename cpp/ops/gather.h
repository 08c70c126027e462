// Elements picked and placed along one dimension, each by a number of its own.
#pragma once
#include "core/tensor.h"

namespace chainrule {

// y[i][j] = x[index[i][j]][j] for dim 0;  dx = zeros, g added where it was taken from.
Tensor gather(const Tensor& x, int64_t dim, const Tensor& index);
// The same under another op's name, of numbers that are in range: for sort and topk.
Tensor gather_checked(const char* name, const Tensor& x, int dim, const Tensor& numbers);
// zeros of `sizes`, g added along dim at `numbers`: what gather is the derivative of.
Tensor scatter_zeros(const Tensor& g, const Dims& sizes, int dim, const Tensor& numbers);

enum class Scatter : uint8_t { Set, Add, Multiply };
// x[index[i][j]][j] = src[i][j]; src may be larger than index, or without dimensions.
const Tensor& scatter_(const char* op, const Tensor& x, int64_t dim, const Tensor& index, const Tensor& src,
                       Scatter mode);
Tensor take_along_dim(const Tensor& x, const Tensor& indices, int64_t dim);

}  // namespace chainrule
