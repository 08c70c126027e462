// What an elementwise kernel gets: contiguous arrays of n elements, and the op's parameters.
#pragma once
#include <cstdint>

namespace chainrule {

inline constexpr int kSingleBytes = 64;  // a vector of any instruction set

struct LoopArgs {
  void* out[2];
  const void* in[4];
  bool single
      [4];  // in[k] is one element, given as kSingleBytes of copies: only for loops that LoopSpec says take it
  int64_t n;
  const double* params;
};
using Loop = void (*)(const LoopArgs&);

}  // namespace chainrule
