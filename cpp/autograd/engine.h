// Reverse mode: walks the recorded graph from the results to the leaves, without recursion.
#pragma once
#include <span>

#include "autograd/node.h"

namespace chainrule {

struct BackwardOptions {
  bool retain_graph = false;
  bool create_graph = false;
  // Into .grad of leaves (of `inputs` only, when there are any); else gradients are returned.
  bool accumulate = true;
  bool allow_unused = false;  // an input that the roots do not depend on gets an undefined gradient
};

// The gradients of `roots`, weighted by `grads` (undefined: one, for a single element). Returns those of `inputs`.
using Tensors = std::span<const Tensor>;
TensorList run_backward(Tensors roots, Tensors grads, Tensors inputs, const BackwardOptions& options);

}  // namespace chainrule
