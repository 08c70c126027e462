// Scaled dot-product attention: out = softmax(scale * q k^T + mask) v for each batch and head. The matrix of scores is never
// formed: 12 rows of it at a time against 288 keys stand in the first cache (attention_strips.h), and under a causal mask
// what lies above the diagonal is skipped by strips of 12.
//
// The order of sums. A score is one chain of fused multiply-adds over the width, times scale. Forward: the keys come in
// blocks of 288; within one a row's sum of exponentials runs over virtual lanes and its product with v is one chain; from
// block to block both are carried on, rescaled to the new maximum. Backward: the sums over queries run in blocks of 96, one
// chain each, the sum over keys (dq) in blocks of 288; blocks are added in order, scaled as they come.
#pragma once
#include "core/dtype.h"
#include "kernels/isa.h"

namespace chainrule {

// A batch of heads of matrices whose columns are contiguous. Strides in elements.
template <class P> struct HeadsOf {
  P* p = nullptr;
  int64_t batch = 0, head = 0, row = 0;
};
using Heads = HeadsOf<const void>;
using HeadsOut = HeadsOf<void>;

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
  // Each row's log(sum(exp(score))), dense: written by the forward, by it the backward finds the weights again.
  void* lse = nullptr;
  HeadsOut out;
  // Backward: the gradient of the output, the output itself, and the gradients to fill.
  Heads grad, y;
  HeadsOut dq, dk, dv;
};

CR_KERNEL(attention, AttentionArgs)
CR_KERNEL(attention_grad, AttentionArgs)

}  // namespace chainrule
