#include "ops/views.h"

#include <algorithm>

#include "autograd/record.h"
#include "core/loop.h"
#include "ops/elementwise.h"
#include "ops/fill.h"

namespace chainrule {

Tensor transpose(const Tensor& x, int64_t dim0, int64_t dim1) {
  const int a = check_dim("transpose", dim0, x.dim()), b = check_dim("transpose", dim1, x.dim());
  Dims sizes = x.sizes(), strides = x.strides();
  if (x.dim() > 0) {
    std::swap(sizes[a], sizes[b]);
    std::swap(strides[a], strides[b]);
  }
  return record_view("transpose", alias(x, sizes, strides), x,
                     [a, b](const Tensor& g) { return transpose(g, a, b); });
}

Tensor t(const Tensor& x) {
  CR_CHECK(x.dim() <= 2, "t: expects a tensor with <= 2 dimensions, but self is ", x.dim(), "D");
  Dims sizes = x.sizes(), strides = x.strides();
  std::reverse(sizes.begin(), sizes.end());
  std::reverse(strides.begin(), strides.end());
  return record_view("t", alias(x, sizes, strides), x, [](const Tensor& g) { return t(g); });
}

Tensor permute(const Tensor& x, const Dims& dims) {
  CR_CHECK(dims.size() == x.dim(), "permute: a tensor of ", x.dim(),
           " dimensions needs as many numbers, got ", dims);
  Dims sizes, strides, inverse = Dims::filled(x.dim(), -1);
  for (int i = 0; i < x.dim(); ++i) {
    const int d = check_dim("permute", dims[i], x.dim());
    CR_CHECK(inverse[d] == -1, "permute: repeated dim ", d, " in ", dims);
    inverse[d] = i;
    sizes.push_back(x.size(d));
    strides.push_back(x.stride(d));
  }
  return record_view("permute", alias(x, sizes, strides), x,
                     [inverse](const Tensor& g) { return permute(g, inverse); });
}

Dims infer_size(const char* op, Dims sizes, int64_t numel) {
  int unknown = -1;
  int64_t known = 1;
  for (int i = 0; i < sizes.size(); ++i) {
    if (sizes[i] == -1) {
      CR_CHECK(unknown < 0, op, ": only one dimension can be inferred (-1), got shape ", sizes);
      unknown = i;
    } else {
      CR_CHECK(sizes[i] >= 0, op, ": invalid size ", sizes[i], " in shape ", sizes);
      CR_CHECK(!__builtin_mul_overflow(known, sizes[i], &known), op, ": shape ", sizes,
               " is invalid for input of size ", numel);
    }
  }
  if (unknown >= 0) {
    CR_CHECK(known != 0 || numel != 0, op, ": cannot reshape tensor of 0 elements into shape ", sizes,
             " because the unspecified dimension size -1 can be any value and is ambiguous");
    CR_CHECK(known != 0 && numel % known == 0, op, ": shape ", sizes, " is invalid for input of size ",
             numel);
    sizes[unknown] = numel / known;
  } else {
    CR_CHECK(known == numel, op, ": shape ", sizes, " is invalid for input of size ", numel);
  }
  return sizes;
}

namespace {

// The strides that show x in other sizes without a copy, if there are any.
std::optional<Dims> view_strides(const Tensor& x, const Dims& sizes) {
  if (x.is_contiguous() || x.numel() == 0) return contiguous_strides(sizes);
  Dims strides = Dims::filled(sizes.size(), 1);
  int to = sizes.size() - 1;
  // Each run of old dimensions that lies evenly in memory must be filled by whole new ones.
  int64_t base = x.dim() ? x.strides().back() : 1, run = 1, made = 1;
  for (int d = x.dim() - 1; d >= 0; --d) {
    run *= x.size(d);
    const bool run_ends = d == 0 || (x.size(d - 1) != 1 && x.stride(d - 1) != run * base);
    if (!run_ends) continue;
    while (to >= 0 && (made < run || sizes[to] == 1)) {
      strides[to] = made * base;
      made *= sizes[to];
      --to;
    }
    if (made != run) return std::nullopt;
    if (d > 0) {
      base = x.stride(d - 1);
      run = made = 1;
    }
  }
  return to == -1 ? std::optional(strides) : std::nullopt;
}

Tensor make_view(const Tensor& x, const Dims& sizes, const Dims& strides) {
  return record_view("view", alias(x, sizes, strides), x,
                     [from = x.sizes()](const Tensor& g) { return reshape(g, from); });
}

}  // namespace

Tensor view(const Tensor& x, Dims sizes) {
  sizes = infer_size("view", sizes, x.numel());
  auto strides = view_strides(x, sizes);
  CR_CHECK(strides.has_value(), "view: size ", sizes, " is not compatible with input tensor's size ",
           x.sizes(), " and stride ", x.strides(),
           " (at least one dimension spans across two contiguous subspaces). Use .reshape(...) instead.");
  return make_view(x, sizes, *strides);
}

Tensor reshape(const Tensor& x, Dims sizes) {
  sizes = infer_size("reshape", sizes, x.numel());
  if (auto strides = view_strides(x, sizes)) return make_view(x, sizes, *strides);
  const Tensor c = contiguous(x);
  return make_view(c, sizes, contiguous_strides(sizes));
}

Tensor expand(const Tensor& x, const Dims& sizes) {
  const int extra = sizes.size() - x.dim();
  CR_CHECK(extra >= 0, "expand: the number of sizes provided (", sizes.size(),
           ") must be greater or equal to the number of dimensions in the tensor (", x.dim(), ")");
  Dims out = sizes, strides = Dims::filled(sizes.size(), 0);
  for (int d = 0; d < sizes.size(); ++d) {
    if (d < extra) {
      CR_CHECK(sizes[d] >= 0, "expand: the expanded size of the tensor (", sizes[d],
               ") isn't allowed in a leading, non-existing dimension ", d);
      continue;
    }
    const int64_t own = x.size(d - extra);
    if (sizes[d] == -1) out[d] = own;
    CR_CHECK(out[d] == own || (own == 1 && out[d] >= 0), "expand: the expanded size of the tensor (",
             sizes[d], ") must match the existing size (", own, ") at non-singleton dimension ", d,
             ". Target sizes: ", sizes, ". Tensor sizes: ", x.sizes());
    strides[d] = own == 1 && out[d] != 1 ? 0 : x.stride(d - extra);
  }
  return record_view("expand", alias(x, out, strides), x,
                     [from = x.sizes()](const Tensor& g) { return sum_to(g, from); });
}

namespace {
Tensor squeeze(const char* name, const Tensor& x, const Dims& dims) {
  bool drop[kMaxDims] = {};
  for (int64_t d : dims) drop[check_dim("squeeze", d, x.dim())] = true;
  Dims sizes, strides;
  for (int d = 0; d < x.dim(); ++d)
    if (!(drop[d] && x.size(d) == 1)) sizes.push_back(x.size(d)), strides.push_back(x.stride(d));
  return record_view(name, alias(x, sizes, strides), x,
                     [from = x.sizes()](const Tensor& g) { return reshape(g, from); });
}
}  // namespace

Tensor squeeze(const Tensor& x, const Dims& dims) {
  return squeeze(dims.size() == 1 ? "squeeze/1" : "squeeze/2", x, dims);
}

Tensor squeeze(const Tensor& x) {
  Dims all;
  for (int d = 0; d < x.dim(); ++d) all.push_back(d);
  return squeeze("squeeze", x, all);
}

Tensor unsqueeze(const Tensor& x, int64_t dim) {
  const int d = check_dim("unsqueeze", dim, x.dim() + 1);
  Dims sizes = x.sizes(), strides = x.strides();
  sizes.insert(d, 1);
  strides.insert(d, d < x.dim() ? x.size(d) * x.stride(d) : 1);
  return record_view("unsqueeze", alias(x, sizes, strides), x,
                     [d](const Tensor& g) { return squeeze(g, Dims{d}); });
}

namespace {

// Zeros of `sizes` with g at the place that `take` shows: the derivative of every view that leaves elements out.
template <class Take> Tensor put_into_zeros(const Tensor& g, const Dims& sizes, const char* name, Take take) {
  Tensor out = zeros(sizes, g.dtype());
  {
    NoGrad no_grad;
    copy_(take(out), detach(g));
  }
  if (!recording(g)) return out;
  return record(name, out, {&g}, [take](const Tensor& gg) { return take(gg); });
}

}  // namespace

Tensor select(const Tensor& x, int64_t dim, int64_t index) {
  CR_CHECK_INDEX(x.dim() > 0, "select: cannot be applied to a 0-dim tensor.");
  const int d = check_dim("select", dim, x.dim());
  const int64_t n = x.size(d);
  CR_CHECK_INDEX(index >= -n && index < n, "select: index ", index, " is out of bounds for dimension ", d,
                 " with size ", n);
  if (index < 0) index += n;
  Dims sizes = x.sizes(), strides = x.strides();
  sizes.erase(d);
  strides.erase(d);
  return record_view("select", alias(x, sizes, strides, index * x.stride(d)), x,
                     [from = x.sizes(), d, index](const Tensor& g) {
                       return put_into_zeros(g, from, "select_backward",
                                             [d, index](const Tensor& t) { return select(t, d, index); });
                     });
}

Tensor slice(const Tensor& x, int64_t dim, int64_t start, int64_t stop, int64_t step) {
  CR_CHECK_INDEX(x.dim() > 0, "slice: cannot be applied to a 0-dim tensor.");
  CR_CHECK_VALUE(step > 0, "slice: step must be greater than zero, got ", step);
  const int d = check_dim("slice", dim, x.dim());
  const int64_t n = x.size(d);
  auto bound = [n](int64_t i) { return std::clamp<int64_t>(i < 0 ? i + n : i, 0, n); };
  start = bound(start);
  stop = std::max(bound(stop), start);
  Dims sizes = x.sizes(), strides = x.strides();
  sizes[d] = (stop - start + step - 1) / step;
  strides[d] *= step;
  return record_view("slice", alias(x, sizes, strides, start * x.stride(d)), x,
                     [from = x.sizes(), d, start, stop, step](const Tensor& g) {
                       return put_into_zeros(g, from, "slice_backward",
                                             [d, start, stop, step](const Tensor& t) {
                                               return slice(t, d, start, stop, step);
                                             });
                     });
}

Tensor narrow(const Tensor& x, int64_t dim, int64_t start, int64_t length) {
  CR_CHECK(x.dim() > 0, "narrow: cannot be applied to a 0-dim tensor.");
  CR_CHECK(length >= 0, "narrow: length must be non-negative, got ", length);
  const int d = check_dim("narrow", dim, x.dim());
  const int64_t n = x.size(d);
  CR_CHECK_INDEX(start >= -n && start <= n, "narrow: start (", start, ") is out of range for dimension ", d,
                 " with size ", n);
  if (start < 0) start += n;
  CR_CHECK(start + length <= n, "narrow: start (", start, ") + length (", length,
           ") exceeds dimension size (", n, ")");
  return slice(x, d, start, start + length);
}

Tensor flatten(const Tensor& x, int64_t start_dim, int64_t end_dim) {
  if (x.dim() == 0) return reshape(x, {1});
  const int a = check_dim("flatten", start_dim, x.dim()), b = check_dim("flatten", end_dim, x.dim());
  CR_CHECK(a <= b, "flatten: start_dim ", start_dim, " cannot come after end_dim ", end_dim);
  if (a == b) return x;
  Dims sizes;
  int64_t n = 1;
  for (int d = a; d <= b; ++d) n *= x.size(d);
  for (int d = 0; d < a; ++d) sizes.push_back(x.size(d));
  sizes.push_back(n);
  for (int d = b + 1; d < x.dim(); ++d) sizes.push_back(x.size(d));
  return reshape(x, sizes);
}

Tensor unflatten(const Tensor& x, int64_t dim, const Dims& into) {
  const int d = check_dim("unflatten", dim, x.dim());
  CR_CHECK(!into.empty(), "unflatten: sizes must be non-empty");
  const Dims parts = infer_size("unflatten", into, x.size(d));
  Dims sizes;
  for (int i = 0; i < d; ++i) sizes.push_back(x.size(i));
  for (int64_t s : parts) sizes.push_back(s);
  for (int i = d + 1; i < x.dim(); ++i) sizes.push_back(x.size(i));
  return view(x, sizes);
}

Tensor movedim(const Tensor& x, const Dims& source, const Dims& destination) {
  CR_CHECK(source.size() == destination.size(), "movedim: source ", source, " and destination ", destination,
           " must have the same number of dims");
  Dims order = Dims::filled(x.dim(), -1);
  bool taken[kMaxDims] = {};
  for (int i = 0; i < source.size(); ++i) {
    const int from = check_dim("movedim", source[i], x.dim()),
              to = check_dim("movedim", destination[i], x.dim());
    CR_CHECK(!taken[from] && order[to] == -1, "movedim: repeated dim in source ", source, " or destination ",
             destination);
    order[to] = from;
    taken[from] = true;
  }
  int next = 0;
  for (int64_t& d : order) {
    if (d != -1) continue;
    while (taken[next]) ++next;
    d = next++;
  }
  return permute(x, order);
}

Tensor diagonal(const Tensor& x, int64_t offset, int64_t dim1, int64_t dim2) {
  const int a = check_dim("diagonal", dim1, x.dim()), b = check_dim("diagonal", dim2, x.dim());
  CR_CHECK(x.dim() >= 2 && a != b, "diagonal: dimensions must be two different ones, got ", dim1, " and ",
           dim2, " of a tensor of ", x.dim(), " dimensions");
  const int64_t rows = x.size(a), cols = x.size(b);
  const int64_t n =
      std::max<int64_t>(0, offset >= 0 ? std::min(rows, cols - offset) : std::min(rows + offset, cols));
  Dims sizes = x.sizes(), strides = x.strides();
  for (int d : {std::max(a, b), std::min(a, b)}) sizes.erase(d), strides.erase(d);
  sizes.push_back(n);
  strides.push_back(x.stride(a) + x.stride(b));
  const int64_t first = n == 0 ? 0 : offset >= 0 ? offset * x.stride(b) : -offset * x.stride(a);
  return record_view(
      "diagonal", alias(x, sizes, strides, first), x, [from = x.sizes(), offset, a, b](const Tensor& g) {
        return put_into_zeros(g, from, "diagonal_backward",
                              [offset, a, b](const Tensor& t) { return diagonal(t, offset, a, b); });
      });
}

Tensor view_as_alias(const Tensor& x) {
  return record_view("alias", alias(x), x, [](const Tensor& g) { return g; });
}

// ---- writes through views ----

namespace {

// Room laid out as `base`, with nothing in the gaps, and where `view` lies in it.
struct Layout {
  Dims base_sizes, base_strides, sizes, strides;
  int64_t first, base_first, span;

