#include "ops/attention.h"

#include <cmath>
#include <limits>

#include "autograd/record.h"
#include "kernels/attention.h"
#include "ops/elementwise.h"
#include "ops/fill.h"
#include "ops/matmul.h"
#include "ops/random.h"
#include "ops/reduce.h"
#include "ops/views.h"

namespace chainrule {
namespace {

struct AttentionAttrs {
  double scale;
  bool causal;
};

Heads heads_of(const Tensor& t) { return {t.bytes(), t.stride(0), t.stride(1), t.stride(2)}; }
HeadsOut heads_out(const Tensor& t) { return {t.bytes(), t.stride(0), t.stride(1), t.stride(2)}; }

AttentionArgs args_of(const AttentionAttrs& attrs, const Tensor& q, const Tensor& k, const Tensor& v,
                      const Tensor* mask) {
  AttentionArgs a;
  a.dtype = q.dtype();
  a.batch = q.size(0), a.heads = q.size(1), a.kv_heads = k.size(1);
  a.rows = q.size(2), a.cols = k.size(2);
  a.width = q.size(3), a.value_width = v.size(3);
  a.scale = attrs.scale;
  a.causal = attrs.causal;
  a.q = heads_of(q), a.k = heads_of(k), a.v = heads_of(v);
  if (mask) {
    a.mask = mask->bytes();
    a.mask_dtype = mask->dtype();
    a.mask_batch = mask->stride(0), a.mask_head = mask->stride(1);
    a.mask_row = mask->stride(2), a.mask_col = mask->stride(3);
  }
  return a;
}

// outs: y, lse; ins: q, k, v (, mask)
void run_attention(const Launch& l) {
  AttentionArgs a =
      args_of(l.attrs<AttentionAttrs>(), l.in(0), l.in(1), l.in(2), l.in_count == 4 ? &l.in(3) : nullptr);
  a.out = heads_out(l.out(0));
  a.lse = l.out(1).bytes();
  if (a.cols == 0 || a.width == 0)
    fill_raw(l.out(0), 0);  // nothing takes part
  else
    kernels::attention(a);
}
const Primitive kAttention{"scaled_dot_product_attention", run_attention, sizeof(AttentionAttrs)};

// outs: dq, dk, dv; ins: q, k, v, y, lse, g (, mask)
void run_attention_grad(const Launch& l) {
  AttentionArgs a =
      args_of(l.attrs<AttentionAttrs>(), l.in(0), l.in(1), l.in(2), l.in_count == 7 ? &l.in(6) : nullptr);
  a.y = heads_of(l.in(3));
  a.lse = l.in(4).bytes();
  a.grad = heads_of(l.in(5));
  a.dq = heads_out(l.out(0)), a.dk = heads_out(l.out(1)), a.dv = heads_out(l.out(2));
  if (a.rows == 0 || a.cols == 0 || a.width == 0 || a.value_width == 0)
    for (int i = 0; i < l.out_count; ++i) fill_raw(l.out(i), 0);
  else
    kernels::attention_grad(a);
}
const Primitive kAttentionGrad{"scaled_dot_product_attention_grad", run_attention_grad,
                               sizeof(AttentionAttrs)};

// The kernels want the last dimension side by side.
Tensor with_rows(const Tensor& x) {
  NoGrad no_grad;
  const Tensor t = detach(x);
  return t.stride(3) == 1 || t.size(3) == 1 ? t : contiguous(t);
}

// Room for a result of that shape beside x: where x is a view of (batch, rows, heads, width), as the projections of a
// transformer leave it, so is the result, and what gathers the heads again needs no copy.
Tensor beside(const Tensor& x, int64_t heads, int64_t rows, int64_t width) {
  const Dims sizes{x.size(0), heads, rows, width};
  if (x.stride(1) >= x.stride(2)) return empty(sizes, x.dtype());
  return alias(empty({sizes[0], rows, heads, width}, x.dtype()), sizes,
               {rows * heads * width, width, heads * width, 1});
}

// Room for the gradients of q, k and v. Where those are parts of one projection's rows, so are these: split's gradient is
// there without a copy.
std::array<Tensor, 3> beside(const Tensor& q, const Tensor& k, const Tensor& v) {
  const int64_t heads = q.size(1), rows = q.size(2), width = q.size(3), part = heads * width;
  const Dims joint{rows * 3 * part, width, 3 * part, 1};
  const auto follows = [&](const Tensor& x, const Tensor& next) {
    return next.sizes() == x.sizes() && next.strides() == joint &&
           next.impl()->storage.get() == x.impl()->storage.get() &&
           next.storage_offset() == x.storage_offset() + part;
  };
  if (q.strides() != joint || !follows(q, k) || !follows(k, v))
    return {beside(q, heads, rows, width), beside(k, k.size(1), k.size(2), k.size(3)),
            beside(v, v.size(1), v.size(2), v.size(3))};
  const Tensor all = empty({q.size(0), rows, 3 * part}, q.dtype());
  return {alias(all, q.sizes(), joint), alias(all, q.sizes(), joint, part),
          alias(all, q.sizes(), joint, 2 * part)};
}

// (batch, kv heads, ...) as if each head were there once for every head of q that reads it.
Tensor repeated(const Tensor& x, int64_t heads) {
  if (x.size(1) == heads) return x;
  const Dims sizes{x.size(0), x.size(1), heads / x.size(1), x.size(2), x.size(3)};
  return reshape(expand(unsqueeze(x, 2), sizes), {x.size(0), heads, x.size(2), x.size(3)});
}
// The derivative of the repetition: the gradients of one head's copies, added.
Tensor gathered(const Tensor& g, int64_t kv_heads) {
  if (g.size(1) == kv_heads) return g;
  return sum(reshape(g, {g.size(0), kv_heads, g.size(1) / kv_heads, g.size(2), g.size(3)}), {2});
}

// The weights of all values, recorded: the composition that carries derivatives of a higher order, dropout, and gradients
// of the mask. lse, from the kernel, keeps exp in range; it cancels, and so needs no derivative.
Tensor weights(const Tensor& q, const Tensor& k, const Tensor& mask, const Tensor& lse,
               const AttentionAttrs& attrs) {
  const double lowest = -std::numeric_limits<double>::infinity();
  Tensor s = matmul(q, transpose(k, -2, -1)) * attrs.scale;
  if (mask.defined()) s = mask.dtype() == DType::Bool ? where(mask, s, number(lowest, s.dtype())) : s + mask;
  if (attrs.causal) {
    Tensor seen = empty({s.size(2), s.size(3)}, DType::Bool);
    bool* p = seen.data<bool>();
    for (int64_t i = 0; i < s.size(2); ++i)
      for (int64_t j = 0; j < s.size(3); ++j) *p++ = j <= i;
    s = where(seen, s, number(lowest, s.dtype()));
  }
  const Tensor column = unsqueeze(lse, -1), nobody = column == Scalar(lowest);
  const Tensor e = exp(s - where(nobody, zeros_like(column), column));
  const Tensor total = sum(e, {-1}, true);
  return e / where(nobody, ones_like(total), total);
}

struct Result { Tensor y, lse; };

Result run(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& mask,
           const AttentionAttrs& attrs) {
  Tensor y = beside(q, q.size(1), q.size(2), v.size(3));
  Tensor lse = empty({q.size(0), q.size(1), q.size(2)}, q.dtype());
  const Tensor a = with_rows(q), b = with_rows(k), c = with_rows(v);
  if (mask.defined())
    launch(kAttention, {&y, &lse}, {&a, &b, &c, &mask}, attrs);
  else
    launch(kAttention, {&y, &lse}, {&a, &b, &c}, attrs);
  return {y, lse};
}

// With p the weights, y = p v:   dv = p^T g,   ds = p (g v^T - sum(g y)),   dq = scale ds k,   dk = scale ds^T q
std::array<Tensor, 3> gradients(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& mask,
                                const Tensor& y, const Tensor& lse, const Tensor& g,
                                const AttentionAttrs& attrs) {
  if (!recording(q, k, v, g)) {
    auto [dq, dk, dv] = beside(q, k, v);
    const Tensor a = with_rows(q), b = with_rows(k), c = with_rows(v), dy = with_rows(g);
    if (mask.defined())
      launch(kAttentionGrad, {&dq, &dk, &dv}, {&a, &b, &c, &y, &lse, &dy, &mask}, attrs);
    else
      launch(kAttentionGrad, {&dq, &dk, &dv}, {&a, &b, &c, &y, &lse, &dy}, attrs);
    return {dq, dk, dv};
  }
  const int64_t heads = q.size(1), kv_heads = k.size(1);
  const Tensor keys = repeated(k, heads), values = repeated(v, heads);
  const Tensor p = weights(q, keys, mask, lse, attrs), dp = matmul(g, transpose(values, -2, -1));
  const Tensor ds = p * (dp - sum(p * dp, {-1}, true)) * attrs.scale;
  return {matmul(ds, keys), gathered(matmul(transpose(ds, -2, -1), q), kv_heads),
          gathered(matmul(transpose(p, -2, -1), g), kv_heads)};
}

// q, k and v of four dimensions with one batch; mask (batch, heads, rows, columns) or undefined.
Tensor attend(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& mask, double dropout_p,
              const AttentionAttrs& attrs, Generator& generator) {
  const Result r = run(q, k, v, mask.defined() ? detach(mask) : mask, attrs);
  if (dropout_p > 0 || recording(mask)) {
    const int64_t heads = q.size(1);
    const Tensor p = weights(q, repeated(k, heads), mask, r.lse, attrs);
    return matmul(dropout(p, dropout_p, true, generator), repeated(v, heads));
  }
  if (!recording(q, k, v)) return r.y;
  SavedTensor kept_mask;
  if (mask.defined()) kept_mask = saved(mask);
  return record("scaled_dot_product_attention", r.y, {&q, &k, &v},
                [q = saved(q), k = saved(k), v = saved(v), mask = kept_mask, y = saved_result(r.y),
                 lse = r.lse, attrs](const Tensor& g) {
                  return gradients(*q, *k, *v, mask.defined() ? *mask : Tensor(), *y, lse, g, attrs);
                });
}

Dims batch_of(const Tensor& x, int matrix) { return Dims(x.sizes().data(), x.dim() - matrix); }
Dims joined(const Dims& batch, std::initializer_list<int64_t> matrix) {
  Dims sizes = batch;
  for (int64_t v : matrix) sizes.push_back(v);
  return sizes;
}

}  // namespace

Tensor scaled_dot_product_attention(const Tensor& query, const Tensor& key, const Tensor& value,
                                    const Tensor& mask, double dropout_p, bool is_causal,
                                    std::optional<double> scale, bool enable_gqa, Generator& generator) {
  constexpr const char* op = "scaled_dot_product_attention";
  auto shapes = [&] {
    return text("query ", query.sizes(), ", key ", key.sizes(), " and value ", value.sizes());
  };
  CR_CHECK(query.dim() >= 2 && key.dim() >= 2 && value.dim() >= 2, op,
           ": query, key and value must have at least two dimensions, but are ", shapes());
  CR_CHECK(query.dtype() == key.dtype() && query.dtype() == value.dtype(), op,
           ": query, key and value must have the same dtype, but are ", name_of(query.dtype()), ", ",
           name_of(key.dtype()), " and ", name_of(value.dtype()));
  CR_CHECK(query.is_floating(), op, ": not implemented for ", name_of(query.dtype()));
  CR_CHECK(query.size(-1) == key.size(-1), op, ": ", shapes(),
           " do not fit: query and key must have the same last "
           "dimension");
  CR_CHECK(key.size(-2) == value.size(-2), op, ": ", shapes(),
           " do not fit: key and value must have the same length, "
           "their last dimension but one");
  CR_CHECK(!(mask.defined() && is_causal), op, ": attn_mask must not be given together with is_causal=True");
  CR_CHECK_VALUE(dropout_p >= 0 && dropout_p <= 1, op, ": dropout_p must be between 0 and 1, but is ",
                 dropout_p);
  if (mask.defined())
    CR_CHECK(mask.dtype() == DType::Bool || mask.dtype() == query.dtype(), op, ": attn_mask must be bool or ",
             name_of(query.dtype()), ", as query is, but is ", name_of(mask.dtype()));
  const int64_t rows = query.size(-2), cols = key.size(-2), width = query.size(-1),
                value_width = value.size(-1);
  const AttentionAttrs attrs{scale.value_or(1 / std::sqrt(static_cast<double>(width))), is_causal};

  // One batch for all: (batch, heads) where heads is dimension -3, alone allowed to differ for grouped queries.
  Dims batch, batch_kv;
  if (enable_gqa) {
    CR_CHECK(query.dim() >= 3 && key.dim() >= 3 && value.dim() >= 3, op,
             ": enable_gqa needs a dimension of heads, -3, but the shapes are ", shapes());
    CR_CHECK(
        key.size(-3) == value.size(-3) && key.size(-3) > 0 && query.size(-3) % key.size(-3) == 0, op,
        ": with enable_gqa the heads of query, dimension -3, must be a multiple of those of key and value, but the "
        "shapes are ",
        shapes());
    batch =
        broadcast_shapes(op, broadcast_shapes(op, batch_of(query, 3), batch_of(key, 3)), batch_of(value, 3));
    batch_kv = batch;
    batch.push_back(query.size(-3));
    batch_kv.push_back(key.size(-3));
  } else {
    batch =
        broadcast_shapes(op, broadcast_shapes(op, batch_of(query, 2), batch_of(key, 2)), batch_of(value, 2));
    batch_kv = batch;
  }
  const int64_t heads = batch.empty() ? 1 : batch.back(), kv_heads = batch_kv.empty() ? 1 : batch_kv.back();
  int64_t count = 1;
  for (int d = 0; d + 1 < batch.size(); ++d) count *= batch[d];
  auto four = [count](const Tensor& x, const Dims& full, int64_t h) {
    const Tensor whole = x.sizes() == full ? x : expand(x, full);
    return whole.dim() == 4 ? whole : reshape(whole, {count, h, full[full.size() - 2], full.back()});
  };
  const Tensor q = four(query, joined(batch, {rows, width}), heads);
  const Tensor k = four(key, joined(batch_kv, {cols, width}), kv_heads);
  const Tensor v = four(value, joined(batch_kv, {cols, value_width}), kv_heads);
  Tensor m;
  if (mask.defined()) {
    const Dims full = joined(batch, {rows, cols});
    CR_CHECK(broadcast_shapes(op, mask.sizes(), full) == full, op, ": attn_mask of shape ", mask.sizes(),
             " does not broadcast to the scores' shape ", full);
    m = four(mask, full, heads);
  }
  const Tensor y = attend(q, k, v, m, dropout_p, attrs, generator);
  const Dims sizes = joined(batch, {rows, value_width});
  return y.sizes() == sizes ? y : reshape(y, sizes);
}

}  // namespace chainrule
