// Running sums and products along a dimension.
#include "autograd/record.h"
#include "ops/elementwise.h"
#include "ops/join.h"
#include "ops/reduce.h"
#include "ops/reduce_shape.h"
#include "ops/views.h"

namespace chainrule {
namespace {

struct ScanAttrs {
  bool product, reverse;
  int64_t outer, n, inner;
};
void run_scan(const Launch& l) {
  const auto& a = l.attrs<ScanAttrs>();
  kernels::scan(
      {a.product, a.reverse, l.in(0).dtype(), l.in(0).bytes(), l.out(0).bytes(), a.outer, a.n, a.inner});
}
const Primitive kCumsum{"cumsum", run_scan, sizeof(ScanAttrs)};
const Primitive kCumprod{"cumprod", run_scan, sizeof(ScanAttrs)};

Tensor scanned(const Primitive& primitive, const Tensor& x, int dim, bool product, bool reverse) {
  const Middle m = as_middle(x, dim);
  const Tensor y = empty(x.sizes(), x.is_floating() ? x.dtype() : DType::Int64);
  launch(primitive, {&y}, {&m.x}, ScanAttrs{product, reverse, m.outer, m.n, m.inner});
  return y;
}

// cumprod by doubling, of products alone: its recorded form is exact where there are zeros.
Tensor cumprod_by_doubling(const Tensor& x, int dim) {
  Tensor y = x;
  const int64_t n = x.size(dim);
  for (int64_t step = 1; step < n; step *= 2)
    y = cat({narrow(y, dim, 0, step), narrow(y, dim, step, n - step) * narrow(y, dim, 0, n - step)}, dim);
  return y;
}

}  // namespace

Tensor cumsum(const Tensor& x, int64_t dim, bool reverse) {
  const int d = check_dim("cumsum", dim, x.dim());
  Tensor y = scanned(kCumsum, x, d, false, reverse);
  if (!recording(x)) return y;
  return record("cumsum", y, {&x}, [d, reverse](const Tensor& g) { return cumsum(g, d, !reverse); });
}

// dx = (sum over i >= j of g_i y_i) / x_j
Tensor cumprod(const Tensor& x, int64_t dim) {
  const int d = check_dim("cumprod", dim, x.dim());
  if (recording(x) && x.dim() > 0 && !all_true(detach(x) != 0)) return cumprod_by_doubling(x, d);
  Tensor y = scanned(kCumprod, x, d, true, false);
  if (!recording(x)) return y;
  return record("cumprod", y, {&x}, [d, x = saved(x), y = saved_result(y)](const Tensor& g) {
    return cumsum(g * *y, d, true) / *x;
  });
}

}  // namespace chainrule
