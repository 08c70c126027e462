#include "ops/embedding.h"

#include "autograd/record.h"
#include "kernels/loss.h"
#include "ops/elementwise.h"
#include "ops/fill.h"
#include "ops/reduce.h"
#include "ops/views.h"

namespace chainrule {
namespace {

void run_embedding(const Launch& l) {
  const Tensor &table = l.in(0), &indices = l.in(1);
  const int64_t rows = table.size(0),
                bytes = rows > 0 ? table.numel() / rows * static_cast<int64_t>(table.item_bytes()) : 0;
  int64_t bad = -1;
  kernels::embedding(
      {table.bytes(), indices.data<int64_t>(), l.out(0).bytes(), indices.numel(), rows, bytes, &bad});
  CR_CHECK_INDEX(bad < 0, "embedding: index ", indices.data<int64_t>()[bad], " at position ", bad,
                 " is out of range for a weight of ", rows, " rows");
}
const Primitive kEmbedding{"embedding", run_embedding};

struct ScatterAttrs {
  bool by_frequency;
  int64_t padding;  // -1: none
};
void run_embedding_grad(const Launch& l) {
  const auto& a = l.attrs<ScatterAttrs>();
  kernels::embedding_grad({l.in(0).dtype(), a.by_frequency, l.in(0).bytes(), l.in(1).data<int64_t>(),
                           l.out(0).bytes(), l.in(1).numel(), l.out(0).size(0), l.out(0).size(1), a.padding});
}
const Primitive kEmbeddingGrad{"embedding_grad", run_embedding_grad, sizeof(ScatterAttrs)};

Tensor raw(const Tensor& t) {
  NoGrad no_grad;
  return contiguous(t);
}

// indices [count], weight [rows, width]: both contiguous.
Tensor gather(const Tensor& indices, const Tensor& weight) {
  const Tensor y = empty({indices.numel(), weight.size(1)}, weight.dtype());
  launch(kEmbedding, {&y}, {&weight, &indices});
  return y;
}

Tensor scatter_grad(const Tensor& g, const Tensor& indices, int64_t rows, const ScatterAttrs& attrs);

// The transpose of scatter_grad: differentiates a gradient of a gradient back.
Tensor gather_grad(const Tensor& gg, const Tensor& indices, const ScatterAttrs& attrs) {
  const int64_t rows = gg.size(0);
  Tensor y = gather(indices, raw(gg));
  {
    NoGrad no_grad;
    if (attrs.by_frequency) {
      const Tensor count = scatter_grad(ones({indices.numel(), 1}, gg.dtype()), indices, rows, {false, -1});
      y = y / gather(indices, count);
    }
    if (attrs.padding >= 0) y = where(unsqueeze(indices == attrs.padding, 1), 0, y);
  }
  if (!recording(gg)) return y;
  return record("embedding", y, {&gg},
                [indices, rows, attrs](const Tensor& g) { return scatter_grad(g, indices, rows, attrs); });
}

Tensor scatter_grad(const Tensor& g, const Tensor& indices, int64_t rows, const ScatterAttrs& attrs) {
  const Tensor gc = raw(g), y = empty({rows, g.size(1)}, g.dtype());
  launch(kEmbeddingGrad, {&y}, {&gc, &indices}, attrs);
  if (!recording(g)) return y;
  return record("embedding_dense_backward", y, {&g},
                [indices, attrs](const Tensor& gg) { return gather_grad(gg, indices, attrs); });
}

void shrink_rows(const Tensor& indices, const Tensor& weight, double max_norm, double norm_type) {
  NoGrad no_grad;
  before_write("embedding", weight, false);
  const Tensor used =
      scatter_grad(ones({indices.numel(), 1}, weight.dtype()), indices, weight.size(0), {false, -1});
  const Tensor length = norm(weight, norm_type, {1}, true);
  copy_(weight, weight * where((used > 0) && (length > max_norm), max_norm / (length + 1e-7), 1.0));
}

}  // namespace

Tensor embedding(const Tensor& indices, const Tensor& weight, const EmbeddingOptions& options) {
  CR_CHECK(weight.dim() == 2, "embedding: expected weight of two dimensions (rows, features), got shape ",
           weight.sizes());
  CR_CHECK(indices.dtype() == DType::Int64 || indices.dtype() == DType::Int32,
           "embedding: expected indices in int64 or int32, got ", name_of(indices.dtype()));
  const int64_t rows = weight.size(0);
  ScatterAttrs attrs{options.scale_grad_by_freq, -1};
  if (options.padding_idx) {
    CR_CHECK(*options.padding_idx >= -rows && *options.padding_idx < rows, "embedding: padding_idx ",
             *options.padding_idx, " must be within a weight of ", rows, " rows");
    attrs.padding = *options.padding_idx < 0 ? *options.padding_idx + rows : *options.padding_idx;
  }
  const Tensor flat = reshape(raw(to_dtype(indices, DType::Int64)), {indices.numel()});
  if (options.max_norm) {
    gather(flat, raw(weight));  // checks the indices before anything changes
    shrink_rows(flat, weight, *options.max_norm, options.norm_type);
  }
  Dims sizes = indices.sizes();
  sizes.push_back(weight.size(1));
  Tensor y;
  {
    NoGrad no_grad;
    y = view(gather(flat, raw(weight)), sizes);
  }
  if (!recording(weight)) return y;
  return record("embedding", y, {&weight}, [flat, rows, attrs](const Tensor& g) {
    return scatter_grad(reshape(g, {flat.numel(), g.size(-1)}), flat, rows, attrs);
  });
}

}  // namespace chainrule
