#include "core/loop.h"

#include <algorithm>
#include <cstring>

#include "core/parallel_for.h"
#include "kernels/convert.h"
#include "kernels/copy.h"

namespace chainrule {
namespace {

constexpr int kMaxOperands = 6;
// Bytes of an operand that pass through scratch at a time, in L1 with all operands; of a transpose twice as many.
constexpr int64_t kScratch = 4096;
constexpr int64_t kLongRow = 64;   // the loop takes rows from here on one by one, shorter ones together
constexpr int64_t kTileRows = 16;  // of a transpose: it reads and writes whole cache lines
constexpr int64_t kGrain = 32768;  // elements a thread takes at a time, at most
constexpr int64_t kGrainUnit = 1024;

Loop converter(DType to, DType from) {
  static const ConvertLoops table = [] {
    ConvertLoops t;
    kernels::fill_convert_loops({&t});
    return t;
  }();
  return table.loop[static_cast<int>(to)][static_cast<int>(from)];
}

template <class To, class From> void convert(void* dst, const char* src, int64_t stride, int64_t n) {
  To* d = static_cast<To*>(dst);
  const From* s = reinterpret_cast<const From*>(src);
  if (stride == 0) {
    const To v = static_cast<To>(*s);
    for (int64_t i = 0; i < n; ++i) d[i] = v;
  } else {
    for (int64_t i = 0; i < n; ++i) d[i] = static_cast<To>(s[i * stride]);
  }
}

// dst[i] = src[i], converted.
void convert_flat(void* dst, DType to, const void* src, DType from, int64_t n) {
  if (to == from) {
    std::memcpy(dst, src, static_cast<size_t>(n) * size_of(to));
  } else {
    converter(to, from)({{dst}, {src}, {}, n, nullptr});
  }
}

// dst[i] = src[i * stride], converted.
void gather(void* dst, DType to, const char* src, DType from, int64_t stride, int64_t n) {
  if (stride == 1) return convert_flat(dst, to, src, from, n);
  visit_dtype(to, [&](auto t) {
    visit_dtype(from, [&](auto f) { convert<decltype(t), decltype(f)>(dst, src, stride, n); });
  });
}

void scatter(char* dst, DType to, int64_t stride, const void* src, DType from, int64_t n) {
  if (stride == 1) return convert_flat(dst, to, src, from, n);
  visit_dtype(to, [&](auto t) {
    using To = decltype(t);
    visit_dtype(from, [&](auto f) {
      using From = decltype(f);
      To* d = reinterpret_cast<To*>(dst);
      const From* s = static_cast<const From*>(src);
      for (int64_t i = 0; i < n; ++i) d[i * stride] = static_cast<To>(s[i]);
    });
  });
}

// The element at src, converted, as often as a vector has room for it.
void repeat_single(void* dst, DType to, const char* src, DType from) {
  gather(dst, to, src, from, 0, kSingleBytes / static_cast<int64_t>(size_of(to)));
}

struct Operand {
  char* data;
  DType memory, kernel;  // types
  int64_t strides[kMaxDims];
};

struct Plan {
  int ndim = 0;
  int64_t sizes[kMaxDims];
  Operand op[kMaxOperands];
  int outs, count;
  int64_t n;
  int64_t chunk;     // elements that pass through scratch at a time
  bool direct_rows;  // that the loop can take as they lie
  bool takes_single;

