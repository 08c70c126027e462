#include "ops/rearrange.h"

#include <algorithm>

#include "autograd/record.h"
#include "core/loop.h"
#include "core/parallel_for.h"
#include "core/shape_checks.h"
#include "ops/elementwise.h"
#include "ops/fill.h"
#include "ops/join.h"
#include "ops/offsets.h"
#include "ops/pick.h"
#include "ops/views.h"

namespace chainrule {

// ---- repeated ----

Tensor repeat(const Tensor& x, const Dims& repeats) {
  const int extra = repeats.size() - x.dim();
  CR_CHECK(extra >= 0, "repeat: number of dimensions of repeat dims (", repeats.size(),
           ") can not be smaller than number of dimensions of tensor (", x.dim(), ")");
  // x's dimensions with one before each that is repeated: size 1 in `split`, as often as wanted in `spread`.
  Dims split, spread, joined;
  for (int d = 0; d < repeats.size(); ++d) {
    CR_CHECK(repeats[d] >= 0, "repeat: repeats must not be negative, got ", repeats);
    const int64_t n = d < extra ? 1 : x.size(d - extra);
    int64_t all;
    CR_CHECK(!__builtin_mul_overflow(n, repeats[d], &all), "repeat: repeats ", repeats, " overflow");
    joined.push_back(all);
    if (repeats[d] != 1 && n != 1) split.push_back(1), spread.push_back(repeats[d]);
    split.push_back(n);
    spread.push_back(n == 1 ? repeats[d] : n);
  }
  numel_of(joined);
  Tensor y;
  {
    NoGrad no_grad;
    const Tensor places = empty(spread, x.dtype());
    copy_(places, expand(reshape(detach(x), split), spread));
    y = detach(reshape(places, joined));
  }
  if (!recording(x)) return y;
  return record("repeat", y, {&x}, [split, spread, from = x.sizes()](const Tensor& g) {
    return reshape(sum_to(reshape(g, spread), split), from);
  });
}

Tensor tile(const Tensor& x, Dims repeats) {
  while (repeats.size() < x.dim()) repeats.insert(0, 1);
  return repeat(x, repeats);
}

Tensor repeat_interleave(const Tensor& x, int64_t repeats, int64_t dim) {
  CR_CHECK(repeats >= 0, "repeat_interleave: repeats has to be non-negative, got ", repeats);
  const int d = check_dim("repeat_interleave", dim, x.dim());
  if (x.dim() == 0) return repeat_interleave(reshape(x, {1}), repeats, 0);
  int64_t total;
  CR_CHECK(!__builtin_mul_overflow(x.size(d), repeats, &total), "repeat_interleave: ", repeats,
           " repeats overflow");
  Tensor numbers = empty({total}, DType::Int64);
  auto* p = numbers.data<int64_t>();
  for (int64_t i = 0; i < x.size(d); ++i) p = std::fill_n(p, repeats, i);
  return pick("repeat_interleave", x, {d, 1, numbers});
}

Tensor repeated_numbers(const Tensor& repeats) {
  CR_CHECK(repeats.dim() == 1, "repeat_interleave: repeats must be 0-dim or 1-dim tensor, got shape ",
           repeats.sizes());
  CR_CHECK(repeats.dtype() == DType::Int64 || repeats.dtype() == DType::Int32,
           "repeat_interleave: repeats has to be int32 or int64 tensor, got ", name_of(repeats.dtype()));
  const Tensor counts = to_dtype(contiguous(detach(repeats)), DType::Int64);
  int64_t total = 0;
  for (int64_t i = 0; i < counts.numel(); ++i) {
    const int64_t n = counts.data<int64_t>()[i];
    CR_CHECK(n >= 0, "repeat_interleave: repeats can not be negative, got ", n, " at position ", i);
    CR_CHECK(!__builtin_add_overflow(total, n, &total), "repeat_interleave: the sum of repeats overflows");
  }
  Tensor out = empty({total}, DType::Int64);
  auto* p = out.data<int64_t>();
  for (int64_t i = 0; i < counts.numel(); ++i) p = std::fill_n(p, counts.data<int64_t>()[i], i);
  return out;
}

Tensor repeat_interleave(const Tensor& x, const Tensor& repeats, int64_t dim) {
  const int d = check_dim("repeat_interleave", dim, x.dim());
  if (x.dim() == 0) return repeat_interleave(reshape(x, {1}), repeats, 0);
  if (repeats.numel() == 1 && repeats.dim() <= 1 && is_integral(repeats.dtype()))
    return repeat_interleave(x, item(repeats).i, d);
  const Tensor numbers = repeated_numbers(repeats);
  CR_CHECK(repeats.size(0) == x.size(d),
           "repeat_interleave: repeats must have the same size as input along dim, but "
           "got repeats.size(0) = ",
           repeats.size(0), " and input.size(", d, ") = ", x.size(d));
  return pick("index_select", x, {d, 1, numbers});
}

// ---- turned ----

namespace {
void run_copy(const Launch& l) { copy_elements(l.out(0), l.in(0)); }
const Primitive kFlip{"flip", run_copy, 0};
}  // namespace

Tensor flip(const Tensor& x, const Dims& dims) {
  Dims strides = x.strides();
  int64_t first = 0;
  bool seen[kMaxDims] = {};
  for (int64_t dim : dims) {
    const int d = check_dim("flip", dim, x.dim());
    CR_CHECK(!seen[d], "flip: dim ", d, " appears multiple times in the list of dims");
    seen[d] = true;
    if (x.dim() == 0 || x.size(d) == 0) continue;
    first += (x.size(d) - 1) * x.stride(d);
    strides[d] = -strides[d];
  }
  Tensor y = empty_in_layout(x, x.sizes(), x.dtype());
  const Tensor turned = alias(x, x.sizes(), strides, first);
  launch(kFlip, {&y}, {&turned});
  if (!recording(x)) return y;
  return record("flip", y, {&x}, [dims](const Tensor& g) { return flip(g, dims); });
}

Tensor roll(const Tensor& x, const Dims& shifts, const Dims& dims) {
  CR_CHECK(!shifts.empty(), "roll: `shifts` required");
  if (dims.empty() && shifts.size() == 1) return reshape(roll(reshape(x, {-1}), shifts, {0}), x.sizes());
  CR_CHECK(shifts.size() == dims.size(), "roll: shifts and dimensions must align. shifts: ", shifts.size(),
           ", dims:", dims.size());
  Tensor y;
  {
    NoGrad no_grad;
    y = detach(x);
    for (int i = 0; i < dims.size(); ++i) {
      const int d = check_dim("roll", dims[i], x.dim());
      const int64_t n = x.dim() == 0 ? 0 : x.size(d);
      const int64_t start = n == 0 ? 0 : ((n - shifts[i] % n) % n + n) % n;
      if (start != 0) y = cat({narrow(y, d, start, n - start), narrow(y, d, 0, start)}, d);
    }
    if (y.impl()->storage.get() == x.impl()->storage.get()) y = clone(y);
  }
  if (!recording(x)) return y;
  Dims back;
  for (int64_t s : shifts) back.push_back(-s);
  return record("roll", y, {&x}, [back, dims](const Tensor& g) { return roll(g, back, dims); });
}

Tensor rot90(const Tensor& x, int64_t k, const Dims& dims) {
  CR_CHECK(dims.size() == 2, "rot90: expected total rotation dims == 2, but got dims = ", dims.size());
  CR_CHECK(x.dim() >= 2, "rot90: expected total dims >= 2, but got total dims = ", x.dim());
  const int a = check_dim("rot90", dims[0], x.dim()), b = check_dim("rot90", dims[1], x.dim());
  CR_CHECK(a != b, "rot90: expected rotation dims to be different, but got dim0 = ", a, " and dim1 = ", b);
  switch (((k % 4) + 4) % 4) {
    case 1: return transpose(flip(x, {b}), a, b);
    case 2: return flip(x, {a, b});
    case 3: return transpose(flip(x, {a}), a, b);
    default: return clone(x);
  }
}

// ---- triangles ----

namespace {

struct TriangleAttrs {
  int64_t diagonal;
  bool upper;
};

// Clears the other triangle.
void run_triangle(const Launch& l) {
  const Tensor& y = l.out(0);
  if (y.numel() == 0) return;
  const auto a = l.attrs<TriangleAttrs>();
  const std::vector<int64_t> matrices = offsets(y.sizes(), y.strides(), 0, y.dim() - 2);
  const int64_t rows = y.size(-2), cols = y.size(-1), down = y.stride(-2), right = y.stride(-1);
  visit_dtype(y.dtype(), [&](auto v) {
    using T = decltype(v);
    neutral::parallel_for(
        static_cast<int64_t>(matrices.size()) * rows, std::max<int64_t>(1, 32768 / cols),
        [&](int64_t begin, int64_t end) {
          for (int64_t at = begin; at < end; ++at) {
            const int64_t i = at % rows;
            T* row = y.data<T>() + matrices[static_cast<size_t>(at / rows)] + i * down;
            // Row i's diagonal element stands in column i + diagonal.
            const int64_t from = a.upper ? 0 : std::clamp<int64_t>(i + a.diagonal + 1, 0, cols);
            const int64_t to = a.upper ? std::clamp<int64_t>(i + a.diagonal, 0, cols) : cols;
            for (int64_t j = from; j < to; ++j) row[j * right] = T{0};
          }
        });
  });
}
const Primitive kTriangle{"triangle", run_triangle, sizeof(TriangleAttrs)};

auto triangle_closure(int64_t diagonal, bool upper) {
  return [diagonal, upper](const Tensor& g) { return triangle(g, diagonal, upper); };
}
// Far outside of the matrix all diagonals are alike; nearer ones cannot overflow.
int64_t checked_diagonal(const char* op, const Tensor& x, int64_t diagonal) {
  CR_CHECK(x.dim() >= 2, op, ": input tensor must have at least 2 dimensions, got shape ", x.sizes());
  return std::clamp(diagonal, -x.size(-2) - 1, x.size(-1) + 1);
}

}  // namespace

Tensor triangle(const Tensor& x, int64_t diagonal, bool upper) {
  const char* name = upper ? "triu" : "tril";
  diagonal = checked_diagonal(name, x, diagonal);
  Tensor y;
  {
    NoGrad no_grad;
    y = x.is_contiguous() ? clone(detach(x)) : contiguous(detach(x));
  }
  launch(kTriangle, {&y}, {}, TriangleAttrs{diagonal, upper});
  return recording(x) ? record(name, y, {&x}, triangle_closure(diagonal, upper)) : y;
}

const Tensor& triangle_(const Tensor& x, int64_t diagonal, bool upper) {
  const char* name = upper ? "triu" : "tril";
  diagonal = checked_diagonal(name, x, diagonal);
  before_write(name, x);
  const bool recorded = recording(x);
  launch(kTriangle, {&x}, {}, TriangleAttrs{diagonal, upper});
  if (recorded) return record_write(name, x, {&x}, triangle_closure(diagonal, upper));
  x.count_write();
  return x;
}

Tensor diag(const Tensor& x, int64_t diagonal) {
  CR_CHECK(x.dim() == 1 || x.dim() == 2, "diag: supports 1D or 2D tensors, got shape ", x.sizes());
  if (x.dim() == 2) return clone(chainrule::diagonal(x, diagonal));
  const int64_t n = x.size(0) + std::abs(diagonal);
  Tensor y = zeros({n, n}, x.dtype());
  {
    NoGrad no_grad;
    copy_(chainrule::diagonal(y, diagonal), detach(x));
  }
  if (!recording(x)) return y;
  return record("diag_embed", y, {&x}, [diagonal](const Tensor& g) { return diag(g, diagonal); });
}

// ---- side by side ----

std::vector<Tensor> meshgrid(const std::vector<Tensor>& axes, bool xy) {
  CR_CHECK(!axes.empty(), "meshgrid: expects a non-empty list of tensors");
  Dims sizes;
  for (const Tensor& t : axes) {
    CR_CHECK(t.dim() <= 1, "meshgrid: expected 0D or 1D tensors, got shape ", t.sizes());
    CR_CHECK(t.dtype() == axes[0].dtype(), "meshgrid: expects all tensors to have the same dtype, got ",
             name_of(axes[0].dtype()), " and ", name_of(t.dtype()));
    sizes.push_back(t.numel());
  }
  std::vector<Tensor> out;
  for (int i = 0; i < sizes.size(); ++i) {
    Dims shape = Dims::filled(sizes.size(), 1);
    shape[i] = sizes[i];
    const Tensor grid = expand(reshape(axes[static_cast<size_t>(i)], shape), sizes);
    out.push_back(xy && sizes.size() > 1 ? transpose(grid, 0, 1) : grid);
  }
  return out;
}

Tensor stack_along(const char* op, const std::vector<Tensor>& tensors, int at_least) {
  CR_CHECK(!tensors.empty(), op, ": expects a non-empty list of Tensors");
  std::vector<Tensor> parts;
  for (Tensor t : tensors) {
    if (t.dim() == 0) t = reshape(t, {1});
    if (at_least >= 2 && t.dim() == 1) t = unsqueeze(t, 0);
    if (at_least >= 3 && t.dim() == 2) t = unsqueeze(t, 2);
    parts.push_back(t);
  }
  return cat(parts, at_least == 1 ? (parts[0].dim() == 1 ? 0 : 1) : at_least == 2 ? 0 : 2);
}

Tensor one_hot(const Tensor& x, int64_t classes) {
  CR_CHECK(x.dtype() == DType::Int64, "one_hot: is only applicable to index tensors of type int64, got ",
           name_of(x.dtype()));
  CR_CHECK(
      x.numel() > 0 || classes > 0,
      "one_hot: cannot infer the total number of classes from an empty tensor; num_classes must be positive");
  const Tensor flat = contiguous(detach(x));
  const int64_t* p = flat.data<int64_t>();
  if (x.numel() > 0) {
    const auto [low, high] = std::minmax_element(p, p + flat.numel());
    CR_CHECK(*low >= 0, "one_hot: class values must be non-negative, got ", *low);
    CR_CHECK(classes == -1 || classes >= 1, "one_hot: num_classes should be positive, got ", classes);
    CR_CHECK(classes == -1 || *high < classes, "one_hot: class values must be smaller than num_classes, got ",
             *high, " for num_classes = ", classes);
    if (classes == -1) classes = *high + 1;
  }
  Dims sizes = x.sizes();
  sizes.push_back(classes);
  Tensor y = zeros(sizes, DType::Int64);
  auto* out = y.data<int64_t>();
  for (int64_t i = 0; i < flat.numel(); ++i) out[i * classes + p[i]] = 1;
  return y;
}

}  // namespace chainrule
