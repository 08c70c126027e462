// Copies: to another dtype, into another tensor, into memory of one's own.
#include "autograd/record.h"
#include "core/loop.h"
#include "core/shape_checks.h"
#include "ops/elementwise.h"
#include "ops/fill.h"
#include "ops/views.h"

namespace chainrule {

namespace {
void run_copy(const Launch& l) { copy_elements(l.out(0), l.in(0)); }
const Primitive kCopy{"copy", run_copy, 0};
}  // namespace

Tensor to_dtype(const Tensor& x, DType dtype) {
  if (x.dtype() == dtype) return x;
  Tensor y = empty_in_layout(x, x.sizes(), dtype);
  launch(kCopy, {&y}, {&x});
  if (!is_floating(dtype) || !recording(x)) return y;
  return record("to_copy", y, {&x}, [from = x.dtype()](const Tensor& g) { return to_dtype(g, from); });
}

const Tensor& copy_(const Tensor& dst, const Tensor& src) {
  if (dst.same(src)) return dst;
  const Dims shape = broadcast_shapes("copy_", dst.sizes(), src.sizes());
  CR_CHECK(shape == dst.sizes(), "copy_: output with shape ", dst.sizes(),
           " doesn't match the broadcast shape ", shape);
  before_write("copy_", dst, recording(src));
  const bool recorded = recording(dst, src);
  if (dst.impl()->storage.get() == src.impl()->storage.get()) {
    const Tensor apart = clone(detach(src));
    launch(kCopy, {&dst}, {&apart});
  } else {
    launch(kCopy, {&dst}, {&src});
  }
  if (!recorded) {
    dst.count_write();
    return dst;
  }
  return record_write("copy", dst, {&dst, &src},
                      [sizes = src.sizes(), dtype = src.dtype()](const Tensor& g, Needs need) {
                        return std::array{need[0] ? zeros_like(g) : Tensor(),
                                          need[1] ? to_dtype(sum_to(g, sizes), dtype) : Tensor()};
                      });
}

Tensor clone(const Tensor& x) {
  Tensor y = empty_in_layout(x, x.sizes(), x.dtype());
  launch(kCopy, {&y}, {&x});
  if (!recording(x)) return y;
  return record("clone", y, {&x}, [](const Tensor& g) { return g; });
}

Tensor contiguous(const Tensor& x) {
  if (x.is_contiguous()) return x;
  Tensor y = empty(x.sizes(), x.dtype());
  launch(kCopy, {&y}, {&x});
  if (!recording(x)) return y;
  return record("clone", y, {&x}, [](const Tensor& g) { return g; });
}

}  // namespace chainrule
