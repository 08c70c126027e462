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
struct SgdLists {
  TensorList params, grads;
  TensorList buffers;          // one for each parameter, or none without momentum
  std::vector<uint8_t> first;  // where first[i], buffer i takes the gradient as it is
  explicit SgdLists(size_t room) { params.reserve(room), grads.reserve(room); }
};
void sgd_(const SgdLists& lists, const SgdOptions& options);

struct AdamOptions {
  double lr, beta1, beta2, eps, weight_decay;
  bool amsgrad, maximize, decoupled;
};
struct AdamLists {
  TensorList params, grads, averages, squares;
  TensorList largest;          // of the squares so far, for amsgrad, else empty
  std::vector<int64_t> steps;  // made so far, a parameter
  explicit AdamLists(size_t room) {
    for (TensorList* list : {&params, &grads, &averages, &squares}) list->reserve(room);
    steps.reserve(room);
  }
};
void adam_(AdamLists& lists, const AdamOptions& options);  // counts the step

// Returns the norm of all gradients together, before they are scaled down to max_norm.
Tensor clip_grad_norm_(const TensorList& grads, double max_norm, double norm_type, bool error_if_nonfinite);
void clip_grad_value_(const TensorList& grads, double clip_value);
void zero_grads_(const TensorList& grads);  // and takes them out of their graphs

}  // namespace chainrule
