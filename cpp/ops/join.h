// Tensors put together.
#pragma once
#include <vector>

#include "core/tensor.h"

namespace chainrule {

Tensor cat(const std::vector<Tensor>& tensors, int64_t dim = 0);
Tensor stack(const std::vector<Tensor>& tensors, int64_t dim = 0);

}  // namespace chainrule
