// softmax and log_softmax along one dimension.
#pragma once
#include "core/tensor.h"

namespace chainrule {

Tensor softmax(const Tensor& x, int64_t dim);
Tensor log_softmax(const Tensor& x, int64_t dim);

}  // namespace chainrule
