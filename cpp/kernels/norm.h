// Normalisation layers: over rows (layer_norm, rms_norm), over channels of a batch (batch_norm), over groups of channels
// (group_norm). Arrays are contiguous, of one floating dtype; weight and bias may be null. xhat = (x - mean) * rstd.
#pragma once
#include <cstdint>

#include "core/dtype.h"
#include "kernels/isa.h"

namespace chainrule {

// y = xhat * weight + bias for each of `rows` rows of n. Without `mean` it is rms_norm: nothing is subtracted.
struct RowNormArgs {
  DType dtype;
  const void *x, *weight, *bias;  // weight, bias: [n]
  void *y, *mean, *rstd;          // mean, rstd: [rows]
  int64_t rows, n;
  double eps;
};
CR_KERNEL(row_norm, RowNormArgs)

// Any of the three results may be null. Where there is a `sum`, which may be dx itself, dx is added to it.
struct RowNormGradArgs {
  DType dtype;
  const void *grad, *x, *weight, *mean, *rstd, *sum;
  void *dx, *dweight, *dbias;
  int64_t rows, n;
};
CR_KERNEL(row_norm_grad, RowNormGradArgs)

// x [n, channels, space]. In training, mean and rstd [channels] come from the batch and are stored, and the running
// statistics, where given, take running = (1 - momentum) running + momentum batch, with the variance over count - 1.
// Otherwise they come from the running statistics.
struct BatchNormArgs {
  DType dtype;
  bool training;
  const void *x, *weight, *bias;
  void *running_mean, *running_var;
  void *y, *mean, *rstd;
  int64_t n, channels, space;
  double momentum, eps;
};
CR_KERNEL(batch_norm, BatchNormArgs)

struct BatchNormGradArgs {
  DType dtype;
  bool training;  // whether mean and rstd depend on x
  const void *grad, *x, *weight, *mean, *rstd;
  void *dx, *dweight, *dbias;
  int64_t n, channels, space;
};
CR_KERNEL(batch_norm_grad, BatchNormGradArgs)

// mean and rstd: [n, groups].
struct GroupNormArgs {
  DType dtype;
  const void *x, *weight, *bias;  // weight, bias: [channels]
  void *y, *mean, *rstd;
  int64_t n, channels, space, groups;
  double eps;
};
CR_KERNEL(group_norm, GroupNormArgs)

struct GroupNormGradArgs {
  DType dtype;
  const void *grad, *x, *weight, *mean, *rstd;
  void *dx, *dweight, *dbias;
  int64_t n, channels, space, groups;
};
CR_KERNEL(group_norm_grad, GroupNormGradArgs)

}  // namespace chainrule
