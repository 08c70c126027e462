// Walks tensors of any layout and type, element by element, for kernels that know only contiguous arrays.
#pragma once
#include "core/tensor.h"
#include "kernels/loop_args.h"

namespace chainrule {

// outs[0..out_count) and ins share the outs' shape, up to broadcasting. Kernels see `out_types` and `in_types`;
// elements of another type are converted on their way. One output layout decides the order of the walk.
struct LoopSpec {
  const Tensor* outs[2] = {};
  int out_count = 1;
  const Tensor* ins[4] = {};
  int in_count = 0;
  DType out_types[2];
  DType in_types[4];
  bool takes_single = false;  // the loop reads one element in place of an array (LoopArgs::single)
  const double* params = nullptr;
};
void run_loop(Loop loop, const LoopSpec& spec);

// dst[...] = src[...], broadcast and converted; the two must not overlap.
void copy_elements(const Tensor& dst, const Tensor& src);

}  // namespace chainrule
