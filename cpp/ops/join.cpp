#include "ops/join.h"

#include "autograd/accumulate.h"
#include "autograd/mode.h"
#include "autograd/record.h"
#include "core/loop.h"
#include "core/scalar.h"
#include "ops/elementwise.h"
#include "ops/views.h"

namespace chainrule {
namespace {

struct CatAttrs { int dim; };

void run_cat(const Launch& l) {
  const int d = l.attrs<CatAttrs>().dim;
  const Tensor& out = l.out(0);
  int64_t start = 0;
  for (int i = 0; i < l.in_count; ++i) {
    Dims sizes = out.sizes();
    sizes[d] = l.in(i).sizes()[d];
    copy_elements(alias(out, sizes, out.strides(), start * out.stride(d)), l.in(i));
    start += sizes[d];
  }
}
const Primitive kCat{"cat", run_cat, sizeof(CatAttrs)};

// As in the early days of the field, an empty vector joins anything.
bool is_nothing(const Tensor& t) { return t.dim() == 1 && t.numel() == 0; }

}  // namespace

Tensor cat(const std::vector<Tensor>& tensors, int64_t dim) {
  CR_CHECK_VALUE(!tensors.empty(), "cat: expected a non-empty list of Tensors");
  const Tensor* first = nullptr;
  DType dtype = tensors[0].dtype();
  for (const Tensor& t : tensors) {
    dtype = promote_types(dtype, t.dtype());
    if (first == nullptr && !is_nothing(t)) first = &t;
  }
  if (first == nullptr) first = &tensors[0];
  CR_CHECK(first->dim() > 0, "cat: zero-dimensional tensor (at position 0) cannot be concatenated");
  const int d = check_dim("cat", dim, first->dim());
  Dims sizes = first->sizes();
  sizes[d] = 0;
  std::vector<const Tensor*> parts;
  for (size_t i = 0; i < tensors.size(); ++i) {
    const Tensor& t = tensors[i];
    if (is_nothing(t) && first->dim() != 1) continue;
    CR_CHECK(t.dim() == first->dim(), "cat: tensors must have the same number of dimensions, got shape ",
             first->sizes(), " and, at position ", i, ", ", t.sizes());
    for (int k = 0; k < t.dim(); ++k)
      CR_CHECK(k == d || t.size(k) == sizes[k], "cat: sizes must match except in dimension ", d, ", got ",
               first->sizes(), " and, at position ", i, ", ", t.sizes());
    sizes[d] += t.size(d);
    parts.push_back(&t);
  }
  Tensor y = empty(sizes, dtype);
  const Tensor* out = &y;
  const CatAttrs attrs{d};
  launch({kCat, &out, parts.data(), 1, static_cast<int>(parts.size()), &attrs});
  if (!recording(tensors)) return y;
  std::vector<std::pair<Dims, DType>> shapes;
  for (const Tensor& t : tensors) shapes.emplace_back(t.sizes(), t.dtype());
  return record("cat", y, tensors, [shapes = std::move(shapes), d](const Tensor& g, Needs need) {
    TensorList out;
    const bool may = may_part(g);
    int64_t start = 0;
    for (size_t i = 0; i < shapes.size(); ++i) {
      const auto& [sizes, dtype] = shapes[i];
      const bool nothing = sizes.size() == 1 && sizes[0] == 0;
      out.push_back(!need[static_cast<int>(i)] ? Tensor()
                    : nothing                  ? empty(sizes, dtype)
                    : may ? to_dtype(part_of(g, sizes, g.strides(), start * g.stride(d)), dtype)
                          : to_dtype(narrow(g, d, start, sizes[d]), dtype));
      if (!nothing) start += sizes[d];
    }
    return out;
  });
}

Tensor stack(const std::vector<Tensor>& tensors, int64_t dim) {
  CR_CHECK(!tensors.empty(), "stack: expects a non-empty list of Tensors");
  const int d = check_dim("stack", dim, tensors[0].dim() + 1);
  TensorList rows;
  std::vector<DType> dtypes;
  Tensor y;
  {
    NoGrad guard;
    for (size_t i = 0; i < tensors.size(); ++i) {
      CR_CHECK(tensors[i].sizes() == tensors[0].sizes(),
               "stack: expects each tensor to be equal size, but got ", tensors[0].sizes(),
               " at entry 0 and ", tensors[i].sizes(), " at entry ", i);
      rows.push_back(unsqueeze(tensors[i], d));
      dtypes.push_back(tensors[i].dtype());
    }
    y = cat(rows, d);
  }
  if (!recording(tensors)) return y;
  return record("stack", y, tensors, [dtypes = std::move(dtypes), d](const Tensor& g, Needs need) {
    TensorList out(dtypes.size());
    const bool may = may_part(g);
    Dims sizes = g.sizes(), strides = g.strides();
    sizes.erase(d), strides.erase(d);
    for (size_t i = 0; i < dtypes.size(); ++i) {
      const auto k = static_cast<int64_t>(i);
      if (need[static_cast<int>(i)])
        out[i] = to_dtype(may ? part_of(g, sizes, strides, k * g.stride(d)) : select(g, d, k), dtypes[i]);
    }
    return out;
  });
}

}  // namespace chainrule
