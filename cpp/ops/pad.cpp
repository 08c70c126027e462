// Tensors with a border: of a constant, or taken from what lies inside.
#include "ops/rearrange.h"

#include <algorithm>

#include "autograd/record.h"
#include "core/loop.h"
#include "core/shape_checks.h"
#include "ops/elementwise.h"
#include "ops/fill.h"
#include "ops/pick.h"
#include "ops/reduce.h"
#include "ops/views.h"

namespace chainrule {

namespace {

void check_pads(const char* op, const Tensor& x, const Dims& pads) {
  CR_CHECK(pads.size() % 2 == 0, op, ": padding length must be divisible by 2, got ", pads);
  CR_CHECK(pads.size() <= 2 * x.dim(), op,
           ": length of pad should be no more than twice the number of dimensions of "
           "the input. Pad length is ",
           pads.size(), " while the input has ", x.dim(), " dimensions.");
  for (int k = 0; k < pads.size() / 2; ++k) {
    const int d = x.dim() - 1 - k;
    int64_t n;
    CR_CHECK(!__builtin_add_overflow(pads[2 * k], pads[2 * k + 1], &n) &&
                 !__builtin_add_overflow(n, x.size(d), &n) && n >= 0 && pads[2 * k] >= -x.size(d) &&
                 pads[2 * k + 1] >= -x.size(d),
             op, ": padding ", pads[2 * k], " and ", pads[2 * k + 1], " of the input size ", x.size(d),
             " at dimension ", d, " resulted in an invalid output size");
  }
}

}  // namespace

Tensor pad_constant(const Tensor& x, const Dims& pads, const Scalar& value) {
  check_pads("pad", x, pads);
  Dims sizes = x.sizes();
  bool grows = false;
  for (int k = 0; k < pads.size() / 2; ++k) {
    sizes[x.dim() - 1 - k] += pads[2 * k] + pads[2 * k + 1];
    grows = grows || pads[2 * k] > 0 || pads[2 * k + 1] > 0;
  }
  Tensor y = grows ? full(sizes, value, x.dtype()) : empty(sizes, x.dtype());
  {
    NoGrad no_grad;
    Tensor from = detach(x), to = y;
    for (int k = 0; k < pads.size() / 2; ++k) {
      const int d = x.dim() - 1 - k;
      const int64_t cut = std::max<int64_t>(-pads[2 * k], 0), skip = std::max<int64_t>(pads[2 * k], 0);
      const int64_t n = std::max<int64_t>(x.size(d) - cut - std::max<int64_t>(-pads[2 * k + 1], 0), 0);
      from = narrow(from, d, std::min(cut, x.size(d)), n);
      to = narrow(to, d, std::min(skip, sizes[d]), n);
    }
    copy_(to, from);
  }
  if (!recording(x)) return y;
  Dims back;
  for (int64_t p : pads) back.push_back(-p);
  return record("constant_pad_nd", y, {&x}, [back](const Tensor& g) { return pad_constant(g, back, 0); });
}

namespace {

enum class Border { Reflect, Replicate, Circular };

void run_copy(const Launch& l) { copy_elements(l.out(0), l.in(0)); }
const Primitive kPad{"pad", run_copy, 0};

Tensor part(const Tensor& t, int d, int64_t start, int64_t length) {
  Dims sizes = t.sizes();
  sizes[d] = length;
  return alias(t, sizes, t.strides(), start * t.stride(d));
}
Tensor backwards(const Tensor& t, int d) {
  Dims strides = t.strides();
  strides[d] = -strides[d];
  return alias(t, t.sizes(), strides, (t.size(d) - 1) * t.stride(d));
}

// f(border, source) for both borders of every padded dimension of t, in the order in which they are filled: a border lies
// across what is already there, its source within. Backwards for the gradient.
template <class F> void each_border(const Tensor& t, const Dims& pads, Border kind, bool reverse,
                                    const F& f) {
  const int count = pads.size() / 2;
  for (int i = 0; i < count; ++i) {
    const int k = reverse ? count - 1 - i : i, d = t.dim() - 1 - k;
    Tensor filled = t;
    for (int later = k + 1; later < count; ++later) {
      const int e = t.dim() - 1 - later;
      filled = part(filled, e, pads[2 * later], t.size(e) - pads[2 * later] - pads[2 * later + 1]);
    }
    const int64_t before = pads[2 * k], after = pads[2 * k + 1], end = t.size(d) - after;
    for (const auto& [start, length] : {std::pair(int64_t{0}, before), std::pair(end, after)}) {
      if (length == 0) continue;
      const bool first = start == 0;
      const Tensor border = part(filled, d, start, length);
      if (kind == Border::Reflect)
        f(border, backwards(part(filled, d, first ? before + 1 : end - 1 - length, length), d), d);
      else if (kind == Border::Circular)
        f(border, part(filled, d, first ? end - length : before, length), d);
      else
        f(border, part(filled, d, first ? before : end - 1, 1), d);
    }
  }
}

Tensor interior(Tensor t, const Dims& pads) {
  for (int k = 0; k < pads.size() / 2; ++k) {
    const int d = t.dim() - 1 - k;
    t = part(t, d, pads[2 * k], t.size(d) - pads[2 * k] - pads[2 * k + 1]);
  }
  return t;
}

Tensor pad_border(const Tensor& x, const Dims& pads, Border kind);

// What came to the borders goes to where they were taken from.
Tensor fold_border(const Tensor& g, const Dims& pads, Border kind) {
  Tensor dx;
  {
    NoGrad no_grad;
    const Tensor all = empty(g.sizes(), g.dtype());
    launch(kPad, {&all}, {&g});
    each_border(all, pads, kind, true, [&](const Tensor& border, const Tensor& source, int d) {
      add_into(source, kind == Border::Replicate ? sum(border, {d}, true) : border);
    });
    dx = detach(contiguous(interior(all, pads)));
  }
  if (!recording(g)) return dx;
  return record("pad_backward", dx, {&g},
                [pads, kind](const Tensor& gg) { return pad_border(gg, pads, kind); });
}

Tensor pad_border(const Tensor& x, const Dims& pads, Border kind) {
  constexpr const char* kNames[][3] = {{"reflection_pad1d", "reflection_pad2d", "reflection_pad3d"},
                                       {"replication_pad1d", "replication_pad2d", "replication_pad3d"},
                                       {"pad_circular", "pad_circular", "pad_circular"}};
  const int count = pads.size() / 2;
  Dims sizes = x.sizes();
  for (int k = 0; k < count; ++k) sizes[x.dim() - 1 - k] += pads[2 * k] + pads[2 * k + 1];
  const Tensor y = empty(sizes, x.dtype()), inside = interior(y, pads);
  launch(kPad, {&inside}, {&x});
  each_border(y, pads, kind, false, [](const Tensor& border, const Tensor& source, int) {
    const Tensor from = source.sizes() == border.sizes() ? source : expand(source, border.sizes());
    launch(kPad, {&border}, {&from});
  });
  if (!recording(x)) return y;
  return record(kNames[static_cast<int>(kind)][std::clamp(count, 1, 3) - 1], y, {&x},
                [pads, kind](const Tensor& g) { return fold_border(g, pads, kind); });
}

}  // namespace

Tensor pad(const Tensor& x, const Dims& pads, const std::string& mode, const Scalar& value) {
  if (mode == "constant") return pad_constant(x, pads, value);
  CR_CHECK(mode == "reflect" || mode == "replicate" || mode == "circular", "pad: unrecognised padding mode ",
           mode, "; there are constant, reflect, replicate and circular");
  check_pads("pad", x, pads);
  for (int k = 0; k < pads.size() / 2; ++k) {
    const int d = x.dim() - 1 - k;
    const int64_t n = x.size(d), most = std::max(pads[2 * k], pads[2 * k + 1]);
    CR_CHECK(n > 0 || most <= 0, "pad: expected dimension ", d, " of the input to have elements, got shape ",
             x.sizes());
    CR_CHECK(mode != "reflect" || most < n || most <= 0,
             "pad: padding size should be less than the corresponding "
             "input dimension, but got: padding (",
             pads[2 * k], ", ", pads[2 * k + 1], ") at dimension ", d, " of input ", x.sizes());
    CR_CHECK(mode != "circular" || most <= n,
             "pad: padding value causes wrapping around more than once: padding (", pads[2 * k], ", ",
             pads[2 * k + 1], ") at dimension ", d, " of input ", x.sizes());
  }
  const bool crops = std::any_of(pads.begin(), pads.end(), [](int64_t p) { return p < 0; });
  if (!crops && x.numel() > 0)
    return pad_border(x, pads,
                      mode == "reflect"     ? Border::Reflect
                      : mode == "replicate" ? Border::Replicate
                                            : Border::Circular);
  // Along each dimension, where every element of the result comes from: what was cut off does not come back.
  Tensor y = x;
  for (int k = 0; k < pads.size() / 2; ++k) {
    const int d = x.dim() - 1 - k;
    const int64_t n = x.size(d), before = pads[2 * k];
    if (before == 0 && pads[2 * k + 1] == 0) continue;
    Tensor from = empty({n + before + pads[2 * k + 1]}, DType::Int64);
    for (int64_t j = 0; j < from.numel(); ++j) {
      int64_t i = j - before;
      if (mode == "replicate") {
        i = std::clamp<int64_t>(i, 0, n - 1);
      } else if (mode == "circular") {
        const int64_t cut = std::max<int64_t>(-before, 0),
                      m = n - cut - std::max<int64_t>(-pads[2 * k + 1], 0);
        i = cut + ((i - cut) % m + m) % m;  // what was cut off does not come back
      } else {
        i = std::abs(i);
        if (i >= n) i = 2 * (n - 1) - i;
      }
      from.data<int64_t>()[j] = i;
    }
    y = pick("pad", y, {d, 1, from});
  }
  return y.same(x) ? clone(x) : y;
}

}  // namespace chainrule
