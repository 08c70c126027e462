// Matrix products: c = alpha * a b + beta * c (+ bias, and the ReLU of that), for each matrix of a batch, on any strides.
//
// The definition, the same for all sizes, strides, threads and instruction sets with FMA: with s_i the chain of fused
// multiply-adds over the i-th block of 256 values of k, in order, from zero,
//     c = alpha * s_0 + beta * c,    then    c = alpha * s_i + c  for i = 1, 2, ... ,    then + bias,
// each line one fused multiply-add (the first a product when beta is 0, and c is then not read). So an element does not
// depend on its neighbours either: a row has the same bits alone and in a batch. Integers wrap.
#pragma once
#include "core/dtype.h"
#include "kernels/isa.h"

namespace chainrule {

struct GemmArgs {
  DType dtype = DType::Float32;
  int64_t batch = 1, m = 0, n = 0, k = 0;
  const void* a = nullptr;                                                   // m x k
  const void* b = nullptr;                                                   // k x n
  void* c = nullptr;                                                         // m x n, overlaps neither
  int64_t a_row = 0, a_col = 0, b_row = 0, b_col = 0, c_row = 0, c_col = 0;  // strides in elements, any sign
  int64_t a_batch = 0, b_batch = 0, c_batch = 0;
  const int64_t* a_offsets =
      nullptr;  // when given, an offset in elements for each matrix, instead of the stride
  const int64_t* b_offsets = nullptr;
  const int64_t* c_offsets = nullptr;
  double alpha = 1, beta = 0;
  const void* row_bias = nullptr;  // m values, contiguous, the same for the whole batch
  const void* col_bias = nullptr;  // n values
  bool relu = false;  // of floating dtypes: what is not positive becomes zero in the end, NaN stays
};

CR_KERNEL(gemm, GemmArgs)

}  // namespace chainrule
