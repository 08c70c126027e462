// x[...] as NumPy and PyTorch read it: integers, slices, None, Ellipsis, masks, integer tensors, and their
// mixtures.
#pragma once
#include "core/scalar.h"
#include "core/small.h"

namespace chainrule {

struct Index {
  enum class Kind : uint8_t { None, Ellipsis, Int, Slice, Bool, Tensor };
  Kind kind = Kind::None;
  int64_t start = 0, stop = 0, step = 1;  // Int and Bool: start is their value
  Tensor tensor;                          // integers, or a mask
};
using IndexList = Small<Index, 4>;

// Integers and slices show a view, tensors make a copy.
Tensor index_get(const Tensor& x, const IndexList& list);
// x[list] = value, broadcast and converted, recorded as a write. All indices are checked before anything is
// written.
void index_set(const Tensor& x, const IndexList& list, const Tensor& value);

// The functions index_put: one tensor or undefined (all) a dimension.
const Tensor& index_put_(const Tensor& x, const std::vector<Tensor>& indices, const Tensor& value,
                         bool accumulate);

// where(mask, value, x), in x's dtype; value has no dimensions.
Tensor masked_fill(const Tensor& x, const Tensor& mask, const Tensor& value);
const Tensor& masked_fill_(const Tensor& x, const Tensor& mask, const Tensor& value);

}  // namespace chainrule
