#include "ops/fill.h"

#include <algorithm>
#include <cstring>

#include "autograd/record.h"
#include "core/loop.h"
#include "core/parallel_for.h"

namespace chainrule {
namespace {

struct FillAttrs { Scalar value; };

// n elements of value x. Their first page is copied onto the others: nothing writes faster than memcpy.
template <class T> void fill_block(T* to, int64_t n, T x) {
  const int64_t first = std::min<int64_t>(n, 4096 / sizeof(T));
  for (int64_t i = 0; i < first; ++i) to[i] = x;
  for (int64_t i = first; i < n; i += first)
    std::memcpy(to + i, to, static_cast<size_t>(std::min(first, n - i)) * sizeof(T));
}

void run_fill(const Launch& l) {
  const Tensor& t = l.out(0);
  const Scalar value = l.attrs<FillAttrs>().value;
  if (!t.is_contiguous()) {
    copy_elements(t, scalar_tensor(value, t.dtype()));
    return;
  }
  visit_dtype(t.dtype(), [&](auto v) {
    using T = decltype(v);
    const T x = value.as<T>();
    T* p = t.data<T>();
    neutral::parallel_for(t.numel(), int64_t{1} << 17, [&](int64_t begin, int64_t end) {
      if (x == T{0} && !value.d) {
        std::memset(p + begin, 0, static_cast<size_t>(end - begin) * sizeof(T));
      } else {
        fill_block(p + begin, end - begin, x);
      }
    });
  });
}

const Primitive kFill{"fill", run_fill, sizeof(FillAttrs)};

}  // namespace

void fill_raw(const Tensor& t, const Scalar& s) {
  check_fits(s, t.dtype());
  launch(kFill, {&t}, {}, FillAttrs{s});
}

Tensor full(const Dims& sizes, const Scalar& value, DType dtype) {
  Tensor t = empty(sizes, dtype);
  fill_raw(t, value);
  return t;
}

const Tensor& fill_(const Tensor& x, const Scalar& value, const char* name) {
  before_write(name, x);
  const bool recorded = recording(x);
  fill_raw(x, value);
  if (!recorded) {
    x.count_write();
    return x;
  }
  return record_write(name, x, {&x}, [](const Tensor& g) { return zeros_like(g); });
}

}  // namespace chainrule
