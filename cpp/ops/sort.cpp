#include "ops/sort.h"

#include <algorithm>
#include <bit>
#include <numeric>

#include "autograd/record.h"
#include "core/parallel_for.h"
#include "ops/elementwise.h"
#include "ops/fill.h"
#include "ops/gather.h"
#include "ops/pick.h"
#include "ops/views.h"

namespace chainrule {
namespace {

// An unsigned number in the order of x: the sign bit of a floating number says whether the others count up or
// down.
template <class T> auto order_key(T x) {
  if constexpr (std::is_floating_point_v<T>) {
    using U = std::conditional_t<sizeof(T) == 4, uint32_t, uint64_t>;
    if (x != x) return static_cast<U>(~U{0});
    if (x == 0) x = 0;  // one zero
    const U bits = std::bit_cast<U>(x), sign = U{1} << (sizeof(T) * 8 - 1);
    return static_cast<U>(bits & sign ? ~bits : bits | sign);
  } else if constexpr (std::is_same_v<T, int64_t>) {
    return static_cast<uint64_t>(x) ^ (uint64_t{1} << 63);
  } else {
    return static_cast<uint32_t>(static_cast<int64_t>(x) - (std::is_signed_v<T> ? INT32_MIN : 0));
  }
}

// A key and the position that it came from, in one number where they fit: no two are equal, so that any sort
// is stable.
struct Wide {
  uint64_t key;
  int64_t position;
  bool operator<(const Wide& o) const { return key != o.key ? key < o.key : position < o.position; }
};
struct Narrow {
  uint64_t both;
  bool operator<(const Narrow& o) const { return both < o.both; }
};
inline void put(Narrow& e, uint64_t key, int64_t position) {
  e.both = (key << 32) | static_cast<uint32_t>(position);
}
inline void put(Wide& e, uint64_t key, int64_t position) { e = {key, position}; }
inline uint64_t key_of(const Narrow& e) { return e.both >> 32; }
inline uint64_t key_of(const Wide& e) { return e.key; }
inline int64_t position_of(const Narrow& e) { return static_cast<int64_t>(e.both & 0xffffffffu); }
inline int64_t position_of(const Wide& e) { return e.position; }

// Long rows digit by digit, from the last: each pass keeps the order of the one before.
template <class E> void sort_by_digits(std::vector<E>& row, std::vector<E>& room, uint64_t largest) {
  constexpr int kBits = 11;
  room.resize(row.size());
  for (int shift = 0; shift < 64 && largest >> shift != 0; shift += kBits) {
    size_t starts[(1 << kBits) + 1] = {};
    auto digit = [shift](const E& e) { return (key_of(e) >> shift) & ((1 << kBits) - 1); };
    for (const E& e : row) ++starts[digit(e) + 1];
    for (int d = 0; d < 1 << kBits; ++d) starts[d + 1] += starts[d];
    for (const E& e : row) room[starts[digit(e)]++] = e;
    std::swap(row, room);
  }
}

// Is x in front of `last`, or perhaps, where either is NaN?
template <bool descending, class T> bool may_precede(T x, T last) {
  return descending ? !(x <= last) : !(x >= last);
}

// The first k of a row, in order. Those that can be among them wait in a list, whose k-th tells of most blocks that they
// hold none: a short list is always in order, a longer one is cut to k when it has grown to twice that.
template <bool descending, class E, class T, class Make>
void first_few(std::vector<E>& kept, const T* p, int64_t n, int64_t k, const Make& make) {
  const auto want = static_cast<size_t>(k), room = 2 * want;
  const bool in_order = k <= 64;
  bool bounded = false;
  uint64_t bound = 0;  // the key of the k-th so far: an equal one that comes later is behind it
  T last{};
  auto tighten = [&] {
    bounded = true;
    bound = key_of(kept.back());
    last = p[position_of(kept.back())];
  };
  auto cut = [&] {
    std::nth_element(kept.begin(), kept.begin() + (k - 1), kept.end());
    kept.resize(want);
    tighten();
  };
  auto take = [&](const E& e) {
    if (!in_order) {
      kept.push_back(e);
      if (kept.size() == room) cut();
      return;
    }
    if (kept.size() < want) kept.push_back(e);
    size_t at = kept.size() - 1;
    for (; at > 0 && e < kept[at - 1]; --at) kept[at] = kept[at - 1];
    kept[at] = e;
    if (kept.size() == want) tighten();
  };
  kept.clear();
  kept.reserve(room);
  int64_t i = 0;
  for (; i < n && !bounded; ++i) take(make(i));
  constexpr int64_t kBlock = 16;
  while (i < n) {
    const int64_t end = std::min(i + kBlock, n);
    int any = end - i < kBlock;
    if (any == 0)  // without branches, for vectors
      for (int64_t j = 0; j < kBlock; ++j) any |= may_precede<descending>(p[i + j], last);
    if (any == 0) {
      i = end;
      continue;
    }
    for (; i < end; ++i) {
      if (!may_precede<descending>(p[i], last)) continue;
      if (const E e = make(i); key_of(e) < bound) take(e);
    }
  }
  if (kept.size() > want) cut();
  if (!in_order) std::sort(kept.begin(), kept.end());
}

// Which keys a row holds.
struct KeyRange { uint64_t low, high; };
template <class T> KeyRange key_range(const T* p, int64_t n) {
  auto low = order_key(p[0]), high = low;
  for (int64_t i = 1; i < n; ++i) {
    const auto key = order_key(p[i]);
    low = std::min(low, key);
    high = std::max(high, key);
  }
  return {low, high};
}
template <class T> constexpr KeyRange all_keys() { return {0, static_cast<decltype(order_key(T{}))>(-1)}; }

enum class Wanted { Order, Last };
struct SortAttrs {
  int64_t k;  // how many of each row are wanted
  bool descending;
  Wanted wanted;  // all k in order, or only the last of them
};

// The k-th of a row: keys are counted by their first digits, so that only those that begin as the k-th does are compared.
template <class E, class T, class Make>
int64_t last_of_row(std::vector<E>& row, const T* p, int64_t n, int64_t k, KeyRange keys, bool descending,
                    const Make& make) {
  constexpr int kBits = 11;
  const int shift = std::max(0, static_cast<int>(std::bit_width(keys.high - keys.low)) - kBits);
  auto digit = [&](int64_t i) {
    const uint64_t key = order_key(p[i]);
    return (descending ? keys.high - key : key - keys.low) >> shift;
  };
  row.clear();
  if (n < 4096) {
    for (int64_t i = 0; i < n; ++i) row.push_back(make(i));
  } else {
    int64_t counts[1 << kBits] = {};
    for (int64_t i = 0; i < n; ++i) ++counts[digit(i)];
    uint64_t wanted = 0;
    for (; counts[wanted] < k; ++wanted) k -= counts[wanted];
    row.reserve(static_cast<size_t>(counts[wanted]));
    for (int64_t i = 0; i < n; ++i)
      if (digit(i) == wanted) row.push_back(make(i));
  }
  std::nth_element(row.begin(), row.begin() + (k - 1), row.end());
  return position_of(row[static_cast<size_t>(k - 1)]);
}

template <class E, class T>
void first_of_row(std::vector<E>& row, std::vector<E>& room, const T* p, int64_t n, const SortAttrs& a,
                  KeyRange keys, int64_t* out) {
  auto make = [&](int64_t i) {
    const uint64_t key = order_key(p[i]);
    E e;
    put(e, a.descending ? keys.high - key : key - keys.low, i);
    return e;
  };
  if (a.wanted == Wanted::Last) {
    *out = last_of_row(row, p, n, a.k, keys, a.descending, make);
    return;
  }
  if (a.k < n / 8) {
    a.descending ? first_few<true>(row, p, n, a.k, make) : first_few<false>(row, p, n, a.k, make);
  } else {
    row.resize(static_cast<size_t>(n));
    for (int64_t i = 0; i < n; ++i) row[static_cast<size_t>(i)] = make(i);
    if (n >= 400) {
      sort_by_digits(row, room, keys.high - keys.low);
    } else {
      std::sort(row.begin(), row.end());
    }
  }
  for (int64_t i = 0; i < a.k; ++i) out[i] = position_of(row[static_cast<size_t>(i)]);
}

// The positions of each row's first k elements in order, or that of the k-th.
void run_argsort(const Launch& l) {
  const Tensor& x = l.in(0);
  const auto a = l.attrs<SortAttrs>();
  const int64_t n = x.size(-1), results = a.wanted == Wanted::Last ? 1 : a.k;
  if (x.numel() == 0 || a.k == 0) return;
  auto* out = l.out(0).data<int64_t>();
  visit_dtype(x.dtype(), [&](auto v) {
    using T = decltype(v);
    neutral::parallel_for(x.numel() / n, std::max<int64_t>(1, 4096 / n), [&](int64_t begin, int64_t end) {
      std::vector<Narrow> row, room;
      std::vector<Wide> wide_row, wide_room;
      for (int64_t r = begin; r < end; ++r) {
        const T* p = x.data<T>() + r * n;
        // The range saves passes over the digits; a few elements do without.
        const bool few = a.wanted == Wanted::Order && a.k < n / 8;
        const KeyRange keys = few ? all_keys<T>() : key_range(p, n);
        if (keys.high - keys.low <= UINT32_MAX && n <= int64_t{UINT32_MAX}) {
          first_of_row(row, room, p, n, a, keys, out + r * results);
        } else {
          first_of_row(wide_row, wide_room, p, n, a, keys, out + r * results);
        }
      }
    });
  });
}
const Primitive kArgsort{"argsort", run_argsort, sizeof(SortAttrs)};

Tensor first_in_order(const char* op, const Tensor& x, int64_t k, int64_t dim, bool descending,
                      Wanted wanted = Wanted::Order) {
  const int d = check_dim(op, dim, x.dim());
  NoGrad no_grad;
  if (x.dim() == 0) return zeros({}, DType::Int64);
  const Tensor rows = contiguous(transpose(detach(x), d, -1));
  Dims sizes = rows.sizes();
  sizes[x.dim() - 1] = wanted == Wanted::Last ? 1 : k;
  Tensor order = empty(sizes, DType::Int64);
  launch(kArgsort, {&order}, {&rows}, SortAttrs{k, descending, wanted});
  return detach(contiguous(transpose(order, d, -1)));
}

// The elements that `order` says. What the derivative keeps is its own: a caller may write into the indices.
std::pair<Tensor, Tensor> chosen(const char* op, const Tensor& x, int dim, const Tensor& order) {
  const Tensor values = gather_checked(op, x, dim, order);
  return {values, recording(x) ? clone(order) : order};
}

}  // namespace

Tensor argsort(const Tensor& x, int64_t dim, bool descending) {
  return first_in_order("argsort", x, x.dim() ? x.size(check_dim("argsort", dim, x.dim())) : 1, dim,
                        descending);
}

std::pair<Tensor, Tensor> sort(const Tensor& x, int64_t dim, bool descending) {
  const int d = check_dim("sort", dim, x.dim());
  const Tensor order = first_in_order("sort", x, x.dim() ? x.size(d) : 1, d, descending);
  return chosen("sort", x, d, order);
}

std::pair<Tensor, Tensor> topk(const Tensor& x, int64_t k, int64_t dim, bool largest) {
  const int d = check_dim("topk", dim, x.dim());
  CR_CHECK(k >= 0 && k <= (x.dim() ? x.size(d) : 1), "topk: selected index k out of range: k = ", k,
           " of dimension ", d, " with size ", x.dim() ? x.size(d) : 1);
  if (x.dim() == 0) return sort(x, 0, false);
  const Tensor order = first_in_order("topk", x, k, d, largest);
  return chosen("topk", x, d, order);
}

std::pair<Tensor, Tensor> kthvalue(const Tensor& x, int64_t k, int64_t dim, bool keepdim) {
  const int d = check_dim("kthvalue", dim, x.dim());
  CR_CHECK(k >= 1 && k <= (x.dim() ? x.size(d) : 1),
           "kthvalue: selected number k out of range for dimension ", d, ", got ", k);
  if (x.dim() == 0) return sort(x, 0, false);
  const Tensor order = first_in_order("kthvalue", x, k, d, false, Wanted::Last);
  const auto [value, index] = chosen("kthvalue", x, d, order);
  if (keepdim) return {value, index};
  return {squeeze(value, {d}), detach(squeeze(index, {d}))};
}

// ---- distinct ----

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

void run_order_rows(const Launch& l) {
  const Tensor &order = l.out(0), &x = l.in(0);
  const int64_t width = l.attrs<DistinctAttrs>().width;
  auto* at = order.data<int64_t>();
  std::iota(at, at + order.numel(), int64_t{0});
  visit_dtype(x.dtype(), [&](auto v) {
    const auto* p = x.data<decltype(v)>();
    std::stable_sort(at, at + order.numel(), [&](int64_t a, int64_t b) {
      for (int64_t j = 0; j < width; ++j) {
        const auto ka = order_key(p[a * width + j]), kb = order_key(p[b * width + j]);
        if (ka != kb) return ka < kb;
      }
      return false;
    });
  });
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

Distinct unique(const Tensor& x) {
  NoGrad no_grad;
  const Tensor flat = reshape(contiguous(detach(x)), {-1});
  Distinct d = distinct_rows(flat, argsort(flat, 0, false), 1);
  d.values = gather_checked("unique", flat, 0, d.values);
  d.inverse = detach(reshape(d.inverse, x.sizes()));
  return d;
}

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
void run_search(const Launch& l) {
  const Tensor &out = l.out(0), &sorted = l.in(0), &values = l.in(1);
  const bool right = l.attrs<SearchAttrs>().right;
  const int64_t n = sorted.size(-1);
  const int64_t each = sorted.dim() == 1 ? values.numel() : values.size(-1);
  auto* to = out.data<int64_t>();
  visit_dtype(sorted.dtype(), [&](auto v) {
    using T = decltype(v);
    const T *p = sorted.data<T>(), *q = values.data<T>();
    neutral::parallel_for(values.numel(), 4096, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const T* row = p + (sorted.dim() == 1 ? 0 : i / each * n);
        const auto key = order_key(q[i]);
        auto less = [](const T& a, auto k) { return order_key(a) < k; };
        auto greater = [](auto k, const T& a) { return k < order_key(a); };
        to[i] = right ? std::upper_bound(row, row + n, key, greater) - row
                      : std::lower_bound(row, row + n, key, less) - row;
      }
    });
  });
}
const Primitive kSearch{"searchsorted", run_search, sizeof(SearchAttrs)};

void run_bincount(const Launch& l) {
  const auto* p = l.in(0).data<int64_t>();
  visit_dtype(l.out(0).dtype(), [&](auto v) {
    using T = decltype(v);
    T* out = l.out(0).data<T>();
    const T* w = l.in_count > 1 ? l.in(1).data<T>() : nullptr;
    for (int64_t i = 0; i < l.in(0).numel(); ++i)
      out[p[i]] = static_cast<T>(out[p[i]] + (w ? w[i] : static_cast<T>(1)));
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
  const auto* p = numbers.data<int64_t>();
  int64_t n = min_length;
  for (int64_t i = 0; i < numbers.numel(); ++i) {
    CR_CHECK(p[i] >= 0, "bincount: only supports 1-d non-negative integral inputs, got ", p[i],
             " at position ", i);
    n = std::max(n, p[i] + 1);
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

}  // namespace chainrule
