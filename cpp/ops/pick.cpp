#include "ops/pick.h"

#include <algorithm>
#include <atomic>
#include <cstring>

#include "autograd/record.h"
#include "core/loop.h"
#include "core/parallel_for.h"
#include "ops/elementwise.h"
#include "ops/fill.h"
#include "ops/loop_primitive.h"
#include "ops/offsets.h"
#include "ops/views.h"

namespace chainrule {
namespace {

constexpr int64_t kGrain = 32768;  // elements a thread takes at a time
constexpr int64_t kShortRow = 32;  // elements, for which no kernel is called
constexpr int64_t kLine = 256;     // columns that threads share a row by: whole cache lines of them

// ---- numbers ----

struct NumberAttrs {
  const char* op;
  int64_t size;
  int dim;
  bool negative;  // are negative numbers allowed?
  bool first;     // or are the numbers so far to be multiplied by size?
};

// Negative unless 0 <= k < size.
inline int64_t beyond(int64_t k, int64_t size) { return k | (size - 1 - k); }

// numbers = numbers * size + index
void run_numbers(const Launch& l) {
  const auto a = l.attrs<NumberAttrs>();
  const Tensor& index = l.in(0);
  int64_t* out = l.out(0).data<int64_t>();
  const int64_t n = l.out(0).numel();
  std::atomic<int64_t> wrong{n};
  auto go = [&](auto v) {
    const auto* p = index.data<decltype(v)>();
    neutral::parallel_for(n, kGrain, [&](int64_t begin, int64_t end) {
      const int64_t size = a.size, from_end = a.negative ? size : 0;
      const auto number = [&](int64_t i) {
        const auto k = static_cast<int64_t>(p[i]);
        return k + ((k >> 63) & from_end);
      };
      int64_t outside = 0;  // of all together: negative where one is, with no branch in the loop
      if (a.first) {
        for (int64_t i = begin; i < end; ++i) outside |= beyond(out[i] = number(i), size);
      } else {
        for (int64_t i = begin; i < end; ++i) {
          outside |= beyond(number(i), size);
          out[i] = out[i] * size + number(i);
        }
      }
      for (int64_t i = begin; outside < 0 && i < end; ++i) {
        if (beyond(number(i), size) >= 0) continue;
        int64_t seen = wrong.load();
        while (i < seen && !wrong.compare_exchange_weak(seen, i)) {
        }
        return;
      }
    });
    if (wrong < n) return static_cast<int64_t>(p[wrong]);
    return int64_t{0};
  };
  const int64_t value = index.dtype() == DType::Int32 ? go(int32_t{}) : go(int64_t{});
  CR_CHECK_INDEX(wrong == n, a.op, ": index ", value, " is out of bounds for dimension ", a.dim,
                 " with size ", a.size);
}
const Primitive kNumbers{"index_numbers", run_numbers, sizeof(NumberAttrs)};

// Of each block of numbers, whether one is outside of [0, size): then negative.
struct WithinAttrs { int64_t size; };
void run_within(const Launch& l) {
  const int64_t size = l.attrs<WithinAttrs>().size;
  const auto* p = l.in(0).data<int64_t>();
  auto* out = l.out(0).data<int64_t>();
  neutral::parallel_for(l.in(0).numel(), kGrain, [&](int64_t begin, int64_t end) {
    int64_t outside = 0;
    for (int64_t i = begin; i < end; ++i) outside |= beyond(p[i], size);
    out[begin / kGrain] = outside;
  });
}
const Primitive kWithin{"index_within", run_within, sizeof(WithinAttrs)};

struct CountAttrs { int64_t block; };

template <class F> void visit_nonzero(const Tensor& x, F&& f) {
  visit_dtype(x.dtype(), [&](auto v) { f(x.data<decltype(v)>()); });
}
void run_count(const Launch& l) {
  const int64_t block = l.attrs<CountAttrs>().block, n = l.in(0).numel();
  int64_t* counts = l.out(0).data<int64_t>();
  visit_nonzero(l.in(0), [&](const auto* p) {
    neutral::parallel_for(n, block, [&](int64_t begin, int64_t end) {
      int64_t found = 0;
      for (int64_t i = begin; i < end; ++i) found += p[i] != 0;
      counts[begin / block] = found;
    });
  });
}
// starts[b]: where block b's positions begin.
void run_positions(const Launch& l) {
  const int64_t block = l.attrs<CountAttrs>().block, n = l.in(0).numel();
  const int64_t* starts = l.in(1).data<int64_t>();
  int64_t* out = l.out(0).data<int64_t>();
  visit_nonzero(l.in(0), [&](const auto* p) {
    neutral::parallel_for(n, block, [&](int64_t begin, int64_t end) {
      int64_t at = starts[begin / block];
      const int64_t last = starts[begin / block + 1];
      for (int64_t i = begin; i < end && at < last; ++i) {  // no branch that chance decides
        out[at] = i;
        at += p[i] != 0;
      }
      while (at < last)
        out[at++] = begin;  // somebody else wrote in between: a wrong answer, but within bounds
    });
  });
}
const Primitive kCount{"count_nonzero", run_count, sizeof(CountAttrs)};
const Primitive kPositions{"nonzero", run_positions, sizeof(CountAttrs)};

// ---- rows ----

struct PlaceAttrs {
  int first, count;
  PutMode mode;
  bool distinct;
};

// x as rows: one starts at outer[o] + place(b); its pieces of `run` neighbours start at inner[i] from there.
struct Rows {
  std::vector<int64_t> outer, inner, decoded;
  int64_t run = 1;
  const int64_t* numbers;
  int64_t step, places;

