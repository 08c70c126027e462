#include "core/loop.h"

#include <algorithm>
#include <cstring>

#include "core/parallel_for.h"
#include "kernels/convert.h"
#include "kernels/copy.h"

namespace chainrule {
namespace {

constexpr int kMaxOperands = 6;
constexpr int64_t kScratch =
    4096;  // bytes of an operand that pass through scratch at a time: in L1 with all operands
constexpr int64_t kLongRow = 64;   // rows from here on are walked one by one, shorter ones gathered together
constexpr int64_t kGrain = 32768;  // elements a thread takes at a time

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
  bool flat;    // its elements lie in the order of the walk
  bool single;  // one element for all
};

struct Plan {
  int ndim = 0;
  int64_t sizes[kMaxDims];
  Operand op[kMaxOperands];
  int outs, count;
  int64_t n;
  int64_t chunk;  // elements that pass through scratch at a time
  bool long_rows;
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
    for (int k = 0; k < count; ++k) {
      bool contiguous = true, zero = true;
      int64_t step = 1;
      for (int d = ndim - 1; d >= 0; --d) {
        contiguous = contiguous && op[k].strides[d] == step;
        zero = zero && op[k].strides[d] == 0;
        step *= sizes[d];
      }
      op[k].flat = contiguous && op[k].memory == op[k].kernel;
      op[k].single = zero && n > 1;
    }
    long_rows = ndim > 0 && sizes[ndim - 1] >= kLongRow;
    direct_rows = long_rows;
    for (int k = 0; k < count; ++k) {
      const int64_t stride = ndim > 0 ? op[k].strides[ndim - 1] : 0;
      direct_rows = direct_rows && ((stride == 1 && op[k].memory == op[k].kernel) ||
                                    (stride == 0 && k >= outs && takes_single));
    }
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
  int64_t left_in_row() const {
    return plan.ndim == 0 ? 1 : plan.sizes[plan.ndim - 1] - index[plan.ndim - 1];
  }
  void advance(int64_t steps) {  // within the row, at most to its end
    if (plan.ndim > 0) advance(plan.ndim - 1, steps);
  }
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

struct Scratch {
  alignas(64) char bytes[kMaxOperands][kScratch];
  const char* filled_from[kMaxOperands] = {};  // the single element that fills a row of scratch already
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

// Rows that pass through scratch on their way.
void run_rows(Loop loop, const Plan& p, int64_t begin, int64_t end, const double* params) {
  Scratch scratch;
  Position pos(p, begin);
  const int inner = p.ndim - 1;
  bool direct[kMaxOperands];
  LoopArgs args{{}, {}, {}, 0, params};
  for (int k = 0; k < p.count; ++k) {
    direct[k] = p.op[k].memory == p.op[k].kernel && p.op[k].strides[inner] == 1;
    if (k >= p.outs) args.single[k - p.outs] = p.takes_single && p.op[k].strides[inner] == 0;
  }
  for (int64_t at = begin; at < end;) {
    const int64_t n = std::min({pos.left_in_row(), end - at, p.chunk});
    args.n = n;
    for (int k = 0; k < p.count; ++k) {
      const Operand& op = p.op[k];
      void* where = direct[k] ? static_cast<void*>(pos.at(k)) : scratch.bytes[k];
      if (k < p.outs) {
        args.out[k] = where;
        continue;
      }
      args.in[k - p.outs] = where;
      if (direct[k]) continue;
      if (op.strides[inner] == 0) {
        if (scratch.filled_from[k] == pos.at(k)) continue;
        scratch.filled_from[k] = pos.at(k);
        if (args.single[k - p.outs])
          repeat_single(where, op.kernel, pos.at(k), op.memory);
        else
          gather(where, op.kernel, pos.at(k), op.memory, 0, p.chunk);
      } else {
        gather(where, op.kernel, pos.at(k), op.memory, op.strides[inner], n);
      }
    }
    loop(args);
    for (int k = 0; k < p.outs; ++k)
      if (!direct[k])
        scatter(pos.at(k), p.op[k].memory, p.op[k].strides[inner], args.out[k], p.op[k].kernel, n);
    pos.advance(n);
    at += n;
  }
}

// Short rows: a chunk spans several of them.
void run_chunks(Loop loop, const Plan& p, int64_t begin, int64_t end, const double* params) {
  Scratch scratch;
  Position pos(p, begin);
  LoopArgs args{{}, {}, {}, 0, params};
  for (int k = p.outs; k < p.count; ++k) {
    const Operand& op = p.op[k];
    if (!op.single || op.flat) continue;
    args.single[k - p.outs] = p.takes_single;
    if (p.takes_single)
      repeat_single(scratch.bytes[k], op.kernel, op.data, op.memory);
    else
      gather(scratch.bytes[k], op.kernel, op.data, op.memory, 0, p.chunk);
  }
  const int inner = p.ndim - 1;
  auto each_row = [&](Position from, int64_t n, auto&& body) {
    for (int64_t done = 0; done < n;) {
      const int64_t step = std::min(from.left_in_row(), n - done);
      body(from, done, step);
      from.advance(step);
      done += step;
    }
  };
  for (int64_t at = begin; at < end; at += p.chunk) {
    const int64_t n = std::min(p.chunk, end - at);
    args.n = n;
    for (int k = 0; k < p.count; ++k) {
      const Operand& op = p.op[k];
      void* where = op.flat ? static_cast<void*>(op.data + at * static_cast<int64_t>(size_of(op.memory)))
                            : scratch.bytes[k];
      if (k < p.outs) {
        args.out[k] = where;
        continue;
      }
      args.in[k - p.outs] = where;
      if (op.flat || op.single) continue;
      const auto bytes = static_cast<int64_t>(size_of(op.kernel));
      each_row(pos, n, [&](const Position& from, int64_t done, int64_t step) {
        gather(scratch.bytes[k] + done * bytes, op.kernel, from.at(k), op.memory,
               inner < 0 ? 1 : op.strides[inner], step);
      });
    }
    loop(args);
    for (int k = 0; k < p.outs; ++k) {
      const Operand& op = p.op[k];
      if (op.flat) continue;
      const auto bytes = static_cast<int64_t>(size_of(op.kernel));
      each_row(pos, n, [&](const Position& to, int64_t done, int64_t step) {
        scatter(to.at(k), op.memory, inner < 0 ? 1 : op.strides[inner], scratch.bytes[k] + done * bytes,
                op.kernel, step);
      });
    }
    for (int64_t left = n; left > 0;) {
      const int64_t step = std::min(pos.left_in_row(), left);
      pos.advance(step);
      left -= step;
    }
  }
}

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
  neutral::parallel_for(args.n, kGrain, [&](int64_t begin, int64_t end) {
    LoopArgs part = args;
    for (int k = 0; k < s.out_count; ++k)
      part.out[k] = static_cast<char*>(args.out[k]) + begin * static_cast<int64_t>(size_of(s.out_types[k]));
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
  const Plan plan(spec);
  if (plan.n == 0) return;
  neutral::parallel_for(plan.n, kGrain, [&](int64_t begin, int64_t end) {
    const auto run = plan.direct_rows ? run_direct_rows : plan.long_rows ? run_rows : run_chunks;
    run(loop, plan, begin, end, spec.params);
  });
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
  StridedCopyArgs args{plan.op[0].data, plan.op[1].data, bytes, std::max(plan.ndim, 1), {1}, {1}, {1}};
  for (int d = 0; d < plan.ndim; ++d) {
    args.sizes[d] = plan.sizes[d];
    args.dst_strides[d] = plan.op[0].strides[d];
    args.src_strides[d] = plan.op[1].strides[d];
  }
  kernels::strided_copy(args);
}

}  // namespace chainrule
