#include "ops/gather.h"

#include <algorithm>

#include "autograd/record.h"
#include "core/parallel_for.h"
#include "core/scalar.h"
#include "ops/elementwise.h"
#include "ops/fill.h"
#include "ops/offsets.h"
#include "ops/pick.h"
#include "ops/reduce.h"
#include "ops/views.h"

namespace chainrule {
namespace {

constexpr int64_t kGrain = 32768, kLine = 64;

struct GatherAttrs {
  int dim;
  Scatter mode = Scatter::Set;
};

// The index's elements as (o, k, i): k along dim. Element (o, k, i) means the tensor's element at
// outer[o] + inner[i] + number * step.
struct Lines {
  std::vector<int64_t> outer, inner;
  int64_t n, step, size;  // size: of the tensor along dim
  Lines(const Tensor& t, const Tensor& index, int dim)
      : outer(offsets(index.sizes(), t.strides(), 0, dim)),
        inner(offsets(index.sizes(), t.strides(), dim + 1, t.dim())),
        n(index.size(dim)),
        step(t.stride(dim)),
        size(t.size(dim)) {}
  int64_t outers() const { return static_cast<int64_t>(outer.size()); }
  int64_t inners() const { return static_cast<int64_t>(inner.size()); }
  bool holds(int64_t number) const { return static_cast<uint64_t>(number) < static_cast<uint64_t>(size); }
};

template <class T> void gather_lines(const Lines& l, const int64_t* numbers, const T* x, T* y) {
  const int64_t width = l.inners();
  neutral::parallel_for(l.outers() * l.n, std::max<int64_t>(1, kGrain / width),
                        [&](int64_t begin, int64_t end) {
                          for (int64_t row = begin; row < end;) {
                            const T* from = x + l.outer[static_cast<size_t>(row / l.n)];
                            const int64_t line_end = std::min(end, (row / l.n + 1) * l.n);
                            if (width == 1) {
                              const int64_t *at = numbers + row, count = line_end - row, step = l.step;
                              T* to = y + row;
                              for (int64_t i = 0; i < count; ++i) to[i] = from[at[i] * step];
                              row = line_end;
                              continue;
                            }
                            for (; row < line_end; ++row) {
                              const int64_t* at = numbers + row * width;
                              T* to = y + row * width;
                              for (int64_t i = 0; i < width; ++i)
                                to[i] = from[l.inner[static_cast<size_t>(i)] + at[i] * l.step];
                            }
                          }
                        });
}

void run_gather(const Launch& l) {
  const Tensor &y = l.out(0), &x = l.in(0), &numbers = l.in(1);
  if (y.numel() == 0) return;
  const Lines lines(x, numbers, l.attrs<GatherAttrs>().dim);
  const auto* at = numbers.data<int64_t>();
  switch (y.item_bytes()) {
    case 1: return gather_lines(lines, at, x.data<uint8_t>(), y.data<uint8_t>());
    case 4: return gather_lines(lines, at, x.data<uint32_t>(), y.data<uint32_t>());
    default: return gather_lines(lines, at, x.data<uint64_t>(), y.data<uint64_t>());
  }
}
const Primitive kGather{"gather", run_gather, sizeof(GatherAttrs)};

// Elements along dim meet in one place, so they go in order; threads share what lies across. The numbers were in range when
// they were checked, but may be the user's own, which somebody writes into meanwhile: then nothing is written outside.
template <class T, class F>
void scatter_lines(const Lines& l, const int64_t* numbers, T* x, const T* src, bool single, F f) {
  const int64_t width = l.inners(), strips = (width + kLine - 1) / kLine;
  const int64_t work = l.n * std::min(kLine, width);
  neutral::parallel_for(
      l.outers() * strips, std::max<int64_t>(1, kGrain / work), [&](int64_t begin, int64_t end) {
        for (int64_t s = begin; s < end;) {
          const int64_t o = s / strips, first = s % strips, last = std::min(strips, first + end - s);
          T* line = x + l.outer[static_cast<size_t>(o)];
          if (width == 1) {
            const int64_t *at = numbers + o * l.n, count = l.n, step = l.step, each = single ? 0 : -1;
            const T* from = single ? src : src + o * l.n;
            for (int64_t i = 0; i < count; ++i)
              if (const int64_t number = at[i]; l.holds(number)) f(line[number * step], from[i & each]);
            ++s;
            continue;
          }
          const int64_t *inner = l.inner.data(), step = l.step, begins = first * kLine,
                        ends = std::min(last * kLine, width);
          for (int64_t k = 0; k < l.n; ++k) {
            const int64_t* at = numbers + (o * l.n + k) * width;
            const T* from = single ? src : src + (o * l.n + k) * width;
            const int64_t each = single ? 0 : -1;
            for (int64_t i = begins; i < ends; ++i)
              if (const int64_t number = at[i]; l.holds(number))
                f(line[inner[i] + number * step], from[i & each]);
          }
          s += last - first;
        }
      });
}

void run_scatter(const Launch& l) {
  const Tensor &x = l.out(0), &src = l.in(0), &numbers = l.in(1);
  if (numbers.numel() == 0) return;
  const auto a = l.attrs<GatherAttrs>();
  const Lines lines(x, numbers, a.dim);
  const auto* at = numbers.data<int64_t>();
  visit_dtype(x.dtype(), [&](auto zero) {
    using T = decltype(zero);
    T* to = x.data<T>();
    const T* from = src.data<T>();
    const bool single = src.dim() == 0;
    switch (a.mode) {
      case Scatter::Set: return scatter_lines(lines, at, to, from, single, [](T& e, T s) { e = s; });
      case Scatter::Add:
        return scatter_lines(lines, at, to, from, single, [](T& e, T s) {
          if constexpr (std::is_same_v<T, bool>)
            e = e || s;
          else
            e = static_cast<T>(e + s);
        });
      default:
        return scatter_lines(lines, at, to, from, single, [](T& e, T s) {
          if constexpr (std::is_same_v<T, bool>)
            e = e && s;
          else
            e = static_cast<T>(e * s);
        });
    }
  });
}
const Primitive kScatter{"scatter", run_scatter, sizeof(GatherAttrs)};

// Without dimensions counts as one of size 1.
Tensor at_least_1d(const Tensor& t) { return t.dim() == 0 ? alias(t, {1}, {1}) : t; }

// `kept`: the numbers are needed when the index may have changed.
Tensor checked_numbers(const char* op, const Tensor& x, int dim, const Tensor& index, const Tensor* src,
                       bool kept) {
  CR_CHECK(index.dtype() == DType::Int64 || index.dtype() == DType::Int32, op,
           ": expected dtype int64 for index, got ", name_of(index.dtype()));
  if (index.numel() == 0) return index.dim() == x.dim() ? empty(index.sizes(), DType::Int64) : Tensor();
  CR_CHECK(std::max(index.dim(), 1) == std::max(x.dim(), 1), op,
           ": index must have the same number of dimensions as the input, got index of shape ", index.sizes(),
           " for an input of shape ", x.sizes());
  const Tensor i = at_least_1d(detach(index)), t = at_least_1d(x);
  for (int d = 0; d < t.dim(); ++d) {
    CR_CHECK(d == dim || i.size(d) <= t.size(d), op, ": size does not match at dimension ", d,
             ": index of shape ", index.sizes(), " must be no larger than the input of shape ", x.sizes(),
             " apart from dimension ", dim);
    CR_CHECK(src == nullptr || src->dim() == 0 || i.size(d) <= src->size(d), op,
             ": size does not match at dimension ", d, ": index of shape ", index.sizes(),
             " must be no larger than src of shape ", src ? src->sizes() : Dims());
  }
  if (!kept && i.dtype() == DType::Int64 && i.is_contiguous() && are_within(i, t.size(dim))) return i;
  try {
    return place_numbers(op, i, t.size(dim), dim, false);
  } catch (const IndexError& e) {
    throw Error(e.what());  // PyTorch's RuntimeError
  }
}

}  // namespace

Tensor scatter_zeros(const Tensor& g, const Dims& sizes, int dim, const Tensor& numbers) {
  const Tensor y = zeros(sizes, g.dtype()), lines = at_least_1d(y);
  Tensor src;
  {
    NoGrad no_grad;
    src = contiguous(detach(g));
  }
  const Tensor values = at_least_1d(src);
  launch(kScatter, {&lines}, {&values, &numbers}, GatherAttrs{dim, Scatter::Add});
  if (!recording(g)) return y;
  return record("gather_backward", y, {&g}, [dim, n = saved(numbers)](const Tensor& gg) {
    return gather_checked("gather", gg, dim, *n);
  });
}

namespace {

Tensor gather_numbers(const char* name, const Tensor& x, int dim, const Tensor& numbers, const Dims& sizes) {
  const Tensor y = empty(sizes, x.dtype()), t = at_least_1d(x);
  launch(kGather, {&y}, {&t, &numbers}, GatherAttrs{dim});
  if (!recording(x)) return y;
  return record(name, y, {&x}, [n = saved(numbers), from = x.sizes(), dim](const Tensor& g) {
    return scatter_zeros(g, from, dim, *n);
  });
}

}  // namespace

Tensor gather_checked(const char* name, const Tensor& x, int dim, const Tensor& numbers) {
  return gather_numbers(name, x, dim, at_least_1d(numbers), numbers.sizes());
}

Tensor gather(const Tensor& x, int64_t dim, const Tensor& index) {
  const int d = check_dim("gather", dim, x.dim());
  const Tensor numbers = checked_numbers("gather", x, d, index, nullptr, false);
  return numbers.defined() ? gather_numbers("gather", x, d, numbers, index.sizes())
                           : empty(index.sizes(), x.dtype());
}

const Tensor& scatter_(const char* op, const Tensor& x, int64_t dim, const Tensor& index, const Tensor& src,
                       Scatter mode) {
  const int d = check_dim(op, dim, x.dim());
  CR_CHECK(src.dtype() == x.dtype(), op, ": expected src to have the dtype of the input, ",
           name_of(x.dtype()), ", got ", name_of(src.dtype()));
  CR_CHECK(src.dim() == 0 || src.dim() == std::max(x.dim(), 1), op,
           ": src must have the same number of dimensions as the input, got shape ", src.sizes(),
           " for an input of shape ", x.sizes());
  CR_CHECK(
      mode != Scatter::Multiply || !recording(x, src), op,
      ": the derivative of reduce='multiply' is not defined here; multiply by a gathered tensor instead");
  const bool same_memory = index.impl()->storage.get() == x.impl()->storage.get();
  const Tensor numbers = checked_numbers(op, x, d, index, &src, same_memory || recording(x, src));
  if (!numbers.defined()) {  // an empty index of any shape
    before_write(op, x);
    x.count_write();
    return x;
  }
  Tensor part = src;
  for (int k = 0; k < src.dim(); ++k)
    if (src.size(k) != numbers.size(k)) part = narrow(part, k, 0, numbers.size(k));
  before_write(op, x, recording(part));
  const bool recorded = recording(x, part);
  {
    NoGrad no_grad;
    Tensor values = contiguous(detach(part));
    if (values.impl()->storage.get() == x.impl()->storage.get()) values = clone(values);
    const Tensor lines = at_least_1d(x);
    launch(kScatter, {&lines}, {&values, &numbers}, GatherAttrs{d, mode});
  }
  if (!recorded) {
    x.count_write();
    return x;
  }
  return record_write(op, x, {&x, &part},
                      [d, numbers, mode, sizes = part.sizes()](const Tensor& g, Needs need) {
                        Tensor dx = g, dsrc;
                        if (need[0] && mode == Scatter::Set)
                          scatter_("scatter", dx = clone(g), d, numbers, scalar_tensor(0, g.dtype()), mode);
                        if (need[1]) dsrc = sum_to(gather_checked("gather", g, d, numbers), sizes);
                        return std::array{need[0] ? dx : Tensor(), dsrc};
                      });
}

Tensor take_along_dim(const Tensor& x, const Tensor& indices, int64_t dim) {
  const int d = check_dim("take_along_dim", dim, x.dim());
  CR_CHECK(indices.dtype() == DType::Int64, "take_along_dim: expected dtype int64 for indices, got ",
           name_of(indices.dtype()));
  CR_CHECK(x.dim() == indices.dim(),
           "take_along_dim: input and indices should have the same number of dimensions, "
           "but got ",
           x.dim(), " dimensions for input, and ", indices.dim(), " dimensions for indices");
  Dims a = x.sizes(), b = indices.sizes();
  const int64_t n = x.dim() ? a[d] : 1, picked = x.dim() ? b[d] : 1;
  if (x.dim() > 0) a[d] = b[d] = 1;
  Dims shape = broadcast_shapes("take_along_dim", a, b), index_shape = shape;
  if (x.dim() > 0) shape[d] = n, index_shape[d] = picked;
  return gather(expand(x, shape), d, expand(indices, index_shape));
}

}  // namespace chainrule