  Plan(const LoopSpec& spec) {
    outs = spec.out_count;
    count = outs + spec.in_count;
    const Tensor& shape = *spec.outs[0];
    n = shape.numel();
    takes_single = spec.takes_single;
    ndim = shape.dim();
    for (int d = 0; d < ndim; ++d) sizes[d] = shape.size(d);
    size_t widest = 1;
    for (int k = 0; k < count; ++k) {
      const Tensor& t = k < outs ? *spec.outs[k] : *spec.ins[k - outs];
      op[k].data = t.bytes();
      op[k].memory = t.dtype();
      op[k].kernel = k < outs ? spec.out_types[k] : spec.in_types[k - outs];
      widest = std::max(widest, size_of(op[k].kernel));
      for (int d = 0; d < ndim; ++d) {
        const int own = d - (ndim - t.dim());
        op[k].strides[d] = own < 0 || (t.size(own) == 1 && sizes[d] != 1) ? 0 : t.stride(own);
      }
    }
    chunk = kScratch / static_cast<int64_t>(widest);
    order_dimensions();
    merge_dimensions();
    direct_rows = sizes[ndim - 1] >= kLongRow;
    for (int k = 0; k < count; ++k) {
      const int64_t stride = op[k].strides[ndim - 1];
      direct_rows = direct_rows && ((stride == 1 && op[k].memory == op[k].kernel) ||
                                    (stride == 0 && k >= outs && takes_single));
    }
  }
  // Moves the dimension in which an operand is contiguous next to the last, so that tiles transpose it. Is there one?
  bool lift_column() {
    for (int k = 0; k < count; ++k) {
      const auto& strides = op[k].strides;
      if (strides[ndim - 1] == 0 || strides[ndim - 1] == 1) continue;
      for (int d = 0; d + 1 < ndim; ++d) {
        if (strides[d] != 1) continue;
        std::rotate(sizes + d, sizes + d + 1, sizes + ndim - 1);
        for (int i = 0; i < count; ++i)
          std::rotate(op[i].strides + d, op[i].strides + d + 1, op[i].strides + ndim - 1);
        return true;
      }
    }
    return false;
  }

 private:
  // The output's largest stride goes outermost, so that permuted but dense tensors are walked as memory lies.
  void order_dimensions() {
    for (int d = 1; d < ndim; ++d)
      for (int e = d; e > 0 && std::abs(op[0].strides[e - 1]) < std::abs(op[0].strides[e]) && sizes[e] != 1 &&
                      sizes[e - 1] != 1;
           --e) {
        std::swap(sizes[e - 1], sizes[e]);
        for (int k = 0; k < count; ++k) std::swap(op[k].strides[e - 1], op[k].strides[e]);
      }
  }
  void merge_dimensions() {
    int kept = 0;
    for (int d = 0; d < ndim; ++d) {
      if (sizes[d] == 1) continue;
      bool merges = kept > 0;
      for (int k = 0; merges && k < count; ++k)
        merges = op[k].strides[kept - 1] == op[k].strides[d] * sizes[d];
      if (merges) {
        sizes[kept - 1] *= sizes[d];
        for (int k = 0; k < count; ++k) op[k].strides[kept - 1] = op[k].strides[d];
      } else {
        sizes[kept] = sizes[d];
        for (int k = 0; k < count; ++k) op[k].strides[kept] = op[k].strides[d];
        ++kept;
      }
    }
    ndim = kept;
    if (ndim > 0) return;
    ndim = 1;
    sizes[0] = 1;
    for (int k = 0; k < count; ++k) op[k].strides[0] = 1;
  }
};

// A position in the walk, as an index a dimension.
struct Position {
  const Plan& plan;
  int64_t index[kMaxDims];
  int64_t offset[kMaxOperands];

