// Scaled dot-product attention: out = softmax(scale * q k^T + mask) v for each batch and head, 64 rows of q at a time
// against all of k (under a causal mask: the columns that some row of the block may see), so that scores stay in the cache
// and are never stored. Products have the chains of gemm.h; a row's sum runs over virtual lanes.
#pragma once
#include "core/dtype.h"
#include "kernels/isa.h"

namespace chainrule {

// A batch of heads of matrices whose columns are contiguous. Strides in elements.
struct Heads {
  const void* p = nullptr;
  int64_t batch = 0, head = 0, row = 0;
};

struct AttentionArgs {
  DType dtype = DType::Float32;
  int64_t batch = 0, heads = 0, kv_heads = 0;  // heads is a multiple of kv_heads
  int64_t rows = 0, cols = 0;                  // queries, keys
  int64_t width = 0, value_width = 0;          // of q and k, and of v
  double scale = 1;
  bool causal = false;  // row i sees columns 0 to i
  Heads q, k, v;
  const void* mask =
      nullptr;  // bool (true: take part) or of dtype (added), or null; any strides, 0 to broadcast
  DType mask_dtype = DType::Bool;
  int64_t mask_batch = 0, mask_head = 0, mask_row = 0, mask_col = 0;
  // Forward: the output (dense), and each row's log(sum(exp(score))), by which the backward finds the weights again.
  void* out = nullptr;
  void* lse = nullptr;
  // Backward: the gradient of the output and the output itself; dense gradients to fill, of the shapes of q, k and v.
  Heads grad, y;
  void *dq = nullptr, *dk = nullptr, *dv = nullptr;
};

CR_KERNEL(attention, AttentionArgs)
CR_KERNEL(attention_grad, AttentionArgs)

}  // namespace chainrule
