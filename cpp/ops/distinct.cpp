// Distinct elements, places in a sorted row, and counts.
#include <algorithm>
#include <numeric>

#include "autograd/record.h"
#include "core/parallel_for.h"
#include "core/shape_checks.h"
#include "ops/elementwise.h"
#include "ops/fill.h"
#include "ops/gather.h"
#include "ops/order_key.h"
#include "ops/pick.h"
#include "ops/reduce.h"
#include "ops/sort.h"
#include "ops/views.h"

namespace chainrule {

namespace {

// Rows of `width` elements, as `order` has them: where each differs from the one before it.
struct DistinctAttrs { int64_t width; };
void run_distinct(const Launch& l) {
  const Tensor &inverse = l.out(0), &starts = l.out(1), &x = l.in(0), &order = l.in(1);
  const int64_t width = l.attrs<DistinctAttrs>().width, n = order.numel();
  const auto* at = order.data<int64_t>();
  auto *place = inverse.data<int64_t>(), *start = starts.data<int64_t>();
  visit_dtype(x.dtype(), [&](auto v) {
    const auto* p = x.data<decltype(v)>();
    int64_t found = 0;
    for (int64_t i = 0; i < n; ++i) {
      bool same = i > 0;
      for (int64_t j = 0; same && j < width; ++j) same = p[at[i] * width + j] == p[at[i - 1] * width + j];
      if (!same) start[found++] = i;
      place[at[i]] = found - 1;
    }
    start[n] = found;
  });
}
const Primitive kDistinct{"unique", run_distinct, sizeof(DistinctAttrs)};

// Does row a come before row b? Called through a pointer, so that one sort serves all dtypes.
template <class T> bool row_before(const void* x, int64_t width, int64_t a, int64_t b) {
  const T* p = static_cast<const T*>(x);
  for (int64_t j = 0; j < width; ++j) {
    const auto ka = order_key(p[a * width + j]), kb = order_key(p[b * width + j]);
    if (ka != kb) return ka < kb;
  }
  return false;
}
void run_order_rows(const Launch& l) {
  const Tensor &order = l.out(0), &x = l.in(0);
  const int64_t width = l.attrs<DistinctAttrs>().width;
  auto* at = order.data<int64_t>();
  std::iota(at, at + order.numel(), int64_t{0});
  const auto before = visit_dtype(x.dtype(), [](auto v) { return row_before<decltype(v)>; });
  std::stable_sort(at, at + order.numel(),
                   [&](int64_t a, int64_t b) { return before(x.bytes(), width, a, b); });
}
const Primitive kOrderRows{"order_rows", run_order_rows, sizeof(DistinctAttrs)};

// x: rows of `width` elements. `values` comes out as the numbers of the first of each.
Distinct distinct_rows(const Tensor& x, const Tensor& order, int64_t width) {
  const int64_t n = order.numel();
  Distinct out{{}, empty({n}, DType::Int64), {}};
  Tensor starts = empty({n + 1}, DType::Int64);
  launch(kDistinct, {&out.inverse, &starts}, {&x, &order}, DistinctAttrs{width});
  auto* start = starts.data<int64_t>();
  const int64_t found = start[n];
  out.values = empty({found}, DType::Int64);
  out.counts = empty({found}, DType::Int64);
  for (int64_t i = 0; i < found; ++i) {
    out.values.data<int64_t>()[i] = order.data<int64_t>()[start[i]];
    out.counts.data<int64_t>()[i] = (i + 1 < found ? start[i + 1] : n) - start[i];
  }
  return out;
}

}  // namespace

Distinct unique_slices(const Tensor& x, int64_t dim) {
  const int d = check_dim("unique", dim, x.dim());
  NoGrad no_grad;
  if (x.dim() == 0) return unique(x);
  const Tensor rows = contiguous(movedim(detach(x), {d}, {0}));
  const int64_t n = rows.size(0), width = n == 0 ? 0 : rows.numel() / n;
  Tensor order = empty({n}, DType::Int64);
  launch(kOrderRows, {&order}, {&rows}, DistinctAttrs{width});
  Distinct out = distinct_rows(rows, order, width);
  out.values = pick("unique", detach(x), {d, 1, out.values});
  return out;
}

// ---- searching and counting ----

namespace {

struct SearchAttrs { bool right; };

// Where `count` <= kSearches values belong in a sorted row: one step of all after another, without a branch, so that none
// waits for another's loads. NaNs come last.
constexpr int kSearches = 8;
template <bool right, class T>
void search_row(const T* row, int64_t n, const T* values, int count, int64_t* to) {
  if (n == 0) {
    std::fill_n(to, count, int64_t{0});
    return;
  }
  T value[kSearches];
  int64_t at[kSearches] = {};
  for (int j = 0; j < kSearches; ++j) value[j] = values[std::min(j, count - 1)];
  const auto goes_on = [](T element, T x) { return right ? element <= x : element < x; };
  for (int64_t left = n; left > 1;) {
    const int64_t half = left / 2;
    for (int j = 0; j < kSearches; ++j)
      at[j] += half & -static_cast<int64_t>(goes_on(row[at[j] + half - 1], value[j]));
    left -= half;
  }
  for (int j = 0; j < count; ++j) {
    if (value[j] == value[j])
      to[j] = at[j] + goes_on(row[at[j]], value[j]);
    else
      to[j] = right ? n : std::partition_point(row, row + n, [](T x) { return x == x; }) - row;
  }
}

void run_search(const Launch& l) {
  const Tensor &out = l.out(0), &sorted = l.in(0), &values = l.in(1);
  const bool right = l.attrs<SearchAttrs>().right;
  const int64_t n = sorted.size(-1);
  const bool one_row = sorted.dim() == 1;
  const int64_t each = one_row ? values.numel() : values.size(-1);
  auto* to = out.data<int64_t>();
  visit_dtype(sorted.dtype(), [&](auto v) {
    using T = decltype(v);
    const T *p = sorted.data<T>(), *q = values.data<T>();
    neutral::parallel_for(values.numel(), 2048, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end;) {
        const int64_t row = i / each,
                      count = std::min<int64_t>(kSearches, std::min(end, (row + 1) * each) - i);
        const auto search = right ? search_row<true, T> : search_row<false, T>;
        search(p + (one_row ? 0 : row * n), n, q + i, static_cast<int>(count), to + i);
        i += count;
      }
    });
  });
}
const Primitive kSearch{"searchsorted", run_search, sizeof(SearchAttrs)};

