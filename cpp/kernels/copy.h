// Copies between two layouts of one element size, as memory lies: rows, and transposes in tiles.
#pragma once
#include <cstdint>

#include "kernels/isa.h"

namespace chainrule {

inline constexpr int kCopyDims = 16;

// dst[i0, i1, ...] = src[i0, i1, ...]; strides in elements, of dst descending. The two do not overlap.
struct StridedCopyArgs {
  void* dst;
  const void* src;
  int element_bytes;  // 1, 4 or 8
  int ndim;           // at least 1
  int64_t sizes[kCopyDims], dst_strides[kCopyDims], src_strides[kCopyDims];
};

CR_KERNEL(strided_copy, StridedCopyArgs)

}  // namespace chainrule
