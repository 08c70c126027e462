// Reductions and scans over the middle dimension of an array seen as [outer, n, inner]: contiguous, for reductions at least
// along the last dimension that has more than one element.
//
// The order of a floating sum is part of the definition. Along rows (inner == 1) a block of 128 vectors is added in four
// interleaved chains of vectors, blocks are combined in a binary tree, and the lanes of the last vector in another; along
// columns a block is 64 rows, added one after the other. So a sum of n numbers has an error of about
// (32 + log2 n) units in the last place of its partial sums, and the same bits at any number of threads. A permuted tensor
// is summed as it lies in memory (ops/reduce_shape.cpp), not as its contiguous copy would be.
#pragma once
#include <cstdint>

#include "core/dtype.h"
#include "kernels/isa.h"

namespace chainrule {

enum class Reduction : uint8_t {
  Sum,   // of integers and bool: in int64
  Prod,  // of integers and bool: in int64
  Max,   // NaN wins
  Min,
  All,  // to bool, of any dtype
  Any,
  SumSquares,  // the others: of float and double
  Var,         // squared distance from the mean / (n - parameter), in two passes
  LogSumExp,
};

struct ReduceArgs {
  Reduction op;
  DType dtype;  // of x
  const void* x;
  void* out;  // [outer, inner]: dtype of x, or int64 / bool as said above
  int64_t outer, n, inner;
  double parameter;
  double divisor;                    // Sum: out = sum / divisor; 1 for a plain sum
  void* mean;                        // Var: where not null, receives the mean
  int64_t outer_stride, row_stride;  // of x, in elements
};
CR_KERNEL(reduce, ReduceArgs)

// The first index of the largest or smallest element; NaN is both. values may be null.
struct ArgReduceArgs {
  bool largest;
  DType dtype;
  const void* x;
  void* values;
  int64_t* indices;
  int64_t outer, n, inner;
};
CR_KERNEL(arg_reduce, ArgReduceArgs)

// Running sums and products, one after the other along n. Integers and bool: into int64.
struct ScanArgs {
  bool product;
  bool reverse;  // from the last element to the first
  DType dtype;
  const void* x;
  void* out;
  int64_t outer, n, inner;
};
CR_KERNEL(scan, ScanArgs)

}  // namespace chainrule
