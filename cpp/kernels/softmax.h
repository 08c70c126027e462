// softmax and log_softmax along the middle dimension of a contiguous array seen as [outer, n, inner].
#pragma once
#include <cstdint>

#include "core/dtype.h"
#include "kernels/isa.h"

namespace chainrule {

struct SoftmaxArgs {
  DType dtype;  // float or double
  bool log;
  const void* x;
  void* y;
  int64_t outer, n, inner;
};
CR_KERNEL(softmax, SoftmaxArgs)

// dx = y (g - sum(g y)), and dx = g - e^y sum(g) for log_softmax. dx may be g.
struct SoftmaxGradArgs {
  DType dtype;
  bool log;
  const void* grad;
  const void* y;
  void* dx;
  int64_t outer, n, inner;
};
CR_KERNEL(softmax_grad, SoftmaxGradArgs)

}  // namespace chainrule
