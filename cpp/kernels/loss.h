// Cross-entropy with class indices, fused with log_softmax; the rows of an embedding and their gradient. Targets and
// indices are checked before anything is written: *bad is the first offending position, or -1.
#pragma once
#include <cstdint>

#include "core/dtype.h"
#include "kernels/isa.h"

namespace chainrule {

// For logits [n, classes, space] and targets t [n, space], with lse = log sum e^x and s the label smoothing:
//   loss = (1 - s) w_t (lse - x_t) + s / classes * sum_c w_c (lse - x_c),   row_weight = w_t;
// both 0 where t == ignore_index. total = sum(loss), or sum(loss) / sum(row_weight) when `mean`.
// With `log_probabilities` x is taken as it is (nll_loss): lse = 0.
struct CrossEntropyArgs {
  DType dtype;
  bool log_probabilities, mean;
  const void* x;
  const int64_t* target;
  const void* weight;             // [classes] or null
  void *loss, *row_weight, *lse;  // [n, space]
  void *total, *total_weight;     // one element each
  int64_t n, classes, space, ignore_index;
  double smoothing;
  int64_t* bad;
};
CR_KERNEL(cross_entropy, CrossEntropyArgs)

// dx. grad has one element (scalar_grad) or [n, space]; it is divided by *total_weight where that is not null.
struct CrossEntropyGradArgs {
  DType dtype;
  bool log_probabilities, scalar_grad;
  const void* x;
  const int64_t* target;
  const void *weight, *lse, *grad, *total_weight;
  void* dx;
  int64_t n, classes, space, ignore_index;
  double smoothing;
};
CR_KERNEL(cross_entropy_grad, CrossEntropyGradArgs)

// out[i] = table[indices[i]], for rows of any dtype.
struct EmbeddingArgs {
  const void* table;
  const int64_t* indices;
  void* out;
  int64_t count, rows, row_bytes;
  int64_t* bad;
};
CR_KERNEL(embedding, EmbeddingArgs)

// dtable[indices[i]] += grad[i], i in order, skipping the index `padding`. With by_frequency each row's gradient is
// divided by the number of its occurrences. dtable is overwritten.
struct EmbeddingGradArgs {
  DType dtype;  // float or double
  bool by_frequency;
  const void* grad;
  const int64_t* indices;
  void* dtable;
  int64_t count, rows, width, padding;
};
CR_KERNEL(embedding_grad, EmbeddingGradArgs)

}  // namespace chainrule
