#include "ops/index.h"

#include <algorithm>
#include <cstring>

#include "autograd/record.h"
#include "core/loop.h"
#include "core/shape_checks.h"
#include "ops/elementwise.h"
#include "ops/fill.h"
#include "ops/pick.h"
#include "ops/views.h"

namespace chainrule {
namespace {

bool is_mask(const Tensor& t) { return t.dtype() == DType::Bool || t.dtype() == DType::UInt8; }

// An index after its integers, slices and None were applied: a view, and tensors over some of its dimensions.
struct Taken {
  Tensor view;
  Small<PlaceIndex, 4> tensors;  // dim: of the view
};

int dims_used(const Index& i) {
  switch (i.kind) {
    case Index::Kind::Int:
    case Index::Kind::Slice: return 1;
    case Index::Kind::Tensor: return is_mask(i.tensor) ? i.tensor.dim() : 1;
    default: return 0;
  }
}

// A mask or integers over the view's dimensions from d on; returns how many.
int add_tensor(Taken& t, const Tensor& index, int d) {
  if (!is_mask(index)) {
    t.tensors.push_back({detach(index), t.view.size(d), d});
    return 1;
  }
  int64_t size = 1;
  for (int k = 0; k < index.dim(); ++k) {
    CR_CHECK_INDEX(index.size(k) == t.view.size(d + k), "The shape of the mask ", index.sizes(), " at index ",
                   k, " does not match the shape of the indexed tensor ", t.view.sizes(), " at index ",
                   d + k);
    size *= index.size(k);
  }
  t.tensors.push_back({to_dtype(detach(index), DType::Bool), size, d});
  return index.dim();
}

Taken take(const Tensor& x, const IndexList& list) {
  int used = 0, ellipses = 0;
  for (const Index& i : list) {
    used += dims_used(i);
    ellipses += i.kind == Index::Kind::Ellipsis;
  }
  CR_CHECK_INDEX(ellipses <= 1, "an index can only have a single ellipsis ('...')");
  CR_CHECK_INDEX(used <= x.dim(), "too many indices for tensor of dimension ", x.dim());
  Taken t{x, {}};
  int d = 0, source = 0;  // dimension of the view, and of x
  for (const Index& i : list) {
    switch (i.kind) {
      case Index::Kind::None: t.view = unsqueeze(t.view, d++); break;
      case Index::Kind::Ellipsis:
        d += x.dim() - used;
        source += x.dim() - used;
        break;
      case Index::Kind::Int: {
        const int64_t n = t.view.size(d);
        CR_CHECK_INDEX(i.start >= -n && i.start < n, "index: index ", i.start,
                       " is out of bounds for dimension ", source, " with size ", n);
        t.view = select(t.view, d, i.start);
        ++source;
        break;
      }
      case Index::Kind::Slice:
        if (i.start != 0 || i.stop < t.view.size(d) || i.step != 1)
          t.view = slice(t.view, d, i.start, i.stop, i.step);
        ++d, ++source;
        break;
      case Index::Kind::Bool: {
        t.view = unsqueeze(t.view, d);
        Tensor mask = empty({1}, DType::Bool);
        *mask.data<bool>() = i.start != 0;
        d += add_tensor(t, mask, d);
        break;
      }
      case Index::Kind::Tensor: {
        const int n = add_tensor(t, i.tensor, d);
        d += n, source += n;
        break;
      }
    }
  }
  return t;
}

int dims_of(const PlaceIndex& i) { return i.index.dtype() == DType::Bool ? i.index.dim() : 1; }

// The indexed dimensions as one run: NumPy's rule is that they stay where they are when they are neighbours,
// and go to the front otherwise.
struct Advanced {
  Dims order;  // of the view's dimensions; empty when they are in order
  Places at;