// Counts of parts of the numbers, on all threads, then of all.
void count_numbers(const int64_t* p, int64_t size, int64_t* out, int64_t n) {
  const int64_t parts = std::min<int64_t>(16, size / std::max<int64_t>(16384, 4 * n));
  std::vector<int64_t> counts(static_cast<size_t>(std::max<int64_t>(parts - 1, 0) * n));
  neutral::parallel_for(std::max<int64_t>(parts, 1), 1, [&](int64_t begin, int64_t end) {
    for (int64_t part = begin; part < end; ++part) {
      int64_t* to = part == 0 ? out : counts.data() + (part - 1) * n;
      const int64_t last = parts > 1 ? (part + 1) * size / parts : size;
      for (int64_t i = parts > 1 ? part * size / parts : 0; i < last; ++i) ++to[p[i]];
    }
  });
  for (size_t i = 0; i < counts.size(); ++i) out[static_cast<int64_t>(i) % n] += counts[i];
}

void run_bincount(const Launch& l) {
  const auto* p = l.in(0).data<int64_t>();
  if (l.in_count == 1) return count_numbers(p, l.in(0).numel(), l.out(0).data<int64_t>(), l.out(0).numel());
  visit_dtype(l.out(0).dtype(), [&](auto v) {
    using T = decltype(v);
    T* out = l.out(0).data<T>();
    const T* w = l.in(1).data<T>();
    for (int64_t i = 0; i < l.in(0).numel(); ++i) out[p[i]] = static_cast<T>(out[p[i]] + w[i]);
  });
}
const Primitive kBincount{"bincount", run_bincount, 0};

}  // namespace

