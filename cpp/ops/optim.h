// Optimizer steps and gradient clipping over lists of tensors: each one call for all, in place, outside of the graph.
// Everything is checked before anything is written.
#pragma once
#include <vector>

#include "autograd/node.h"

namespace chainrule {

struct SgdOptions {
  double lr, momentum, dampening, weight_decay;
  bool nesterov, maximize;
};
// buffers: one for each parameter, or none without momentum; where first[i], buffer i takes the gradient as it is.
void sgd_(const TensorList& params, const TensorList& grads, const TensorList& buffers,
          const std::vector<int64_t>& first, const SgdOptions& options);

struct AdamOptions {
  double lr, beta1, beta2, eps, weight_decay;
  bool amsgrad, maximize, decoupled;
};
// largest: of the squares so far, for amsgrad, else empty; steps[i]: of parameter i, this one included.
void adam_(const TensorList& params, const TensorList& grads, const TensorList& averages,
           const TensorList& squares, const TensorList& largest, const std::vector<int64_t>& steps,
           const AdamOptions& options);

// Returns the norm of all gradients together, before they are scaled down to max_norm.
Tensor clip_grad_norm_(const TensorList& grads, double max_norm, double norm_type, bool error_if_nonfinite);
void clip_grad_value_(const TensorList& grads, double clip_value);
void zero_grads_(const TensorList& grads);

}  // namespace chainrule
