// Optimizer steps over all parameters at once, and what gradient clipping needs. Each takes arrays of `count` tensors,
// contiguous and of one dtype, with `sizes` elements each, and updates in place.
#pragma once
#include <cstdint>

#include "core/dtype.h"
#include "kernels/isa.h"

namespace chainrule {

struct SgdArgs {
  DType dtype;  // float or double
  int64_t count;
  const int64_t* sizes;
  void* const* params;
  const void* const* grads;
  void* const* buffers;  // momentum; null when momentum is 0
  const bool* first;     // [count]: the buffer takes the gradient as it is
  double lr, momentum, dampening, weight_decay;
  bool nesterov, maximize;
};
CR_KERNEL(sgd_step, SgdArgs)

struct AdamArgs {
  DType dtype;
  int64_t count;
  const int64_t* sizes;
  void* const* params;
  const void* const* grads;
  void* const* averages;
  void* const* squares;
  void* const* largest;  // of the squares, for amsgrad; null without
  const int64_t* steps;  // [count], this step included
  double lr, beta1, beta2, eps, weight_decay;
  bool maximize, decoupled;
};
CR_KERNEL(adam_step, AdamArgs)

// sqrt(sum over tensors of the squared 2-norms), each norm rounded to the dtype first.
struct MultiNormArgs {
  DType dtype;
  int64_t count;
  const int64_t* sizes;
  const void* const* tensors;
  void* norm;  // one element
};
CR_KERNEL(multi_norm, MultiNormArgs)

struct MultiUpdateArgs {
  enum Kind : uint8_t { Scale, Clamp, Fill } kind;
  DType dtype;
  int64_t count;
  const int64_t* sizes;
  void* const* tensors;
  double value;  // the factor, the bound of the absolute value, or what is written
};
CR_KERNEL(multi_update, MultiUpdateArgs)

}  // namespace chainrule