Tensor searchsorted(const Tensor& sorted, const Tensor& values, bool right) {
  CR_CHECK(sorted.dim() > 0, "searchsorted: the sorted sequence must have at least 1 dimension");
  CR_CHECK(sorted.dtype() == values.dtype(),
           "searchsorted: the sorted sequence and the input value tensor should have "
           "the same dtype, but got ",
           name_of(sorted.dtype()), " and ", name_of(values.dtype()));
  if (sorted.dim() > 1) {
    bool fits = sorted.dim() == values.dim();
    for (int d = 0; fits && d + 1 < sorted.dim(); ++d) fits = sorted.size(d) == values.size(d);
    CR_CHECK(
        fits,
        "searchsorted: the sorted sequence should be 1 dimension or the first N-1 dimensions of it and the "
        "input value tensor must match, but got ",
        sorted.sizes(), " and ", values.sizes());
  }
  NoGrad no_grad;
  const Tensor s = contiguous(detach(sorted)), v = contiguous(detach(values));
  Tensor out = empty(values.sizes(), DType::Int64);
  if (values.numel() > 0) launch(kSearch, {&out}, {&s, &v}, SearchAttrs{right});
  return out;
}

Tensor bincount(const Tensor& x, const Tensor& weights, int64_t min_length) {
  CR_CHECK(x.dim() == 1 && is_integral(x.dtype()) && x.dtype() != DType::Bool,
           "bincount: only supports 1-d non-negative integral inputs, got ", name_of(x.dtype()), " of shape ",
           x.sizes());
  CR_CHECK(min_length >= 0, "bincount: minlength should be >= 0, got ", min_length);
  CR_CHECK(!weights.defined() || weights.sizes() == x.sizes(),
           "bincount: weights should be 1-d and have the same length as input");
  NoGrad no_grad;
  const Tensor numbers = to_dtype(contiguous(detach(x)), DType::Int64);
  int64_t n = min_length;
  if (numbers.numel() > 0) {
    const auto lowest = item(amin(numbers)).as<int64_t>();
    CR_CHECK(lowest >= 0, "bincount: only supports 1-d non-negative integral inputs, got ", lowest);
    n = std::max(n, item(amax(numbers)).as<int64_t>() + 1);
  }
  if (!weights.defined()) {
    Tensor out = zeros({n}, DType::Int64);
    launch(kBincount, {&out}, {&numbers});
    return out;
  }
  const DType dtype = weights.dtype() == DType::Float32 ? DType::Float32 : DType::Float64;
  const Tensor w = to_dtype(contiguous(detach(weights)), dtype);
  Tensor out = zeros({n}, dtype);
  launch(kBincount, {&out}, {&numbers, &w});
  return out;
}

namespace {

// Integers from `low` on, of which most of `range` may occur: counted, where others are sorted.
Distinct count_distinct(const Tensor& x, int64_t low, int64_t range) {
  const Tensor numbers = to_dtype(x, DType::Int64) - low;
  Tensor table = zeros({range}, DType::Int64);
  launch(kBincount, {&table}, {&numbers});
  auto* count = table.data<int64_t>();
  const int64_t found = range - std::count(count, count + range, int64_t{0});
  Tensor values = empty({found}, DType::Int64);
  Distinct out{{}, {}, empty({found}, DType::Int64)};
  for (int64_t i = 0, next = 0; i < range; ++i) {
    if (count[i] == 0) continue;
    values.data<int64_t>()[next] = low + i;
    out.counts.data<int64_t>()[next] = count[i];
    count[i] = next++;  // its place, for the inverse
  }
  out.values = to_dtype(values, x.dtype());
  out.inverse = gather_checked("unique", table, 0, numbers);
  return out;
}

}  // namespace

Distinct unique(const Tensor& x) {
  NoGrad no_grad;
  const Tensor flat = reshape(contiguous(detach(x)), {-1});
  Distinct d;
  if (is_integral(x.dtype()) && x.dtype() != DType::Bool && x.numel() > 0) {
    const auto low = item(amin(flat)).as<int64_t>(), high = item(amax(flat)).as<int64_t>();
    const uint64_t steps = static_cast<uint64_t>(high) - static_cast<uint64_t>(low);
    if (steps < static_cast<uint64_t>(4 * x.numel()))
      d = count_distinct(flat, low, static_cast<int64_t>(steps) + 1);
  }
  if (!d.inverse.defined()) {
    d = distinct_rows(flat, argsort(flat, 0, false), 1);
    d.values = gather_checked("unique", flat, 0, d.values);
  }
  d.inverse = detach(reshape(d.inverse, x.sizes()));
  return d;
}

}  // namespace chainrule