  Position(const Plan& p, int64_t at) : plan(p) {
    for (int k = 0; k < p.count; ++k) offset[k] = 0;
    for (int d = p.ndim - 1; d >= 0; --d) {
      index[d] = at % p.sizes[d];
      at /= p.sizes[d];
      for (int k = 0; k < p.count; ++k) offset[k] += index[d] * p.op[k].strides[d];
    }
  }
  int64_t left_in_row() const { return plan.sizes[plan.ndim - 1] - index[plan.ndim - 1]; }
  void advance(int d, int64_t steps) {  // in dimension d, at most to its end
    index[d] += steps;
    for (int k = 0; k < plan.count; ++k) offset[k] += steps * plan.op[k].strides[d];
    while (d > 0 && index[d] == plan.sizes[d]) {
      for (int k = 0; k < plan.count; ++k)
        offset[k] += plan.op[k].strides[d - 1] - plan.sizes[d] * plan.op[k].strides[d];
      index[d] = 0;
      ++index[--d];
    }
  }
  char* at(int k) const {
    return plan.op[k].data + offset[k] * static_cast<int64_t>(size_of(plan.op[k].memory));
  }
};

// Rows that the loop takes as they lie in memory: only pointers step from one to the next.
void run_direct_rows(Loop loop, const Plan& p, int64_t begin, int64_t end, const double* params) {
  alignas(64) char singles[kMaxOperands][kSingleBytes];
  const int inner = p.ndim - 1;
  LoopArgs args{{}, {}, {}, 0, params};
  int64_t step[kMaxOperands];
  for (int k = 0; k < p.count; ++k) {
    step[k] = inner > 0 ? p.op[k].strides[inner - 1] * static_cast<int64_t>(size_of(p.op[k].memory)) : 0;
    if (k >= p.outs) args.single[k - p.outs] = p.op[k].strides[inner] == 0;
  }
  Position pos(p, begin);
  for (int64_t at = begin; at < end;) {
    args.n = std::min(pos.left_in_row(), end - at);
    const bool whole = inner > 0 && args.n == p.sizes[inner];
    const int64_t rows = whole ? std::min(p.sizes[inner - 1] - pos.index[inner - 1], (end - at) / args.n) : 1;
    char* first[kMaxOperands];
    for (int k = 0; k < p.count; ++k) first[k] = pos.at(k);
    for (int64_t row = 0; row < rows; ++row) {
      for (int k = 0; k < p.count; ++k) {
        char* where = first[k] + row * step[k];
        if (k < p.outs) {
          args.out[k] = where;
        } else if (!args.single[k - p.outs]) {
          args.in[k - p.outs] = where;
        } else if (row == 0 || step[k] != 0) {
          repeat_single(singles[k], p.op[k].kernel, where, p.op[k].memory);
          args.in[k - p.outs] = singles[k];
        }
      }
      loop(args);
    }
    if (whole)
      pos.advance(inner - 1, rows);
    else
      pos.advance(inner, args.n);
    at += rows * args.n;
  }
}

// The plan cut into tiles, for operands that pass through scratch on their way: dimensions from `first` on, of which
// `first` is cut and, where rows are long, the last.
struct Tiles {
  const Plan& p;
  int first, inner;
  bool long_rows;
  int64_t cut[kMaxDims], tiles[kMaxDims], count = 1, size = 1;
  bool direct[kMaxOperands];  // the loop takes it as it lies in a tile
  bool single[kMaxOperands];  // one element for each call
  bool same[kMaxOperands];    // one element for all, which the loop wants repeated

