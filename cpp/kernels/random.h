// From raw draws of the generator to distributions.
#pragma once
#include <cstdint>

#include "core/dtype.h"
#include "kernels/isa.h"

namespace chainrule {

// The next 624 words of the Mersenne twister's state, in place.
struct TwisterArgs { uint32_t* words; };
CR_KERNEL(twister_refill, TwisterArgs)

// The draws that words of the state stand for.
struct TemperArgs {
  const uint32_t* words;
  uint32_t* out;
  int64_t n;
};
CR_KERNEL(twister_temper, TemperArgs)

// out[i] = yes if v < limit else 0, v the last 53 bits of a pair of words, high first.
struct ChooseArgs {
  const uint32_t* words;
  void* out;
  int64_t n;
  uint64_t limit;
  double yes;
  DType dtype;
};
CR_KERNEL(choose, ChooseArgs)

// out[i] = from + (to - from) * u, u the last 24 bits of a word (Float32) or the last 53 of a pair, high
// first.
struct UniformArgs {
  const uint32_t* words;
  void* out;
  int64_t n;
  double from, to;
  DType dtype;
};
CR_KERNEL(uniform, UniformArgs)

// In place, blocks of 16 uniform numbers to 16 normal ones: element j and element j + 8 of a block make a
// pair.
struct NormalBlocksArgs {
  void* data;
  int64_t blocks;
  double mean, std;
  DType dtype;
};
CR_KERNEL(normal_blocks, NormalBlocksArgs)

// Neighbouring uniform numbers u[2i], u[2i + 1] to neighbouring standard normal ones.
struct NormalPairsArgs {
  const double* u;
  double* z;
  int64_t pairs;
};
CR_KERNEL(normal_pairs, NormalPairsArgs)

// In place: -log(1 - u) / lambda.
struct ExponentialArgs {
  double* u;
  int64_t n;
  double lambda;
};
CR_KERNEL(exponential, ExponentialArgs)

}  // namespace chainrule
