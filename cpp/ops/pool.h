// Pooling over the last two dimensions of (n, c, h, w) or (c, h, w).
#pragma once
#include <optional>

#include "core/tensor.h"

namespace chainrule {

struct MaxPool { Tensor values, indices; };  // indices: int64, into the flattened image
MaxPool max_pool2d(const Tensor& x, const Dims& kernel, const Dims& stride, const Dims& padding,
                   const Dims& dilation, bool ceil_mode);
// An empty stride is the kernel.
Tensor avg_pool2d(const Tensor& x, const Dims& kernel, const Dims& stride, const Dims& padding,
                  bool ceil_mode, bool count_include_pad, std::optional<int64_t> divisor_override);
// A size of -1 keeps the input's.
Tensor adaptive_avg_pool2d(const Tensor& x, const Dims& output_size);

}  // namespace chainrule