  Tiles(const Plan& plan, bool transpose) : p(plan), first(plan.ndim - 1), inner(plan.ndim - 1) {
    long_rows = p.sizes[inner] >= kLongRow;
    for (int d = 0; d < p.ndim; ++d) cut[d] = 1;
    if (long_rows) {
      const int64_t most = transpose ? kTileRows : std::max<int64_t>(1, p.chunk / p.sizes[inner]);
      const int64_t rows = inner > 0 ? std::min(most, p.sizes[inner - 1]) : 1;
      if (inner > 0) cut[--first] = rows;
      cut[inner] = std::min(p.sizes[inner], (transpose ? 2 : 1) * p.chunk / rows);
    } else {
      int64_t whole = 1;
      for (; first > 0 && whole * p.sizes[first] < p.chunk; --first) whole *= cut[first] = p.sizes[first];
      cut[first] = std::min(p.sizes[first], p.chunk / whole);
    }
    for (int d = 0; d < p.ndim; ++d) {
      tiles[d] = (p.sizes[d] + cut[d] - 1) / cut[d];
      count *= tiles[d];
      size *= cut[d];
    }
    for (int k = 0; k < p.count; ++k) {
      const Operand& op = p.op[k];
      direct[k] = op.memory == op.kernel;
      single[k] = k >= p.outs && p.takes_single;
      same[k] = k >= p.outs && !p.takes_single;
      for (int d = 0; d < p.ndim; ++d) same[k] = same[k] && op.strides[d] == 0;
      int64_t step = 1;
      for (int d = inner; d >= (long_rows ? inner : first); --d) {
        direct[k] = direct[k] && op.strides[d] == step;
        single[k] = single[k] && op.strides[d] == 0;
        step *= p.sizes[d];
      }
    }
  }
  void run(Loop loop, int64_t begin, int64_t end, const double* params) const {
    alignas(64) char scratch[kMaxOperands][2 * kScratch];
    for (int k = p.outs; k < p.count; ++k)
      if (same[k]) gather(scratch[k], p.op[k].kernel, p.op[k].data, p.op[k].memory, 0, size);
    for (int64_t t = begin; t < end; ++t) {
      StridedCopyArgs shape;  // of the tile, and the strides of scratch
      shape.ndim = p.ndim - first;
      char* at[kMaxOperands];
      for (int k = 0; k < p.count; ++k) at[k] = p.op[k].data;
      int64_t rest = t, n = 1;
      for (int d = inner; d >= 0; --d) {
        const int64_t i = rest % tiles[d] * cut[d];
        rest /= tiles[d];
        for (int k = 0; k < p.count; ++k)
          at[k] += i * p.op[k].strides[d] * static_cast<int64_t>(size_of(p.op[k].memory));
        if (d < first) continue;
        shape.sizes[d - first] = std::min(cut[d], p.sizes[d] - i);
        shape.dst_strides[d - first] = n;
        n *= shape.sizes[d - first];
      }
      for (int k = p.outs; k < p.count; ++k)
        if (!direct[k] && !single[k] && !same[k]) move(shape, k, at[k], scratch[k], false);
      LoopArgs args{{}, {}, {}, long_rows ? shape.sizes[inner - first] : n, params};
      for (int64_t row = 0; row < n / args.n; ++row) {
        for (int k = 0; k < p.count; ++k) {
          const Operand& op = p.op[k];
          char* where = at[k] + row * op.strides[first] * static_cast<int64_t>(size_of(op.memory));
          if (single[k]) {
            repeat_single(scratch[k], op.kernel, where, op.memory);
            where = scratch[k];
          } else if (!direct[k]) {
            where = scratch[k] + row * args.n * static_cast<int64_t>(size_of(op.kernel));
          }
          if (k < p.outs) {
            args.out[k] = where;
          } else {
            args.in[k - p.outs] = where;
            args.single[k - p.outs] = single[k];
          }
        }
        loop(args);
      }
      for (int k = 0; k < p.outs; ++k)
        if (!direct[k]) move(shape, k, at[k], scratch[k], true);
    }
  }

