#include "ops/fill.h"

#include <cstring>

#include "autograd/record.h"
#include "core/loop.h"
#include "core/parallel_for.h"
#include "kernels/copy.h"

namespace chainrule {
namespace {

struct FillAttrs { Scalar value; };

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
    const int64_t n = t.numel();
    if (x == T{0} && !value.d) {
      neutral::parallel_for(n, int64_t{1} << 17, [&](int64_t begin, int64_t end) {
        std::memset(p + begin, 0, static_cast<size_t>(end - begin) * sizeof(T));
      });
    } else if (n > 0) {
      kernels::strided_copy({p, &x, sizeof(T), 1, {n}, {1}, {0}});
    }
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
