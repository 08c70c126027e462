// Pooling over the last two dimensions of dense images. A plane (one image, one channel) is one task, and within a
// window values are taken row by row, so the order of every sum is fixed.
#pragma once
#include "core/dtype.h"
#include "kernels/isa.h"

namespace chainrule {

struct PoolArgs {
  DType dtype = DType::Float32;
  int64_t planes = 0, in_h = 0, in_w = 0, out_h = 0, out_w = 0;
  int64_t kernel_h = 0, kernel_w = 0, stride_h = 1, stride_w = 1, pad_h = 0, pad_w = 0;
  int64_t dilation_h = 1, dilation_w = 1;  // max_pool2d alone
  bool count_include_pad = true;           // avg_pool2d alone
  int64_t divisor = 0;                     // avg_pool2d: the override, or 0
  const void* in = nullptr;                // the input, or for gradients the gradient of the output
  void* out = nullptr;                     // the output, or the gradient of the input
  int64_t* indices = nullptr;              // max_pool2d: where each maximum stands in its plane
};

CR_KERNEL(max_pool2d, PoolArgs)         // fills out and indices; a NaN wins
CR_KERNEL(max_pool2d_grad, PoolArgs)    // out[indices] += in, from zero
CR_KERNEL(max_pool2d_gather, PoolArgs)  // out = in[indices]: the gradient of the gradient
CR_KERNEL(avg_pool2d, PoolArgs)
CR_KERNEL(avg_pool2d_grad, PoolArgs)
CR_KERNEL(adaptive_avg_pool2d, PoolArgs)  // window i of n: [floor(i * size / n), ceil((i + 1) * size / n))
CR_KERNEL(adaptive_avg_pool2d_grad, PoolArgs)

}  // namespace chainrule
