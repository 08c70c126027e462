// parallel_for: parallel_blocks for lambdas. No include guard across namespaces is needed: everything here is a
// template, kept in the including file's own namespace so that no instruction set's copy is linked for another.
#pragma once
#include "core/parallel.h"
#include "kernels/isa.h"

namespace chainrule::CR_ISA {

// Splits [0, n) into blocks of `grain` and calls f(begin, end) for each.
template <class F> void parallel_for(int64_t n, int64_t grain, F&& f) {
  if (n <= 0) return;
  if (n <= grain) {
    f(int64_t{0}, n);
    return;
  }
  struct Context {
    F& f;
    int64_t n, grain;
  } context{f, n, grain};
  parallel_blocks((n + grain - 1) / grain,
                  [](void* p, int64_t i) {
                    auto& c = *static_cast<Context*>(p);
                    const int64_t begin = i * c.grain, end = begin + c.grain;
                    c.f(begin, end < c.n ? end : c.n);
                  },
                  &context);
}

// A grain of at most `grain`, in whole `unit`s, that splits [0, n) into 2, 4, 8 or a multiple of 16 blocks: with three,
// one of two threads has twice the other's work, and a row is not where the thread's cache has it from the loop before.
inline int64_t even_grain(int64_t n, int64_t grain, int64_t unit = 1) {
  const int64_t blocks = (n + grain - 1) / grain;
  if (blocks <= 1) return grain;
  int64_t even = 2;
  while (even < blocks && even < 16) even *= 2;
  even = (blocks + even - 1) / even * even;
  return ((n + even - 1) / even + unit - 1) / unit * unit;
}

}  // namespace chainrule::CR_ISA
