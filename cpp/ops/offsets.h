// Where elements lie.
#pragma once
#include <vector>

#include "core/dims.h"

namespace chainrule {

// The offsets of all positions in dimensions [first, last), in row-major order; {0} when there are none.
inline std::vector<int64_t> offsets(const Dims& sizes, const Dims& strides, int first, int last) {
  std::vector<int64_t> out{0};
  for (int d = first; d < last; ++d) {
    std::vector<int64_t> next;
    next.reserve(out.size() * static_cast<size_t>(sizes[d]));
    for (int64_t o : out)
      for (int64_t i = 0; i < sizes[d]; ++i) next.push_back(o + i * strides[d]);
    out = std::move(next);
  }
  return out;
}

}  // namespace chainrule
