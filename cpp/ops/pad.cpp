// Tensors with a border: of a constant, or taken from what lies inside.
#include "ops/rearrange.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "autograd/record.h"
#include "core/parallel_for.h"
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

enum class Border { Constant, Reflect, Replicate, Circular };

// Dimensions of the result, each with what lies before the image; the value of a constant border, as bytes.
struct PadAttrs {
  Border kind;
  int64_t before[kMaxDims];
  int64_t value;
};

// Where element i of a padded dimension comes from: one of the n inside, or -1 for the constant.
int64_t source_of(int64_t i, int64_t n, Border kind) {
  if (i >= 0 && i < n) return i;
  switch (kind) {
    case Border::Reflect: return i < 0 ? -i : 2 * (n - 1) - i;
    case Border::Replicate: return i < 0 ? 0 : n - 1;
    case Border::Circular: return i < 0 ? i + n : i - n;
    default: return -1;
  }
}

int64_t bytes_of(const Scalar& value, DType dtype) {
  check_fits(value, dtype);
  int64_t bytes = 0;
  visit_dtype(dtype, [&](auto v) {
    const auto x = value.as<decltype(v)>();
    std::memcpy(&bytes, &x, sizeof(x));
  });
  return bytes;
}

// n elements of both in a row: short rows by parts of 32 bytes, of which the last overlaps.
template <class T> void copy_inside(T* dst, const T* src, int64_t n) {
  constexpr int64_t part = 32 / sizeof(T);
  if (n < part || n > 8 * part) {
    std::copy_n(src, n, dst);
    return;
  }
  for (int64_t i = 0; i + part <= n; i += part) std::memcpy(dst + i, src + i, 32);
  std::memcpy(dst + n - part, src + n - part, 32);
}

// Row after row of the result, each written once.
template <class T> void pad_rows(const Launch& l) {
  const PadAttrs& a = l.attrs<PadAttrs>();
  const Tensor &out = l.out(0), &in = l.in(0);
  const int inner = out.dim() - 1;
  const int64_t width = out.size(inner), n = in.size(inner), before = a.before[inner];
  T value;
  std::memcpy(&value, &a.value, sizeof(T));
  // Where the columns of the borders come from, and the rows of every dimension but the last.
  std::vector<int64_t> columns(static_cast<size_t>(width)), rows;
  for (int64_t i = 0; i < width; ++i) columns[static_cast<size_t>(i)] = source_of(i - before, n, a.kind);
  size_t first_row[kMaxDims] = {};
  for (int d = 0; d < inner; ++d) {
    first_row[d] = rows.size();
    for (int64_t i = 0; i < out.size(d); ++i) rows.push_back(source_of(i - a.before[d], in.size(d), a.kind));
  }
  if (inner == 0) rows.push_back(0);
  const int64_t height = inner == 0 ? 1 : out.size(inner - 1),
                in_height = inner == 0 ? 1 : in.size(inner - 1);
  const int64_t* row_of = rows.data() + first_row[std::max(inner - 1, 0)];
  T* const to = out.data<T>();
  const T* const from = in.data<T>();
  const bool constant = a.kind == Border::Constant;
  const auto border = [&columns, value, constant](T* dst, const T* src, int64_t first, int64_t last) {
    if (constant) {
      for (int64_t i = first; i < last; ++i) dst[i] = value;
    } else {
      const int64_t* column = columns.data();
      for (int64_t i = first; i < last; ++i) dst[i] = src[column[i]];
    }
  };
  const int64_t grain = std::max<int64_t>(1, 65536 / static_cast<int64_t>(sizeof(T)) / width);
  neutral::parallel_for(out.numel() / width, grain, [&](int64_t begin, int64_t end) {
    while (begin < end) {
      // The plane that holds row `begin`, and where it comes from.
      int64_t plane = 0, step = 1, rest = begin / height;
      for (int d = inner - 2; d >= 0; --d) {
        const int64_t i = rows[first_row[d] + static_cast<size_t>(rest % out.size(d))];
        rest /= out.size(d);
        plane = i < 0 || plane < 0 ? -1 : plane + i * step;
        step *= in.size(d);
      }
      const T* source = from + plane * in_height * n;
      T* dst = to + begin * width;
      const int64_t y = begin % height, last = std::min(height, y + end - begin);
      for (int64_t r = y; r < last; ++r, dst += width) {
        if (plane < 0 || row_of[r] < 0) {
          std::fill_n(dst, width, value);
          continue;
        }
        const T* src = source + row_of[r] * n;
        border(dst, src, 0, before);
        copy_inside(dst + before, src, n);
        border(dst, src, before + n, width);
      }
      begin += last - y;
    }
  });
}
void run_pad(const Launch& l) {
  switch (size_of(l.out(0).dtype())) {
    case 1: return pad_rows<uint8_t>(l);
    case 4: return pad_rows<int32_t>(l);
    default: return pad_rows<int64_t>(l);
  }
}
const Primitive kPad{"pad", run_pad, sizeof(PadAttrs)};

Tensor padded(const Tensor& x, const Dims& sizes, const Dims& pads, Border kind, int64_t value = 0) {
  const Tensor y = empty(sizes, x.dtype());
  if (y.numel() == 0) return y;
  NoGrad no_grad;
  const Tensor in = contiguous(detach(x));
  PadAttrs attrs{kind, {}, value};
  for (int k = 0; k < pads.size() / 2; ++k) attrs.before[x.dim() - 1 - k] = pads[2 * k];
  launch(kPad, {&y}, {&in}, attrs);
  return y;
}

}  // namespace

Tensor pad_constant(const Tensor& x, const Dims& pads, const Scalar& value) {
  check_pads("pad", x, pads);
  Dims sizes = x.sizes();
  bool grows = false, cuts = false;
  for (int k = 0; k < pads.size() / 2; ++k) {
    sizes[x.dim() - 1 - k] += pads[2 * k] + pads[2 * k + 1];
    grows = grows || pads[2 * k] > 0 || pads[2 * k + 1] > 0;
    cuts = cuts || pads[2 * k] < 0 || pads[2 * k + 1] < 0;
  }
  Tensor y;
  if (grows && !cuts) {
    y = padded(x, sizes, pads, Border::Constant, bytes_of(value, x.dtype()));
  } else {
    y = grows ? full(sizes, value, x.dtype()) : empty(sizes, x.dtype());
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

// f(border, source, dimension) for both borders of every padded dimension of t, the first dimension first: a border lies
// across the later dimensions with theirs, its source within.
template <class F> void each_border(const Tensor& t, const Dims& pads, Border kind, const F& f) {
  const int count = pads.size() / 2;
  for (int k = count - 1; k >= 0; --k) {
    const int d = t.dim() - 1 - k;
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
    copy_(all, g);
    each_border(all, pads, kind, [&](const Tensor& border, const Tensor& source, int d) {
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
  Tensor y = padded(x, sizes, pads, kind);
  if (!recording(x)) return y;
  return record(kNames[static_cast<int>(kind) - 1][std::clamp(count, 1, 3) - 1], y, {&x},
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
  if (!crops && x.numel() > 0 && !pads.empty())
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
