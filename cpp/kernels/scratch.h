// Memory of a kernel's own, for as long as a block of code.
#pragma once
#include "core/alloc.h"
#include "kernels/isa.h"

namespace chainrule::CR_ISA {

template <class T> struct Scratch {
  T* p;
  explicit Scratch(int64_t n)
      : p(n > 0 ? static_cast<T*>(cr_alloc(static_cast<size_t>(n) * sizeof(T))) : nullptr) {}
  ~Scratch() {
    if (p) cr_free(p);
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
};

}  // namespace chainrule::CR_ISA
