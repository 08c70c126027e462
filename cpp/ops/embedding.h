// Rows of a table, by index.
#pragma once
#include <optional>

#include "core/tensor.h"

namespace chainrule {

struct EmbeddingOptions {
  std::optional<int64_t> padding_idx;  // the row that gets no gradient
  std::optional<double> max_norm;      // rows that are looked up are scaled down to it first, in place
  double norm_type = 2;
  bool scale_grad_by_freq = false;
};
// indices: int64 or int32 of any shape; the result has their shape and the rows' behind it.
Tensor embedding(const Tensor& indices, const Tensor& weight, const EmbeddingOptions& options);

}  // namespace chainrule