  Rows(const Tensor& x, const PlaceAttrs& a, const Tensor& at)
      : numbers(at.data<int64_t>()), places(at.numel()) {
    const int last = a.first + a.count;
    int d = x.dim();
    while (d > last && (x.size(d - 1) == 1 || x.stride(d - 1) == run)) run *= x.size(--d);
    outer = offsets(x.sizes(), x.strides(), 0, a.first);
    inner = offsets(x.sizes(), x.strides(), last, d);
    step = a.count == 0 ? 0 : x.stride(last - 1);
    int64_t expected = step;
    bool even = true;
    for (int k = last - 1; k >= a.first; --k) {
      even = even && (x.size(k) == 1 || x.stride(k) == expected);
      expected *= x.size(k);
    }
    if (even && a.count > 0 && x.size(last - 1) != 1) return;
    decoded.resize(static_cast<size_t>(places));
    for (int64_t b = 0; b < places; ++b) {
      int64_t left = numbers[b], offset = 0;
      for (int k = last - 1; k >= a.first; --k) {
        offset += left % x.size(k) * x.stride(k);
        left /= x.size(k);
      }
      decoded[static_cast<size_t>(b)] = offset;
    }
    numbers = decoded.data();
    step = 1;
  }
  int64_t pieces() const { return static_cast<int64_t>(inner.size()); }
  int64_t width() const { return pieces() * run; }
  int64_t place(int64_t b) const { return numbers[b] * step; }
};

// Rows of one element, for which the numbers alone say where they lie: f(row, element) for those of [begin, end).
template <class T, class F> void each_single(const Rows& r, T* x, int64_t begin, int64_t end, const F& f) {
  for (int64_t row = begin; row < end;) {
    const int64_t o = row / r.places, last = std::min(end, (o + 1) * r.places), step = r.step;
    T* const line = x + r.outer[static_cast<size_t>(o)];
    const int64_t* at = r.numbers + (row - o * r.places);
    for (; row < last; ++row) f(row, line[*at++ * step]);
  }
}

template <class T> void pick_rows(const Rows& r, const T* x, T* y) {
  const int64_t rows = static_cast<int64_t>(r.outer.size()) * r.places, width = r.width();
  if (width == 0) return;
  neutral::parallel_for(rows, std::max<int64_t>(1, kGrain / width), [&](int64_t begin, int64_t end) {
    if (width == 1) return each_single(r, x, begin, end, [&](int64_t row, const T& from) { y[row] = from; });
    int64_t o = begin / r.places, b = begin % r.places;
    for (int64_t row = begin; row < end; ++row) {
      const T* from = x + r.outer[static_cast<size_t>(o)] + r.place(b);
      T* to = y + row * width;
      if (r.run == 1) {
        for (int64_t i = 0; i < width; ++i) to[i] = from[r.inner[static_cast<size_t>(i)]];
      } else {
        for (int64_t i = 0; i < r.pieces(); ++i)
          std::memcpy(to + i * r.run, from + r.inner[static_cast<size_t>(i)],
                      static_cast<size_t>(r.run) * sizeof(T));
      }
      if (++b == r.places) b = 0, ++o;
    }
  });
}

void run_pick(const Launch& l) {
  const Tensor &y = l.out(0), &x = l.in(0);
  if (y.numel() == 0) return;
  const Rows rows(x, l.attrs<PlaceAttrs>(), l.in(1));
  switch (y.item_bytes()) {
    case 1: return pick_rows(rows, x.data<uint8_t>(), y.data<uint8_t>());
    case 4: return pick_rows(rows, x.data<uint32_t>(), y.data<uint32_t>());
    default: return pick_rows(rows, x.data<uint64_t>(), y.data<uint64_t>());
  }
}
const Primitive kPick{"index", run_pick, sizeof(PlaceAttrs)};

template <class T> struct Set {
  void operator()(T& e, T s) const { e = s; }
  void row(T* to, const T* from, int64_t n) const {
    std::memcpy(to, from, static_cast<size_t>(n) * sizeof(T));
  }
};
template <class T> struct Add {
  void operator()(T& e, T s) const {
    if constexpr (std::is_same_v<T, bool>)
      e = e || s;
    else
      e = static_cast<T>(e + s);
  }
  void row(T* to, const T* from, int64_t n) const {
    constexpr auto f = static_cast<int>(std::is_same_v<T, bool> ? Binary::logical_or : Binary::add);
    elementwise_loops.binary[f].value[static_cast<int>(dtype_of<T>)]({{to}, {to, from}, {}, n, nullptr});
  }
};

// Every element of x takes its values in the order of the places: threads share outer indices and columns,
// and places only when no two are the same.
template <class T, class F> void put_rows(const Rows& r, T* x, const T* v, bool single, bool distinct, F f) {
  const int64_t outer = static_cast<int64_t>(r.outer.size()), width = r.width();
  if (width == 1) {
    const int64_t step = single ? 0 : -1;
    const int64_t grain = distinct ? kGrain : std::max<int64_t>(1, kGrain / r.places) * r.places;
    neutral::parallel_for(outer * r.places, grain, [&](int64_t begin, int64_t end) {
      each_single(r, x, begin, end, [&](int64_t row, T& e) { f(e, v[row & step]); });
    });
    return;
  }
  auto columns = [&](int64_t o, int64_t b, int64_t begin, int64_t end) {
    T* row = x + r.outer[static_cast<size_t>(o)] + r.place(b);
    const T* __restrict from = single ? v : v + (o * r.places + b) * width;
    for (int64_t i = r.pieces() == 1 ? 0 : begin / r.run; i * r.run < end; ++i) {
      T* __restrict to = row + r.inner[static_cast<size_t>(i)];
      const int64_t low = std::max<int64_t>(begin - i * r.run, 0), high = std::min(end - i * r.run, r.run);
      if (single) {
        for (int64_t j = low; j < high; ++j) f(to[j], *from);
      } else if (high - low < kShortRow) {
        for (int64_t j = low; j < high; ++j) f(to[j], from[i * r.run + j]);
      } else {
        f.row(to + low, from + i * r.run + low, high - low);
      }
    }
  };
  if (distinct) {
    neutral::parallel_for(outer * r.places, std::max<int64_t>(1, kGrain / width),
                          [&](int64_t begin, int64_t end) {
                            for (int64_t row = begin; row < end; ++row)
                              columns(row / r.places, row % r.places, 0, width);
                          });
    return;
  }
  const int64_t strips = (width + kLine - 1) / kLine;
  neutral::parallel_for(outer * strips, std::max<int64_t>(1, kGrain / (r.places * std::min(kLine, width))),
                        [&](int64_t begin, int64_t end) {
                          for (int64_t s = begin; s < end;) {
                            const int64_t o = s / strips, from = s % strips,
                                          to = std::min(strips, from + end - s);
                            for (int64_t b = 0; b < r.places; ++b)
                              columns(o, b, from * kLine, std::min(to * kLine, width));
                            s += to - from;
                          }
                        });
}

void run_put(const Launch& l) {
  const Tensor &x = l.out(0), &value = l.in(0), &at = l.in(1);
  const auto a = l.attrs<PlaceAttrs>();
  if (at.numel() == 0 || x.numel() == 0) return;
  const Rows rows(x, a, at);
  const bool single = value.numel() == 1;
  visit_dtype(x.dtype(), [&](auto zero) {
    using T = decltype(zero);
    T* to = x.data<T>();
    const T* v = value.data<T>();
    if (a.mode == PutMode::Set) {
      put_rows(rows, to, v, single, a.distinct, Set<T>{});
    } else {
      put_rows(rows, to, v, single, a.distinct, Add<T>{});
    }
  });
}
const Primitive kPut{"index_put", run_put, sizeof(PlaceAttrs)};

// x with zeros at `at`.
Tensor clear_at(const Tensor& x, const Places& at) {
  Tensor y;
  {
    NoGrad no_grad;
    y = clone(detach(x));
  }
  put_raw(y, at, scalar_tensor(0, x.dtype()), PutMode::Set);
  if (!recording(x)) return y;
  return record("index_fill", y, {&x}, [at](const Tensor& g) { return clear_at(g, at); });
}

}  // namespace

Tensor nonzero_numbers(const Tensor& x) {
  NoGrad no_grad;
  const Tensor c = contiguous(detach(x));
  const int64_t n = c.numel(), block = kGrain, blocks = (n + block - 1) / block;
  Tensor counts = empty({blocks + 1}, DType::Int64);
  launch(kCount, {&counts}, {&c}, CountAttrs{block});
  int64_t* p = counts.data<int64_t>();
  int64_t total = 0;
  for (int64_t b = 0; b < blocks; ++b) total += std::exchange(p[b], total);
  p[blocks] = total;
  Tensor out = empty({total}, DType::Int64);
  launch(kPositions, {&out}, {&c, &counts}, CountAttrs{block});
  return out;
}

Tensor place_numbers(const char* op, const Small<PlaceIndex, 4>& indices, bool negative) {
  NoGrad no_grad;
  Small<PlaceIndex, 4> each = indices;
  Dims shape;
  bool first = true;
  for (PlaceIndex& i : each) {
    if (i.index.dtype() == DType::Bool) i.index = nonzero_numbers(i.index);
    try {
      shape = first ? i.index.sizes() : broadcast_shapes(op, shape, i.index.sizes());
    } catch (const Error&) {
      std::ostringstream shapes;
      for (const PlaceIndex& k : each) shapes << (&k == each.begin() ? "" : ", ") << k.index.sizes();
      throw IndexError(text("shape mismatch: indexing tensors could not be broadcast together with shapes ",
                            shapes.str()));
    }
    first = false;
  }
  Tensor out = empty(shape, DType::Int64);
  first = true;
  for (const PlaceIndex& i : each) {
    const Tensor index = contiguous(i.index.sizes() == shape ? i.index : expand(i.index, shape));
    launch(kNumbers, {&out}, {&index}, NumberAttrs{op, i.size, i.dim, negative, first});
    first = false;
  }
  return out;
}

Tensor place_numbers(const char* op, const Tensor& index, int64_t size, int dim, bool negative) {
  Small<PlaceIndex, 4> one;
  one.push_back({detach(index), size, dim});
  return place_numbers(op, one, negative);
}

bool are_within(const Tensor& numbers, int64_t size) {
  const Tensor outside = empty({(numbers.numel() + kGrain - 1) / kGrain}, DType::Int64);
  launch(kWithin, {&outside}, {&numbers}, WithinAttrs{size});
  const auto* p = outside.data<int64_t>();
  return std::all_of(p, p + outside.numel(), [](int64_t block) { return block >= 0; });
}

Dims picked_sizes(const Dims& sizes, const Places& at) {
  Dims out;
  for (int d = 0; d < at.first; ++d) out.push_back(sizes[d]);
  for (int64_t n : at.numbers.sizes()) out.push_back(n);
  for (int d = at.first + at.count; d < sizes.size(); ++d) out.push_back(sizes[d]);
  return out;
}

Tensor pick(const char* op, const Tensor& x, const Places& at) {
  Tensor y = empty(picked_sizes(x.sizes(), at), x.dtype());
  launch(kPick, {&y}, {&x, &at.numbers}, PlaceAttrs{at.first, at.count, PutMode::Set, at.distinct});
  if (!recording(x)) return y;
  return record(op, y, {&x}, [at, sizes = x.sizes()](const Tensor& g) { return spread(g, sizes, at); });
}

Tensor spread(const Tensor& g, const Dims& sizes, const Places& at) {
  Tensor y = zeros(sizes, g.dtype());
  {
    NoGrad no_grad;
    put_raw(y, at, contiguous(detach(g)), PutMode::Add);
  }
  if (!recording(g)) return y;
  return record("index_backward", y, {&g}, [at](const Tensor& gg) { return pick("index", gg, at); });
}

void put_raw(const Tensor& x, const Places& at, const Tensor& value, PutMode mode) {
  launch(kPut, {&x}, {&value, &at.numbers}, PlaceAttrs{at.first, at.count, mode, at.distinct});
}

const Tensor& put_(const char* op, const Tensor& x, const Places& at, const Tensor& value, PutMode mode,
                   const Dims& order) {
  before_write(op, x, recording(value));
  const bool recorded = recording(x, value);
  auto in_order = [order](const Tensor& t) { return order.empty() ? t : permute(t, order); };
  {
    NoGrad no_grad;
    Tensor v = contiguous(detach(value));
    if (v.impl()->storage.get() == x.impl()->storage.get()) v = clone(v);
    put_raw(in_order(detach(x)), at, v, mode);
  }
  if (!recorded) {
    x.count_write();
    return x;
  }
  Dims back = order;
  for (int i = 0; i < order.size(); ++i) back[static_cast<int>(order[i])] = i;
  return record_write(
      op, x, {&x, &value}, [at, mode, in_order, back, sizes = value.sizes()](const Tensor& g, Needs need) {
        const Tensor gp = in_order(g);
        Tensor dx = g;
        if (need[0] && mode == PutMode::Set) {
          dx = clear_at(gp, at);
          if (!back.empty()) dx = permute(dx, back);
        }
        return std::array{need[0] ? dx : Tensor(), need[1] ? sum_to(pick("index", gp, at), sizes) : Tensor()};
      });
}

}  // namespace chainrule
