// What an elementwise kernel gets: contiguous arrays of n elements, and the op's parameters.
#pragma once
#include <cstdint>

namespace chainrule {

struct LoopArgs {
  void* out[2];
  const void* in[4];
  int64_t n;
  const double* params;
};
using Loop = void (*)(const LoopArgs&);

}  // namespace chainrule
