// Evenly spaced numbers.
#pragma once
#include <cstdint>

#include "core/dtype.h"
#include "kernels/isa.h"

namespace chainrule {

// out[i] = start + step * (first + i), fused, in double precision or in that of a Float32 `out` if `narrow`;
// integers are truncated.
struct RampArgs {
  void* out;
  int64_t n;
  double start, step;
  int64_t first;
  DType dtype;
  bool narrow;
};
CR_KERNEL(ramp, RampArgs)

}  // namespace chainrule