 private:
  // An operand's part of a tile to scratch, or back.
  void move(const StridedCopyArgs& shape, int k, char* at, char* scratch, bool back) const {
    const Operand& op = p.op[k];
    if (op.memory == op.kernel) {
      StridedCopyArgs a;
      a.element_bytes = static_cast<int>(size_of(op.memory));
      a.dst = back ? at : scratch;
      a.src = back ? scratch : at;
      a.ndim = shape.ndim;
      for (int d = 0; d < a.ndim; ++d) {
        a.sizes[d] = shape.sizes[d];
        (back ? a.src_strides : a.dst_strides)[d] = shape.dst_strides[d];
        (back ? a.dst_strides : a.src_strides)[d] = op.strides[first + d];
      }
      return kernels::strided_copy(a);
    }
    const int last = shape.ndim - 1;
    const int64_t n = shape.sizes[last], rows = shape.sizes[0] * shape.dst_strides[0] / n;
    for (int64_t row = 0; row < rows; ++row, scratch += n * static_cast<int64_t>(size_of(op.kernel))) {
      int64_t rest = row, offset = 0;
      for (int d = last - 1; d >= 0; rest /= shape.sizes[d--])
        offset += rest % shape.sizes[d] * op.strides[first + d];
      char* where = at + offset * static_cast<int64_t>(size_of(op.memory));
      if (back)
        scatter(where, op.memory, op.strides[inner], scratch, op.kernel, n);
      else
        gather(scratch, op.kernel, where, op.memory, op.strides[inner], n);
    }
  }
};

// One element, also when it is expanded.
bool is_single(const Tensor& t) {
  if (t.numel() == 1) return true;
  for (int d = 0; d < t.dim(); ++d)
    if (t.stride(d) != 0 && t.size(d) != 1) return false;
  return t.numel() > 0;
}

// Contiguous tensors of one shape, and single elements where the loop takes them, need no plan: the case of nearly every
// small op.
bool run_simple(Loop loop, const LoopSpec& s) {
  const Tensor& first = *s.outs[0];
  LoopArgs args{{}, {}, {}, first.numel(), s.params};
  alignas(64) char singles[4][kSingleBytes];
  for (int k = 0; k < s.out_count; ++k) {
    const Tensor& t = *s.outs[k];
    if (!t.is_contiguous() || t.dtype() != s.out_types[k]) return false;
    args.out[k] = t.bytes();
  }
  for (int k = 0; k < s.in_count; ++k) {
    const Tensor& t = *s.ins[k];
    args.in[k] = t.bytes();
    if (t.is_contiguous() && t.dtype() == s.in_types[k] && t.numel() == args.n && t.sizes() == first.sizes())
      continue;
    if (!s.takes_single || args.n == 1 || !is_single(t)) return false;
    repeat_single(singles[k], s.in_types[k], t.bytes(), t.dtype());
    args.in[k] = singles[k];
    args.single[k] = true;
  }
  if (args.n <= kGrain) {
    if (args.n > 0) loop(args);
    return true;
  }
  neutral::parallel_for(
      args.n, neutral::even_grain(args.n, kGrain, kGrainUnit), [&](int64_t begin, int64_t end) {
        LoopArgs part = args;
        for (int k = 0; k < s.out_count; ++k)
          part.out[k] =
              static_cast<char*>(args.out[k]) + begin * static_cast<int64_t>(size_of(s.out_types[k]));
        for (int k = 0; k < s.in_count; ++k)
          if (!args.single[k])
            part.in[k] =
                static_cast<const char*>(args.in[k]) + begin * static_cast<int64_t>(size_of(s.in_types[k]));
        part.n = end - begin;
        loop(part);
      });
  return true;
}

}  // namespace

void run_loop(Loop loop, const LoopSpec& spec) {
  if (run_simple(loop, spec)) return;
  Plan plan(spec);
  if (plan.n == 0) return;
  if (plan.direct_rows) {
    neutral::parallel_for(
        plan.n, neutral::even_grain(plan.n, kGrain, kGrainUnit),
        [&](int64_t begin, int64_t end) { run_direct_rows(loop, plan, begin, end, spec.params); });
    return;
  }
  const bool transpose = plan.lift_column();
  const Tiles tiles(plan, transpose);
  neutral::parallel_for(tiles.count, std::max<int64_t>(1, kGrain / tiles.size),
                        [&](int64_t begin, int64_t end) { tiles.run(loop, begin, end, spec.params); });
}

void copy_elements(const Tensor& dst, const Tensor& src) {
  const auto bytes = static_cast<int>(size_of(dst.dtype()));
  LoopSpec spec;
  spec.outs[0] = &dst;
  spec.ins[0] = &src;
  spec.in_count = 1;
  spec.out_types[0] = dst.dtype();
  spec.in_types[0] = src.dtype();
  if (dst.dtype() != src.dtype()) return run_loop(converter(dst.dtype(), src.dtype()), spec);
  const Plan plan(spec);
  if (plan.n == 0) return;
  static_assert(kCopyDims >= kMaxDims);
  StridedCopyArgs args{plan.op[0].data, plan.op[1].data, bytes, plan.ndim, {}, {}, {}};
  for (int d = 0; d < plan.ndim; ++d) {
    args.sizes[d] = plan.sizes[d];
    args.dst_strides[d] = plan.op[0].strides[d];
    args.src_strides[d] = plan.op[1].strides[d];
  }
  kernels::strided_copy(args);
}

}  // namespace chainrule