  Advanced(const char* op, const Tensor& view, const Small<PlaceIndex, 4>& tensors) {
    Dims indexed;
    bool neighbours = true;
    for (const PlaceIndex& i : tensors)
      for (int k = 0; k < dims_of(i); ++k) {
        neighbours = neighbours && (indexed.empty() || indexed.back() == i.dim + k - 1);
        indexed.push_back(i.dim + k);
      }
    at.first = neighbours && !indexed.empty() ? static_cast<int>(indexed[0]) : 0;
    at.count = indexed.size();
    at.distinct = tensors.size() == 1 && tensors[0].index.dtype() == DType::Bool;
    at.numbers = place_numbers(op, tensors);
    if (neighbours) return;
    order = indexed;
    for (int d = 0; d < view.dim(); ++d)
      if (!indexed.contains(d)) order.push_back(d);
  }
};

Tensor without_leading_ones(const Tensor& value, int dims) {
  int extra = 0;
  while (value.dim() - extra > dims && value.size(extra) == 1) ++extra;
  if (extra == 0) return value;
  Dims leading;
  for (int d = 0; d < extra; ++d) leading.push_back(d);
  return squeeze(value, leading);
}

void put(const char* op, const Tensor& view, const Advanced& a, const Tensor& value, PutMode mode) {
  Dims sizes = view.sizes();
  for (int d = 0; d < a.order.size(); ++d) sizes[d] = view.size(static_cast<int>(a.order[d]));
  sizes = picked_sizes(sizes, a.at);
  const Tensor v = without_leading_ones(value, sizes.size());
  CR_CHECK(v.dim() <= sizes.size() && broadcast_shapes(op, v.sizes(), sizes) == sizes, op,
           ": shape mismatch: value tensor of shape ", value.sizes(),
           " cannot be broadcast to indexing result of shape ", sizes);
  put_(op, view, a.at, v.numel() == 1 ? v : contiguous(expand(v, sizes)), mode, a.order);
}

}  // namespace

Tensor index_get(const Tensor& x, const IndexList& list) {
  const Taken t = take(x, list);
  if (t.tensors.empty()) return t.view.same(x) ? view_as_alias(x) : t.view;
  const Advanced a("index", t.view, t.tensors);
  return pick("index", a.order.empty() ? t.view : permute(t.view, a.order), a.at);
}

void index_set(const Tensor& x, const IndexList& list, const Tensor& value) {
  const Taken t = take(x, list);
  if (t.tensors.empty()) {
    const Tensor& view = t.view;
    // x[i] += y ends in x[i] = x[i]: what was written already is not written again.
    const AutogradMeta *m = view.impl()->autograd, *v = value.impl()->autograd;
    if (value.bytes() == view.bytes() && value.sizes() == view.sizes() && value.strides() == view.strides() &&
        value.dtype() == view.dtype() &&
        (!recording(view, value) || (m && m->view && v && v->view && m->view->base.same(v->view->base))))
      return;
    copy_(view, without_leading_ones(value, view.dim()));
    return;
  }
  const PlaceIndex& only = t.tensors[0];
  if (t.tensors.size() == 1 && only.index.dtype() == DType::Bool && value.dim() == 0) {
    Tensor mask = only.index;
    for (int d = only.dim + mask.dim(); d < t.view.dim(); ++d) mask = unsqueeze(mask, -1);
    masked_fill_(t.view, mask, value);
    return;
  }
  put("index_put", t.view, Advanced("index", t.view, t.tensors), to_dtype(value, x.dtype()), PutMode::Set);
}

const Tensor& index_put_(const Tensor& x, const std::vector<Tensor>& indices, const Tensor& value,
                         bool accumulate) {
  CR_CHECK(value.dtype() == x.dtype(),
           "index_put_: Index put requires the source and destination dtypes match, got ", name_of(x.dtype()),
           " for the destination and ", name_of(value.dtype()), " for the source.");
  CR_CHECK_INDEX(!indices.empty(), "index_put_: expects at least one index");
  IndexList list;
  for (const Tensor& i : indices) {
    CR_CHECK_INDEX(!i.defined() || !i.is_floating(),
                   "tensors used as indices must be int64, int32, uint8 or bool tensors, got ",
                   i.defined() ? name_of(i.dtype()) : "");
    Index entry;
    entry.kind = i.defined() ? Index::Kind::Tensor : Index::Kind::Slice;
    entry.stop = INT64_MAX;
    entry.tensor = i;
    list.push_back(std::move(entry));
  }
  const Taken t = take(x, list);
  put("index_put_", x, Advanced("index_put_", x, t.tensors), value, accumulate ? PutMode::Add : PutMode::Set);
  return x;
}

// ---- masked_fill ----

namespace {

template <class T> void fill_loop(const LoopArgs& a) {
  T* y = static_cast<T*>(a.out[0]);
  const T* x = static_cast<const T*>(a.in[0]);
  const auto* mask = static_cast<const uint8_t*>(a.in[1]);
  T v;
  std::memcpy(&v, a.params, sizeof(T));
  for (int64_t i = 0; i < a.n; ++i) y[i] = mask[i] ? v : x[i];
}

void run_masked_fill(const Launch& l) {
  const Tensor& y = l.out(0);
  double bits = 0;
  std::memcpy(&bits, l.in(2).bytes(), y.item_bytes());
  LoopSpec spec;
  spec.outs[0] = &y;
  spec.ins[0] = &l.in(0);
  spec.ins[1] = &l.in(1);
  spec.in_count = 2;
  spec.out_types[0] = spec.in_types[0] = y.dtype();
  spec.in_types[1] = DType::Bool;
  spec.params = &bits;
  const Loop loop = y.item_bytes() == 1   ? fill_loop<uint8_t>
                    : y.item_bytes() == 4 ? fill_loop<uint32_t>
                                          : fill_loop<uint64_t>;
  run_loop(loop, spec);
}
const Primitive kMaskedFill{"masked_fill", run_masked_fill, 0};

Tensor checked_fill_value(const char* op, const Tensor& x, const Tensor& mask, const Tensor& value) {
  CR_CHECK(mask.dtype() == DType::Bool, op, ": expected the mask to be a bool tensor, but got ",
           name_of(mask.dtype()));
  CR_CHECK(value.dim() == 0, op, ": only supports a 0-dimensional value tensor, but got tensor with ",
           value.dim(), " dimension(s).");
  return to_dtype(value, x.dtype());
}

auto masked_fill_closure(const Tensor& x, const Tensor& mask) {
  return [m = saved(mask), sizes = x.sizes()](const Tensor& g, Needs need) {
    return std::array{need[0] ? sum_to(masked_fill(g, *m, number(0, g.dtype())), sizes) : Tensor(),
                      need[1] ? sum_to(where(*m, g, number(0, g.dtype())), {}) : Tensor()};
  };
}

}  // namespace

Tensor masked_fill(const Tensor& x, const Tensor& mask, const Tensor& value) {
  const Tensor v = checked_fill_value("masked_fill", x, mask, value);
  Tensor y = empty(broadcast_shapes("masked_fill", x.sizes(), mask.sizes()), x.dtype());
  launch(kMaskedFill, {&y}, {&x, &mask, &v});
  if (!recording(x, v)) return y;
  return record("masked_fill", y, {&x, &v}, masked_fill_closure(x, mask));
}

const Tensor& masked_fill_(const Tensor& x, const Tensor& mask, const Tensor& value) {
  const Tensor v = checked_fill_value("masked_fill_", x, mask, value);
  const Dims shape = broadcast_shapes("masked_fill_", x.sizes(), mask.sizes());
  CR_CHECK(shape == x.sizes(), "masked_fill_: output with shape ", x.sizes(),
           " doesn't match the broadcast shape ", shape);
  before_write("masked_fill_", x, recording(v));
  check_no_partial_overlap("masked_fill_", x, mask);
  const bool recorded = recording(x, v);
  launch(kMaskedFill, {&x}, {&x, &mask, &v});
  if (!recorded) {
    x.count_write();
    return x;
  }
  return record_write("masked_fill", x, {&x, &v}, masked_fill_closure(x, mask));
}

}  // namespace chainrule
