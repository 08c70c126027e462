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

}  // namespace chainrule::CR_ISA
