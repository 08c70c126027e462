#include "ops/softmax.h"

#include "autograd/accumulate.h"
#include "autograd/record.h"
#include "kernels/softmax.h"
#include "ops/elementwise.h"
#include "ops/reduce.h"
#include "ops/reduce_shape.h"
#include "ops/views.h"

namespace chainrule {
namespace {

struct SoftmaxAttrs {
  bool log;
  int64_t outer, n, inner;
};
void run_softmax(const Launch& l) {
  const auto& a = l.attrs<SoftmaxAttrs>();
  kernels::softmax({l.in(0).dtype(), a.log, l.in(0).bytes(), l.out(0).bytes(), a.outer, a.n, a.inner});
}
void run_softmax_dx(const Launch& l) {
  const auto& a = l.attrs<SoftmaxAttrs>();
  kernels::softmax_grad(
      {l.in(0).dtype(), a.log, l.in(0).bytes(), l.in(1).bytes(), l.out(0).bytes(), a.outer, a.n, a.inner});
}
const Primitive kSoftmax{"softmax", run_softmax, sizeof(SoftmaxAttrs)};
const Primitive kLogSoftmax{"log_softmax", run_softmax, sizeof(SoftmaxAttrs)};
const Primitive kSoftmaxDx{"softmax_dx", run_softmax_dx, sizeof(SoftmaxAttrs)};
const Primitive kLogSoftmaxDx{"log_softmax_dx", run_softmax_dx, sizeof(SoftmaxAttrs)};

Tensor forward(const char* op, bool log, const Tensor& x, int dim) {
  CR_CHECK(x.is_floating(), op, ": input dtype must be floating point, got ", name_of(x.dtype()),
           "; give dtype= to convert first");
  const Middle m = as_middle(x, dim);
  const Tensor y = empty(x.sizes(), x.dtype());
  launch(log ? kLogSoftmax : kSoftmax, {&y}, {&m.x}, SoftmaxAttrs{log, m.outer, m.n, m.inner});
  return y;
}
// One fused pass.
Tensor fused_dx(bool log, const Tensor& g, const Tensor& y, int dim) {
  const Middle result = as_middle(y, dim);
  const Tensor dx = room_for(g, result.x);  // before `m` holds g, too
  const Middle m = as_middle(g, dim);
  launch(log ? kLogSoftmaxDx : kSoftmaxDx, {&dx}, {&m.x, &result.x},
         SoftmaxAttrs{log, m.outer, m.n, m.inner});
  return dx;
}

}  // namespace

// y = exp(x - max x) / sum;   dx = y * (g - sum(g * y))
Tensor softmax(const Tensor& x, int64_t dim) {
  const int d = check_dim("softmax", dim, x.dim());
  Tensor result = forward("softmax", false, x, d);
  if (!recording(x)) return result;
  return record("softmax", result, {&x}, [d, y = saved_result(result)](const Tensor& g) {
    const Tensor p = *y;
    if (!recording(g, p)) return fused_dx(false, g, p, d);
    return p * (g - (p.dim() == 0 ? g * p : sum(g * p, {d}, true)));
  });
}

// y = x - log sum exp x;   dx = g - exp(y) * sum(g)
Tensor log_softmax(const Tensor& x, int64_t dim) {
  const int d = check_dim("log_softmax", dim, x.dim());
  Tensor result = forward("log_softmax", true, x, d);
  if (!recording(x)) return result;
  return record("log_softmax", result, {&x}, [d, y = saved_result(result)](const Tensor& g) {
    const Tensor log_p = *y;
    if (!recording(g, log_p)) return fused_dx(true, g, log_p, d);
    return g - exp(log_p) * (log_p.dim() == 0 ? g : sum(g, {d}, true));
  });
}

}  // namespace chainrule
