#include "ops/sort.h"

#include <algorithm>
#include <bit>

#include "autograd/record.h"
#include "core/alloc.h"
#include "core/parallel_for.h"
#include "ops/elementwise.h"
#include "ops/fill.h"
#include "ops/gather.h"
#include "ops/order_key.h"
#include "ops/views.h"

namespace chainrule {
namespace {

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

// Calls f(block, begin, end) for each part of a row of n.
template <class F> void each_block(int64_t n, int64_t blocks, const F& f) {
  const int64_t length = (n + blocks - 1) / blocks;
  neutral::parallel_for(blocks, 1, [&](int64_t first, int64_t last) {
    for (int64_t b = first; b < last; ++b) f(b, b * length, std::min(n, (b + 1) * length));
  });
}

// Digit by digit, from the last: each pass keeps the order of the one before, and moves every block's elements behind
// those of the blocks before it. Returns which of `row` and `room` the sorted row is in.
template <class E> E* sort_by_digits(E* row, E* room, int64_t n, uint64_t largest, int64_t blocks) {
  constexpr int kBits = 10, kDigits = 1 << kBits;
  std::vector<int64_t> places(static_cast<size_t>(blocks * kDigits));
  for (int shift = 0; shift < 64 && largest >> shift != 0; shift += kBits) {
    auto digit = [shift](const E& e) { return (key_of(e) >> shift) & (kDigits - 1); };
    each_block(n, blocks, [&](int64_t b, int64_t begin, int64_t end) {
      int64_t* counts = places.data() + b * kDigits;
      std::fill_n(counts, kDigits, 0);
      for (int64_t i = begin; i < end; ++i) ++counts[digit(row[i])];
    });
    int64_t next = 0;
    for (int64_t d = 0; d < kDigits; ++d)
      for (int64_t b = 0; b < blocks; ++b)
        next += std::exchange(places[static_cast<size_t>(b * kDigits + d)], next);
    each_block(n, blocks, [&](int64_t b, int64_t begin, int64_t end) {
      int64_t* place = places.data() + b * kDigits;
      for (int64_t i = begin; i < end; ++i) room[place[digit(row[i])]++] = row[i];
    });
    std::swap(row, room);
  }
  return row;
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
// From 0 on, in the order that is asked for.
template <class T> uint64_t key_within(KeyRange keys, T x, bool descending) {
  const uint64_t key = order_key(x);
  return descending ? keys.high - key : key - keys.low;
}

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
  auto digit = [&](int64_t i) { return key_within(keys, p[i], descending) >> shift; };
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
    E e;
    put(e, key_within(keys, p[i], a.descending), i);
    return e;
  };
  if (a.wanted == Wanted::Last) {
    *out = last_of_row(row, p, n, a.k, keys, a.descending, make);
    return;
  }
  const E* sorted = nullptr;
  if (a.k < n / 8) {
    a.descending ? first_few<true>(row, p, n, a.k, make) : first_few<false>(row, p, n, a.k, make);
  } else {
    row.resize(static_cast<size_t>(n));
    for (int64_t i = 0; i < n; ++i) row[static_cast<size_t>(i)] = make(i);
    if (n >= 400) {
      room.resize(static_cast<size_t>(n));
      sorted = sort_by_digits(row.data(), room.data(), n, keys.high - keys.low, 1);
    } else {
      std::sort(row.begin(), row.end());
    }
  }
  if (sorted == nullptr) sorted = row.data();
  for (int64_t i = 0; i < a.k; ++i) out[i] = position_of(sorted[i]);
}

constexpr int64_t kLongRow = 65536;  // from here on, threads share a row

template <class E, class T>
void sort_long_row(const T* p, int64_t n, const SortAttrs& a, KeyRange keys, int64_t blocks, int64_t* out) {
  E* const memory = static_cast<E*>(cr_alloc(static_cast<size_t>(2 * n) * sizeof(E)));
  each_block(n, blocks, [&](int64_t, int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) put(memory[i], key_within(keys, p[i], a.descending), i);
  });
  const E* sorted = sort_by_digits(memory, memory + n, n, keys.high - keys.low, blocks);
  each_block(a.k, blocks, [&](int64_t, int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) out[i] = position_of(sorted[i]);
  });
  cr_free(memory);
}
template <class T> void sort_long_row(const T* p, int64_t n, const SortAttrs& a, int64_t* out) {
  const int64_t blocks = std::min<int64_t>(8, n / (kLongRow / 2));
  KeyRange ranges[8] = {};
  each_block(n, blocks,
             [&](int64_t b, int64_t begin, int64_t end) { ranges[b] = key_range(p + begin, end - begin); });
  KeyRange keys = ranges[0];
  for (int64_t b = 1; b < blocks; ++b)
    keys = {std::min(keys.low, ranges[b].low), std::max(keys.high, ranges[b].high)};
  if (keys.high - keys.low <= UINT32_MAX && n <= int64_t{UINT32_MAX})
    sort_long_row<Narrow>(p, n, a, keys, blocks, out);
  else
    sort_long_row<Wide>(p, n, a, keys, blocks, out);
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
    const int64_t rows = x.numel() / n;
    if (rows < 4 && n >= kLongRow && a.wanted == Wanted::Order && a.k >= n / 8) {
      for (int64_t r = 0; r < rows; ++r) sort_long_row(x.data<T>() + r * n, n, a, out + r * results);
      return;
    }
    neutral::parallel_for(rows, std::max<int64_t>(1, 4096 / n), [&](int64_t begin, int64_t end) {
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
  const Tensor squeezed = squeeze(value, {d});
  rename_node(squeezed, "kthvalue");
  return {squeezed, detach(squeeze(index, {d}))};
}

}  // namespace chainrule
