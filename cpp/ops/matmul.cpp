#include "ops/matmul.h"

#include "autograd/record.h"
#include "core/shape_checks.h"
#include "kernels/gemm.h"
#include "ops/elementwise.h"
#include "ops/fill.h"
#include "ops/loop_primitive.h"
#include "ops/reduce.h"
#include "ops/views.h"

namespace chainrule {
namespace {

// ---- the primitive: y = alpha * a b + beta * y (+ bias a column, then the ReLU) for matrices or broadcast batches ----

struct ProductAttrs {
  double alpha, beta;
  bool relu = false;
};

// The batch dimensions as one walk: sizes with the strides of c, a and b, merged where all three allow it.
struct Batch {
  int64_t sizes[kMaxDims], c[kMaxDims], a[kMaxDims], b[kMaxDims];
  int count = 0;

  void add(int64_t size, int64_t sc, int64_t sa, int64_t sb) {
    if (size == 1) return;
    if (count > 0 && c[count - 1] == sc * size && a[count - 1] == sa * size && b[count - 1] == sb * size) {
      sizes[count - 1] *= size;
      --count;
    } else {
      sizes[count] = size;
    }
    c[count] = sc;
    a[count] = sa;
    b[count++] = sb;
  }
  int64_t total() const {
    int64_t n = 1;
    for (int i = 0; i < count; ++i) n *= sizes[i];
    return n;
  }
};

int64_t batch_stride(const Tensor& t, int from_end) {
  const int d = t.dim() - 1 - from_end;
  return d < 0 || t.size(d) == 1 ? 0 : t.stride(d);
}

void run_product(const Launch& l) {
  const Tensor &y = l.out(0), &a = l.in(0), &b = l.in(1);
  const ProductAttrs& attrs = l.attrs<ProductAttrs>();
  GemmArgs g;
  g.dtype = y.dtype();
  g.m = y.size(-2);
  g.n = y.size(-1);
  g.k = a.size(-1);
  g.a = a.bytes();
  g.b = b.bytes();
  g.c = y.bytes();
  g.a_row = a.stride(-2), g.a_col = a.stride(-1);
  g.b_row = b.stride(-2), g.b_col = b.stride(-1);
  g.c_row = y.stride(-2), g.c_col = y.stride(-1);
  g.alpha = attrs.alpha;
  g.beta = attrs.beta;
  g.relu = attrs.relu;
  if (l.in_count == 3) g.col_bias = l.in(2).bytes();
  if (y.numel() == 0) return;
  if (y.dim() == 2) return kernels::gemm(g);

  Batch batch;
  for (int d = y.dim() - 3; d >= 0; --d) {
    const int from_end = y.dim() - 1 - d;
    const int64_t size = y.size(d), sc = y.stride(d), sa = batch_stride(a, from_end),
                  sb = batch_stride(b, from_end);
    // Batches of rows against one b are more rows of one product.
    if (size == 1) continue;
    if (batch.count == 0 && sb == 0 && (g.m == 1 || (sa == g.a_row * g.m && sc == g.c_row * g.m))) {
      if (g.m == 1) g.a_row = sa, g.c_row = sc;
      g.m *= size;
    } else {
      // From the inside out: the walk wants the outermost first, so insert in front.
      for (int i = batch.count++; i > 0; --i) {
        batch.sizes[i] = batch.sizes[i - 1];
        batch.c[i] = batch.c[i - 1], batch.a[i] = batch.a[i - 1], batch.b[i] = batch.b[i - 1];
      }
      batch.sizes[0] = size;
      batch.c[0] = sc, batch.a[0] = sa, batch.b[0] = sb;
    }
  }
  Batch merged;
  for (int i = 0; i < batch.count; ++i) merged.add(batch.sizes[i], batch.c[i], batch.a[i], batch.b[i]);
  g.batch = merged.total();
  if (merged.count <= 1) {
    if (merged.count == 1) g.c_batch = merged.c[0], g.a_batch = merged.a[0], g.b_batch = merged.b[0];
    return kernels::gemm(g);
  }
  std::vector<int64_t> offsets(static_cast<size_t>(3 * g.batch));
  for (int64_t t = 0; t < g.batch; ++t) {
    int64_t rest = t, oc = 0, oa = 0, ob = 0;
    for (int i = merged.count - 1; i >= 0; --i) {
      const int64_t at = rest % merged.sizes[i];
      rest /= merged.sizes[i];
      oc += at * merged.c[i], oa += at * merged.a[i], ob += at * merged.b[i];
    }
    offsets[t] = oc, offsets[g.batch + t] = oa, offsets[2 * g.batch + t] = ob;
  }
  g.c_offsets = offsets.data();
  g.a_offsets = g.c_offsets + g.batch;
  g.b_offsets = g.a_offsets + g.batch;
  kernels::gemm(g);
}
const Primitive kProduct{"matmul", run_product, sizeof(ProductAttrs)};

// ---- checks ----

void check_dtypes(const char* op, const Tensor& a, const Tensor& b) {
  CR_CHECK(a.dtype() == b.dtype(), op, ": expected both operands to have the same dtype, but got ",
           name_of(a.dtype()), " and ", name_of(b.dtype()));
  CR_CHECK(a.dtype() != DType::Bool, op, ": not implemented for bool");
}
void check_dims(const char* op, const char* which, const Tensor& t, int dims) {
  CR_CHECK(t.dim() == dims, op, ": ", which, " must be ", dims, "-dimensional, but has shape ", t.sizes());
}

Tensor transposed(const Tensor& x) { return transpose(x, -2, -1); }

// A vector as a matrix of one row or one column, without any part in the graph.
Tensor row_of(const Tensor& v) { return alias(v, {1, v.size(0)}, {v.size(0) * v.stride(0), v.stride(0)}); }
Tensor column_of(const Tensor& v) { return alias(v, {v.size(0), 1}, {v.stride(0), 1}); }

// The gradient of b in y = a b, for one b and any number of batches of a: rows are added up over all batches at once.
Tensor grad_of_right(const Tensor& a, const Tensor& g, const Tensor& b) {
  if (b.dim() == 2) {
    if (a.dim() == 2) return matmul(transposed(a), g);
    return matmul(transposed(reshape(a, {-1, a.size(-1)})), reshape(g, {-1, g.size(-1)}));
  }
  return sum_to(matmul(transposed(a), g), b.sizes());
}
Tensor grad_of_left(const Tensor& g, const Tensor& b, const Tensor& a) {
  return sum_to(matmul(g, transposed(b)), a.sizes());
}
// reshape(x, {-1, n}) cannot tell the number of rows when there are no elements.
bool has_rows(const Tensor& x) { return x.numel() > 0; }

// y = a b with the derivative for every combination of vectors, matrices and batches. Shapes have been checked.
Tensor record_product(const char* name, Tensor y, const Tensor& a, const Tensor& b) {
  if (!recording(a, b)) return y;
  return record(
      name, y, {&a, &b}, [a = saved(a), b = saved(b)](const Tensor& g, Needs need) -> std::array<Tensor, 2> {
        const Tensor x = *a, w = *b;
        std::array<Tensor, 2> out;
        if (x.dim() == 1 && w.dim() == 1) {
          if (need[0]) out[0] = g * w;
          if (need[1]) out[1] = g * x;
        } else if (w.dim() == 1) {
          const Tensor column = unsqueeze(g, -1);
          if (need[0]) out[0] = column * w;
          if (need[1])
            out[1] = has_rows(x) ? matmul(reshape(g, {-1}), reshape(x, {-1, w.size(0)})) : zeros_like(w);
        } else if (x.dim() == 1) {
          const Tensor row = unsqueeze(g, -2);
          if (need[0]) out[0] = reshape(sum_to(matmul(row, transposed(w)), {1, x.size(0)}), x.sizes());
          if (need[1]) out[1] = unsqueeze(x, 1) * row;
        } else {
          if (need[0]) out[0] = grad_of_left(g, w, x);
          if (need[1]) out[1] = has_rows(x) && has_rows(g) ? grad_of_right(x, g, w) : zeros_like(w);
        }
        return out;
      });
}

// Where a product goes: into `out`, if it may and no operand lies there, or into new memory.
Tensor room_for(const char* op, const Tensor& out, const Dims& sizes, const Tensor& a, const Tensor& b,
                const Tensor& input) {
  const bool takes = out.defined() && out.is_contiguous() && !may_overlap(out, a) && !may_overlap(out, b) &&
                     takes_result(op, out, sizes, a.dtype(), {&a, &b, &input});
  return takes ? out : empty(sizes, a.dtype());
}

// beta * input + alpha * a b for checked shapes.
Tensor add_product(const char* op, const Tensor& input, const Tensor& a, const Tensor& b, const Scalar& beta,
                   const Scalar& alpha, const Dims& sizes, const Tensor& out) {
  check_dtypes(op, a, b);
  check_dtypes(op, input, a);
  CR_CHECK(a.is_floating() || (alpha.kind != Scalar::Kind::Float && beta.kind != Scalar::Kind::Float), op,
           ": for integer inputs, alpha and beta must not be floating point numbers");
  CR_CHECK(broadcast_shapes(op, input.sizes(), sizes) == sizes, op, ": input of shape ", input.sizes(),
           " does not broadcast to the product's shape ", sizes);
  const double by = beta.as<double>(), times = alpha.as<double>();
  Tensor y = room_for(op, out, sizes, a, b, input);
  {
    NoGrad no_grad;
    const bool vector = b.dim() == 1;
    const Tensor to = vector ? column_of(y) : y, right = vector ? column_of(b) : b;
    // A row of n values, added once, rides on the product's last step.
    if (by == 1 && input.dim() == 1 && !vector && input.size(0) == sizes.back() && input.is_contiguous()) {
      launch(kProduct, {&to}, {&a, &right, &input}, ProductAttrs{times, 0});
    } else {
      if (by != 0 && !y.same(input)) copy_(y, expand(detach(input), sizes));
      launch(kProduct, {&to}, {&a, &right}, ProductAttrs{times, by});
    }
  }
  if (!recording(input, a, b)) return y;
  return record(op, y, {&input, &a, &b},
                [a = saved(a), b = saved(b), shape = input.sizes(), beta, alpha](
                    const Tensor& g, Needs need) -> std::array<Tensor, 3> {
                  std::array<Tensor, 3> out;
                  const Tensor x = *a, w = *b;
                  if (need[0]) out[0] = sum_to(g * beta, shape);
                  const Tensor scaled = g * alpha;
                  if (w.dim() == 1) {
                    if (need[1]) out[1] = unsqueeze(scaled, -1) * w;
                    if (need[2]) out[2] = matmul(transposed(x), scaled);
                  } else {
                    if (need[1]) out[1] = matmul(scaled, transposed(w));
                    if (need[2]) out[2] = matmul(transposed(x), scaled);
                  }
                  return out;
                });
}

}  // namespace

Tensor matmul(const Tensor& a, const Tensor& b, const Tensor& out) {
  CR_CHECK(a.dim() > 0 && b.dim() > 0,
           "matmul: both operands must have at least one dimension, but have shapes ", a.sizes(), " and ",
           b.sizes());
  check_dtypes("matmul", a, b);
  const bool row = a.dim() == 1, column = b.dim() == 1;
  const int64_t k = b.size(column ? 0 : -2);
  CR_CHECK(a.size(-1) == k, "matmul: shapes ", a.sizes(), " and ", b.sizes(),
           " cannot be multiplied: the first's last dimension (", a.size(-1), ") must equal the second's ",
           column ? "only" : "last but one", " (", k, ")");
  if (a.dim() == 2 && b.dim() == 2) {
    Tensor y = room_for("mm", out, {a.size(0), b.size(1)}, a, b, a);
    launch(kProduct, {&y}, {&a, &b}, ProductAttrs{1, 0});
    return record_product("mm", y, a, b);
  }
  Dims sizes;
  if (a.dim() > 2 || b.dim() > 2) {
    const Dims batch_a = row ? Dims() : Dims(a.sizes().data(), a.dim() - 2);
    const Dims batch_b = column ? Dims() : Dims(b.sizes().data(), b.dim() - 2);
    sizes = broadcast_shapes("matmul (batch dimensions)", batch_a, batch_b);
  }
  Dims matrix = sizes;
  matrix.push_back(row ? 1 : a.size(-2));
  matrix.push_back(column ? 1 : b.size(-1));
  if (!row) sizes.push_back(a.size(-2));
  if (!column) sizes.push_back(b.size(-1));
  Tensor y = room_for("matmul", out, sizes, a, b, a);
  const Tensor to = row || column ? alias(y, matrix, contiguous_strides(matrix)) : y;
  const Tensor left = row ? row_of(a) : a, right = column ? column_of(b) : b;
  launch(kProduct, {&to}, {&left, &right}, ProductAttrs{1, 0});
  const char* name = a.dim() == 1 && column         ? "dot"
                     : a.dim() == 2 && column       ? "mv"
                     : a.dim() == 3 && b.dim() == 3 ? "bmm"
                                                    : "matmul";
  return record_product(name, y, a, b);
}

Tensor mm(const Tensor& a, const Tensor& b, const Tensor& out) {
  check_dims("mm", "self", a, 2);
  check_dims("mm", "mat2", b, 2);
  CR_CHECK(a.size(1) == b.size(0), "mm: shapes ", a.sizes(), " and ", b.sizes(),
           " cannot be multiplied: the first's columns must be as many as the second's rows");
  check_dtypes("mm", a, b);
  return matmul(a, b, out);
}

Tensor bmm(const Tensor& a, const Tensor& b, const Tensor& out) {
  check_dims("bmm", "self", a, 3);
  check_dims("bmm", "mat2", b, 3);
  CR_CHECK(a.size(0) == b.size(0) && a.size(2) == b.size(1), "bmm: shapes ", a.sizes(), " and ", b.sizes(),
           " cannot be multiplied: (b, n, m) wants (b, m, p)");
  check_dtypes("bmm", a, b);
  return matmul(a, b, out);
}

Tensor mv(const Tensor& a, const Tensor& b, const Tensor& out) {
  check_dims("mv", "self", a, 2);
  check_dims("mv", "vec", b, 1);
  CR_CHECK(a.size(1) == b.size(0), "mv: shapes ", a.sizes(), " and ", b.sizes(),
           " cannot be multiplied: the matrix's columns must be as many as the vector's elements");
  check_dtypes("mv", a, b);
  return matmul(a, b, out);
}

Tensor dot(const Tensor& a, const Tensor& b, const Tensor& out) {
  check_dims("dot", "self", a, 1);
  check_dims("dot", "tensor", b, 1);
  CR_CHECK(a.size(0) == b.size(0), "dot: shapes ", a.sizes(), " and ", b.sizes(),
           " differ: both vectors must have the same number of elements");
  check_dtypes("dot", a, b);
  return matmul(a, b, out);
}

Tensor outer(const Tensor& a, const Tensor& b) {
  check_dims("outer", "self", a, 1);
  check_dims("outer", "vec2", b, 1);
  return unsqueeze(a, 1) * b;
}

Tensor inner(const Tensor& a, const Tensor& b) {
  if (a.dim() == 0 || b.dim() == 0) return a * b;
  CR_CHECK(a.size(-1) == b.size(-1), "inner: shapes ", a.sizes(), " and ", b.sizes(),
           " differ in the last dimension");
  return tensordot(a, b, {-1}, {-1});
}

Tensor addmm(const Tensor& input, const Tensor& a, const Tensor& b, const Scalar& beta, const Scalar& alpha,
             const Tensor& out) {
  check_dims("addmm", "mat1", a, 2);
  check_dims("addmm", "mat2", b, 2);
  CR_CHECK(a.size(1) == b.size(0), "addmm: mat1 and mat2 shapes ", a.sizes(), " and ", b.sizes(),
           " cannot be multiplied: the first's columns must be as many as the second's rows");
  return add_product("addmm", input, a, b, beta, alpha, {a.size(0), b.size(1)}, out);
}

Tensor addmv(const Tensor& input, const Tensor& a, const Tensor& b, const Scalar& beta, const Scalar& alpha,
             const Tensor& out) {
  check_dims("addmv", "mat", a, 2);
  check_dims("addmv", "vec", b, 1);
  CR_CHECK(a.size(1) == b.size(0), "addmv: shapes ", a.sizes(), " and ", b.sizes(),
           " cannot be multiplied: the matrix's columns must be as many as the vector's elements");
  return add_product("addmv", input, a, b, beta, alpha, {a.size(0)}, out);
}

Tensor baddbmm(const Tensor& input, const Tensor& a, const Tensor& b, const Scalar& beta, const Scalar& alpha,
               const Tensor& out) {
  check_dims("baddbmm", "batch1", a, 3);
  check_dims("baddbmm", "batch2", b, 3);
  CR_CHECK(a.size(0) == b.size(0) && a.size(2) == b.size(1), "baddbmm: shapes ", a.sizes(), " and ",
           b.sizes(), " cannot be multiplied: (b, n, m) wants (b, m, p)");
  return add_product("baddbmm", input, a, b, beta, alpha, {a.size(0), a.size(1), b.size(2)}, out);
}

// y = x W^T + b;   dx = g W,   dW = g^T x,   db = g summed over rows. The product makes the ReLU that follows, too, and the
// graph shows both: neither derivative needs what was between them.
Tensor linear(const Tensor& x, const Tensor& weight, const Tensor& bias, bool then_relu) {
  CR_CHECK(x.dim() > 0, "linear: input must have at least one dimension, but has shape ", x.sizes());
  CR_CHECK(weight.dim() == 1 || weight.dim() == 2,
           "linear: weight must have one or two dimensions, but has shape ", weight.sizes());
  check_dtypes("linear", x, weight);
  CR_CHECK(x.size(-1) == weight.size(-1), "linear: input of shape ", x.sizes(), " and weight of shape ",
           weight.sizes(), " do not fit: the last dimensions (in_features) must be equal");
  if (bias.defined()) check_dtypes("linear", x, bias);
  if (weight.dim() == 1) {
    const Tensor y = matmul(x, weight);
    const Tensor sum = bias.defined() ? y + bias : y;
    return then_relu ? relu(sum) : sum;
  }
  Dims sizes = x.sizes();
  sizes[sizes.size() - 1] = weight.size(0);
  if (bias.defined())
    CR_CHECK(broadcast_shapes("linear", bias.sizes(), sizes) == sizes, "linear: bias of shape ", bias.sizes(),
             " does not broadcast to the output's shape ", sizes);
  const bool fused =
      bias.defined() && bias.dim() == 1 && bias.size(0) == weight.size(0) && bias.is_contiguous();
  if (then_relu && (!x.is_floating() || (bias.defined() && !fused))) return relu(linear(x, weight, bias));
  if (bias.defined() && !fused) return linear(x, weight, Tensor()) + bias;
  Tensor y = empty(sizes, x.dtype());
  const Tensor left = x.dim() == 1 ? row_of(x) : x;
  const Tensor to = x.dim() == 1 ? row_of(y) : y;
  const Tensor right = alias(weight, {weight.size(1), weight.size(0)}, {weight.stride(1), weight.stride(0)});
  if (fused)
    launch(kProduct, {&to}, {&left, &right, &bias}, ProductAttrs{1, 0, then_relu});
  else
    launch(kProduct, {&to}, {&left, &right}, ProductAttrs{1, 0, then_relu});
  if (!recording(x, weight, bias)) return y;
  const char* name = x.dim() == 2 && fused ? "addmm" : "linear";
  auto derivative = [x = saved(x), w = saved(weight)](const Tensor& g, Needs need, bool has_bias) {
    std::array<Tensor, 3> out;
    const Tensor in = *x, weights = *w;
    if (need[0]) out[0] = matmul(g, weights);
    if (!need[1] && !(has_bias && need[2])) return out;
    const Tensor rows =
        g.dim() == 2 ? g : reshape(g, {g.numel() / std::max<int64_t>(1, g.size(-1)), g.size(-1)});
    if (need[1]) {
      if (in.numel() == 0 || g.numel() == 0)
        out[1] = zeros_like(weights);
      else
        out[1] = matmul(transposed(rows), in.dim() == 2 ? in : reshape(in, {-1, in.size(-1)}));
    }
    if (has_bias && need[2]) out[2] = sum(rows, {0});
    return out;
  };
  if (fused)
    record(name, y, {&x, &weight, &bias},
           [derivative](const Tensor& g, Needs need) { return derivative(g, need, true); });
  else
    record(name, y, {&x, &weight}, [derivative](const Tensor& g, Needs need) -> std::array<Tensor, 2> {
      auto out = derivative(g, need, false);
      return {out[0], out[1]};
    });
  if (then_relu) record_applied(Unary::relu, y);
  return y;
}

Tensor tensordot(const Tensor& a, const Tensor& b, const Dims& dims_a, const Dims& dims_b) {
  CR_CHECK(dims_a.size() == dims_b.size(), "tensordot: both dimension lists must have the same length, got ",
           dims_a, " and ", dims_b);
  Dims order_a, order_b, contracted_a, contracted_b, sizes;
  int64_t k = 1, m = 1, n = 1;
  for (int i = 0; i < dims_a.size(); ++i) {
    const int da = check_dim("tensordot", dims_a[i], a.dim()),
              db = check_dim("tensordot", dims_b[i], b.dim());
    CR_CHECK(!contracted_a.contains(da) && !contracted_b.contains(db),
             "tensordot: a dimension appears twice in ", dims_a, " or ", dims_b);
    CR_CHECK(a.size(da) == b.size(db), "tensordot: shapes ", a.sizes(), " and ", b.sizes(),
             " cannot be contracted: dimension ", da, " of the first has ", a.size(da),
             " elements, dimension ", db, " of the second ", b.size(db));
    contracted_a.push_back(da);
    contracted_b.push_back(db);
    k *= a.size(da);
  }
  for (int d = 0; d < a.dim(); ++d)
    if (!contracted_a.contains(d)) order_a.push_back(d), sizes.push_back(a.size(d)), m *= a.size(d);
  for (int64_t d : contracted_a) order_a.push_back(d);
  order_b = contracted_b;
  for (int d = 0; d < b.dim(); ++d)
    if (!contracted_b.contains(d)) order_b.push_back(d), sizes.push_back(b.size(d)), n *= b.size(d);
  check_dtypes("tensordot", a, b);
  return reshape(matmul(reshape(permute(a, order_a), {m, k}), reshape(permute(b, order_b), {k, n})), sizes);
}

}  // namespace chainrule
