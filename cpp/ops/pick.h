// Elements picked out of a tensor by number, and put back: what every form of indexing comes down to.
//
// Dimensions [first, first + count) of x count as one, whose elements are numbered in row-major order;
// `places` holds such numbers, already checked. x[places] has the sizes before + places' sizes + the sizes
// after.
#pragma once
#include "core/scalar.h"
#include "core/small.h"

namespace chainrule {

struct Places {
  int first = 0, count = 1;
  Tensor numbers;         // int64, contiguous, in range
  bool distinct = false;  // no number twice: writes may go in any order
};

// One index tensor and the dimensions that it runs over: integers over one, a mask over as many as it has.
struct PlaceIndex {
  Tensor index;      // int32, int64 (negative counts from the end, when allowed), or bool
  int64_t size = 0;  // elements in those dimensions
  int dim = 0;       // the first of them, for the error
};
// The numbers that index tensors, broadcast together, mean. IndexError when one is out of range.
Tensor place_numbers(const char* op, const Small<PlaceIndex, 4>& indices, bool negative = true);
Tensor place_numbers(const char* op, const Tensor& index, int64_t size, int dim, bool negative = true);

// Are contiguous int64 numbers all in [0, size)?
bool are_within(const Tensor& numbers, int64_t size);

Dims picked_sizes(const Dims& sizes, const Places& at);

// y = x[at];  dx = zeros, g added at `at`.
Tensor pick(const char* op, const Tensor& x, const Places& at);
// zeros of `sizes` with g added at `at`; where a number stands twice, in the order of `places`.
Tensor spread(const Tensor& g, const Dims& sizes, const Places& at);

enum class PutMode : uint8_t { Set, Add };
// x[at] = value (Set) or x[at] += value (Add), recorded as a write; value has x's dtype and the picked sizes,
// or is a single element. With `order`, at speaks of x's dimensions in that order.
const Tensor& put_(const char* op, const Tensor& x, const Places& at, const Tensor& value, PutMode mode,
                   const Dims& order = {});
// The same without the graph.
void put_raw(const Tensor& x, const Places& at, const Tensor& value, PutMode mode);

// The positions of what is not zero, in row-major order, as numbers over all elements: int64 of one
// dimension.
Tensor nonzero_numbers(const Tensor& x);

}  // namespace chainrule