  Layout(const Tensor& base, const Tensor& view)
      : base_sizes(base.sizes()), base_strides(base.strides()), sizes(view.sizes()), strides(view.strides()) {
    int64_t low = 0, high = 0;
    auto reach = [&](const Dims& sz, const Dims& st, int64_t at) {
      int64_t a = at, b = at;
      for (int d = 0; d < sz.size(); ++d) {
        if (sz[d] == 0) return;
        (st[d] < 0 ? a : b) += (sz[d] - 1) * st[d];
      }
      low = std::min(low, a);
      high = std::max(high, b);
    };
    const int64_t apart = view.storage_offset() - base.storage_offset();
    reach(base_sizes, base_strides, 0);
    reach(sizes, strides, apart);
    base_first = -low;
    first = apart - low;
    span = high - low + 1;
  }
  Tensor room(DType dtype) const { return zeros({span}, dtype); }
  Tensor base_of(const Tensor& room) const { return alias(room, base_sizes, base_strides, base_first); }
  Tensor view_of(const Tensor& room) const { return alias(room, sizes, strides, first); }
};

Tensor take_slice(const Tensor& g, const Layout& at);

// What take_slice is the derivative of: a gradient of base's shape, zero but for the slice. Elements that the view
// shows more than once add up.
Tensor spread_slice(const Tensor& slice, const Layout& at) {
  const Tensor room = at.room(slice.dtype()), place = at.view_of(room), from = contiguous(detach(slice));
  visit_floating(slice.dtype(), [&](auto v) {
    using T = decltype(v);
    const T* s = from.data<T>();
    T* to = place.data<T>();
    int64_t index[kMaxDims] = {};
    for (int64_t i = 0, offset = 0; i < from.numel(); ++i) {
      to[offset] += s[i];
      for (int d = place.dim() - 1; d >= 0; --d) {
        offset += place.stride(d);
        if (++index[d] < place.size(d)) break;
        offset -= place.stride(d) * place.size(d);
        index[d] = 0;
      }
    }
  });
  Tensor out = clone(at.base_of(room));
  if (!recording(slice)) return out;
  return record("as_strided_backward", out, {&slice}, [at](const Tensor& gg) { return take_slice(gg, at); });
}

Tensor take_slice(const Tensor& g, const Layout& at) {
  const Tensor room = at.room(g.dtype());
  copy_elements(at.base_of(room), g);
  Tensor out = clone(at.view_of(room));
  if (!recording(g)) return out;
  return record("as_strided", out, {&g}, [at](const Tensor& gg) { return spread_slice(gg, at); });
}

}  // namespace

Tensor as_strided(const Tensor& x, const Dims& sizes, const Dims& strides, int64_t storage_offset) {
  CR_CHECK(sizes.size() == strides.size(), "as_strided: size ", sizes, " and stride ", strides,
           " must have the same length");
  int64_t last = storage_offset;
  const int64_t n = numel_of(sizes);
  for (int d = 0; d < sizes.size(); ++d) {
    CR_CHECK(strides[d] >= 0, "as_strided: negative strides are not supported, got ", strides);
    int64_t step;
    CR_CHECK(!__builtin_mul_overflow(std::max<int64_t>(sizes[d] - 1, 0), strides[d], &step) &&
                 !__builtin_add_overflow(last, step, &last),
             "as_strided: size ", sizes, " and stride ", strides, " overflow");
  }
  CR_CHECK(storage_offset >= 0 && (n == 0 || last < static_cast<int64_t>(x.storage().bytes / x.item_bytes())),
           "as_strided: size ", sizes, ", stride ", strides, " and storage offset ", storage_offset,
           " reach out of bounds for a storage of ", x.storage().bytes, " bytes");
  Tensor v = alias(x, sizes, strides, storage_offset - x.storage_offset());
  return record_view("as_strided", v, x,
                     [at = Layout(x, v)](const Tensor& g) { return spread_slice(g, at); });
}

Tensor view_of_base(const Tensor& base, const Tensor& view) {
  return as_strided(base, view.sizes(), view.strides(), view.storage_offset());
}

Tensor slice_of_gradient(const Tensor& g, const Tensor& base, const Tensor& view) {
  return take_slice(g, Layout(base, view));
}

Tensor replace_slice(const Tensor& g, const Tensor& slice, const Tensor& base, const Tensor& view) {
  const Layout at(base, view);
  const Tensor room = at.room(g.dtype());
  copy_elements(at.base_of(room), g);
  if (slice.defined())
    copy_elements(at.view_of(room), slice);
  else
    fill_raw(at.view_of(room), 0);
  Tensor out = clone(at.base_of(room));
  if (!recording(g, slice)) return out;
  const Tensor base_shape = alias(base), view_shape = alias(view);
  return record("slice_scatter", out, {&g, &slice},
                [at, base_shape, view_shape](const Tensor& gg, Needs need) {
                  return std::array{need[0] ? replace_slice(gg, Tensor(), base_shape, view_shape) : Tensor(),
                                    need[1] ? take_slice(gg, at) : Tensor()};
                });
}

}  // namespace chainrule
