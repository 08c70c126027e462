// Normalisation layers, with the signatures of torch.nn.functional. Weights, biases and running statistics may be
// undefined.
#pragma once
#include "core/tensor.h"

namespace chainrule {

Tensor layer_norm(const Tensor& x, const Dims& normalized_shape, const Tensor& weight, const Tensor& bias,
                  double eps);
// eps undefined in Python: the dtype's machine epsilon.
Tensor rms_norm(const Tensor& x, const Dims& normalized_shape, const Tensor& weight, double eps);
Tensor batch_norm(const Tensor& x, const Tensor& running_mean, const Tensor& running_var,
                  const Tensor& weight, const Tensor& bias, bool training, double momentum, double eps);
Tensor group_norm(const Tensor& x, int64_t groups, const Tensor& weight, const Tensor& bias, double eps);

}  // namespace chainrule
