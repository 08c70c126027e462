// Checks on how tensors lie in memory.
#pragma once
#include "core/tensor.h"

namespace chainrule {

// A tensor to be written may not have two elements in one place (an expanded one has).
void check_no_internal_overlap(const char* op, const Tensor& out);
// Reading `in` while writing `out` is fine when they are apart or the very same elements.
void check_no_partial_overlap(const char* op, const Tensor& out, const Tensor& in);
// The same as an answer, also for tensors that share memory without sharing a storage (two views of one NumPy array);
// those that only interleave count as overlapping.
bool may_overlap_partly(const Tensor& out, const Tensor& in);
// Or are they the very same?
bool may_overlap(const Tensor& out, const Tensor& in);
// Do all elements lie side by side in some order of the dimensions?
bool is_dense(const Tensor& t);
// Room for a result of `sizes`: in the layout of a permuted but dense operand of that shape, else contiguous.
Tensor empty_in_layout(const Tensor& like, const Dims& sizes, DType dtype);

}  // namespace chainrule
