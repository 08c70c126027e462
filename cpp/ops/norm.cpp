// xhat = (x - mean) * rstd,  y = xhat * weight + bias, for rows, channels or groups of channels. The derivative is the
// same in all of them, with means over what shares one mean and gw = g * weight:
//   dx = rstd * (gw - mean(gw) - xhat * mean(gw * xhat)),   dweight = sum(g * xhat),   dbias = sum(g)
#include "ops/norm.h"

#include "autograd/accumulate.h"
#include "autograd/record.h"
#include "kernels/norm.h"
#include "ops/elementwise.h"
#include "ops/reduce.h"
#include "ops/views.h"

namespace chainrule {
namespace {

void* bytes_or_null(const Tensor& t) { return t.defined() ? t.bytes() : nullptr; }

Tensor raw(const Tensor& t) {
  if (!t.defined()) return t;
  NoGrad no_grad;
  return contiguous(t);
}

void check_parameter(const char* op, const char* name, const Tensor& t, const Tensor& x, const Dims& sizes) {
  CR_CHECK(x.is_floating(), op, ": input dtype must be floating point, got ", name_of(x.dtype()));
  if (!t.defined()) return;
  CR_CHECK(t.sizes() == sizes, op, ": expected ", name, " of shape ", sizes, ", got ", t.sizes(),
           " for input of shape ", x.sizes());
  CR_CHECK(t.dtype() == x.dtype(), op, ": ", name, " has dtype ", name_of(t.dtype()), " and input ",
           name_of(x.dtype()), "; both must be the same");
}

// The derivative in recorded operations, for when it will be differentiated itself: xhat is made again from x, over
// `over` (the dimensions that share a mean); weight is shaped for broadcasting, `params` are the dimensions that
// dweight and dbias sum over.
struct Recorded { Tensor dx, dweight, dbias; };
Recorded recorded_grads(const Tensor& g, const Tensor& x, const Tensor& weight, const Dims& over,
                        const Dims& params, bool subtract, double eps, const Tensor& fixed_mean,
                        const Tensor& fixed_var) {
  const bool fixed = fixed_mean.defined();
  const Tensor centred = fixed ? x - fixed_mean : subtract ? x - mean(x, over, true) : x;
  const Tensor r = rsqrt((fixed ? fixed_var : mean(centred * centred, over, true)) + eps);
  const Tensor xhat = centred * r, gw = weight.defined() ? g * weight : g;
  Recorded out;
  if (fixed) {
    out.dx = gw * r;
  } else {
    const Tensor along = xhat * mean(gw * xhat, over, true);
    out.dx = r * (subtract ? gw - mean(gw, over, true) - along : gw - along);
  }
  out.dweight = params.empty() ? g * xhat : sum(g * xhat, params);
  out.dbias = params.empty() ? g : sum(g, params);
  return out;
}

Tensor wanted(bool need, const Tensor& like) { return need && like.defined() ? empty_like(like) : Tensor(); }

// ---- rows ----

struct RowAttrs {
  int64_t rows, n;
  double eps;
  bool subtract;
};
void run_row_norm(const Launch& l) {
  const auto& a = l.attrs<RowAttrs>();
  kernels::row_norm({l.in(0).dtype(), l.in(0).bytes(), bytes_or_null(l.in(1)), bytes_or_null(l.in(2)),
                     l.out(0).bytes(), a.subtract ? l.out(2).bytes() : nullptr, l.out(1).bytes(), a.rows, a.n,
                     a.eps});
}
// grad, x, weight, rstd, mean, sum -> sum + dx, dweight, dbias
void run_row_norm_grad(const Launch& l) {
  const auto& a = l.attrs<RowAttrs>();
  kernels::row_norm_grad({l.in(0).dtype(), l.in(0).bytes(), l.in(1).bytes(), bytes_or_null(l.in(2)),
                          bytes_or_null(l.in(4)), l.in(3).bytes(), bytes_or_null(l.in(5)),
                          bytes_or_null(l.out(0)), bytes_or_null(l.out(1)), bytes_or_null(l.out(2)), a.rows,
                          a.n});
}
const Primitive kLayerNorm{"layer_norm", run_row_norm, sizeof(RowAttrs)};
const Primitive kRmsNorm{"rms_norm", run_row_norm, sizeof(RowAttrs)};
const Primitive kRowNormGrad{"row_norm_grad", run_row_norm_grad, sizeof(RowAttrs)};

Tensor row_norm(const char* op, const Tensor& input, const Dims& shape, const Tensor& weight,
                const Tensor& bias, double eps, bool subtract) {
  CR_CHECK(!shape.empty(), op, ": expected normalized_shape to be at least one-dimensional, got ", shape);
  check_parameter(op, "weight", weight, input, shape);
  check_parameter(op, "bias", bias, input, shape);
  bool fits = input.dim() >= shape.size();
  for (int i = 1; fits && i <= shape.size(); ++i) fits = input.size(-i) == shape[shape.size() - i];
  CR_CHECK(fits, op, ": given normalized_shape=", shape, ", expected input with shape [*, ",
           text(shape).substr(1), ", but got input of size ", input.sizes());
  const int64_t n = numel_of(shape);
  int64_t rows = 1;
  for (int d = 0; d < input.dim() - shape.size(); ++d) rows *= input.size(d);
  const RowAttrs attrs{rows, n, eps, subtract};
  const Tensor x = raw(input), w = raw(weight), b = raw(bias);
  const Tensor y = empty(input.sizes(), input.dtype()), rstd = empty({rows}, input.dtype());
  const Tensor mean = subtract ? empty({rows}, input.dtype()) : Tensor();
  if (subtract)
    launch(kLayerNorm, {&y, &rstd, &mean}, {&x, &w, &b}, attrs);
  else
    launch(kRmsNorm, {&y, &rstd}, {&x, &w, &b}, attrs);
  if (!recording(input, weight, bias)) return y;
  return record(op, y, {&input, &weight, &bias},
                [attrs, rstd, mean, x = saved(input), w = weight.defined() ? saved(weight) : SavedTensor(),
                 b = bias](const Tensor& g, Needs need) -> std::array<Tensor, 3> {
                  const Tensor v = *x, weight = w.defined() ? *w : Tensor();
                  if (recording(g, v, weight)) {
                    Dims over, params;
                    const int first = v.dim() - (weight.defined() ? weight.dim() : b.defined() ? b.dim() : 0);
                    int64_t size = 1;
                    for (int d = v.dim() - 1; d >= 0 && (size < attrs.n || v.size(d) == 1); --d)
                      over.push_back(d), size *= v.size(d);
                    for (int d = 0; d < first; ++d) params.push_back(d);
                    Recorded r =
                        recorded_grads(g, v, weight, over, params, attrs.subtract, attrs.eps, {}, {});
                    return {r.dx, r.dweight, r.dbias};
                  }
                  const Tensor dw = wanted(need[1], weight), db = wanted(need[2], b);
                  const Tensor gc = raw(g), xc = raw(v), wc = raw(weight);
                  // Where x is used elsewhere, too: what that has given.
                  Tensor sum = need[0] ? take_waiting(need, 0, gc) : Tensor();
                  if (sum.defined() && !sum.is_contiguous()) sum = raw(sum);
                  const Tensor dx = sum.defined() ? room_for_sum(sum) : wanted(need[0], v);
                  launch(kRowNormGrad, {&dx, &dw, &db}, {&gc, &xc, &wc, &rstd, &mean, &sum}, attrs);
                  return {dx, dw, db};
                });
}

}  // namespace

Tensor layer_norm(const Tensor& x, const Dims& normalized_shape, const Tensor& weight, const Tensor& bias,
                  double eps) {
  return row_norm("layer_norm", x, normalized_shape, weight, bias, eps, true);
}
Tensor rms_norm(const Tensor& x, const Dims& normalized_shape, const Tensor& weight, double eps) {
  return row_norm("rms_norm", x, normalized_shape, weight, Tensor(), eps, false);
}

// ---- channels ----

namespace {

struct ChannelAttrs {
  int64_t n, channels, space, groups;
  double momentum, eps;
  bool training;
};
// x, weight, bias, running_mean, running_var -> y, rstd, mean. The running statistics change.
void run_batch_norm(const Launch& l) {
  const auto& a = l.attrs<ChannelAttrs>();
  kernels::batch_norm({l.in(0).dtype(), a.training, l.in(0).bytes(), bytes_or_null(l.in(1)),
                       bytes_or_null(l.in(2)), bytes_or_null(l.in(3)), bytes_or_null(l.in(4)),
                       l.out(0).bytes(), l.out(2).bytes(), l.out(1).bytes(), a.n, a.channels, a.space,
                       a.momentum, a.eps});
}
void run_batch_norm_grad(const Launch& l) {
  const auto& a = l.attrs<ChannelAttrs>();
  kernels::batch_norm_grad({l.in(0).dtype(), a.training, l.in(0).bytes(), l.in(1).bytes(),
                            bytes_or_null(l.in(2)), l.in(4).bytes(), l.in(3).bytes(), bytes_or_null(l.out(0)),
                            bytes_or_null(l.out(1)), bytes_or_null(l.out(2)), a.n, a.channels, a.space});
}
void run_group_norm(const Launch& l) {
  const auto& a = l.attrs<ChannelAttrs>();
  kernels::group_norm({l.in(0).dtype(), l.in(0).bytes(), bytes_or_null(l.in(1)), bytes_or_null(l.in(2)),
                       l.out(0).bytes(), l.out(2).bytes(), l.out(1).bytes(), a.n, a.channels, a.space,
                       a.groups, a.eps});
}
void run_group_norm_grad(const Launch& l) {
  const auto& a = l.attrs<ChannelAttrs>();
  kernels::group_norm_grad({l.in(0).dtype(), l.in(0).bytes(), l.in(1).bytes(), bytes_or_null(l.in(2)),
                            l.in(4).bytes(), l.in(3).bytes(), bytes_or_null(l.out(0)),
                            bytes_or_null(l.out(1)), bytes_or_null(l.out(2)), a.n, a.channels, a.space,
                            a.groups});
}
const Primitive kBatchNorm{"batch_norm", run_batch_norm, sizeof(ChannelAttrs)};
const Primitive kBatchNormGrad{"batch_norm_grad", run_batch_norm_grad, sizeof(ChannelAttrs)};
const Primitive kGroupNorm{"group_norm", run_group_norm, sizeof(ChannelAttrs)};
const Primitive kGroupNormGrad{"group_norm_grad", run_group_norm_grad, sizeof(ChannelAttrs)};

// [channels] for broadcasting against an input of `dim` dimensions.
Tensor per_channel(const Tensor& t, int dim) {
  Dims sizes = Dims::filled(dim, 1);
  sizes[1] = t.numel();
  return reshape(t, sizes);
}
Dims all_but_channels(int dim) {
  Dims dims{0};
  for (int d = 2; d < dim; ++d) dims.push_back(d);
  return dims;
}

}  // namespace

Tensor batch_norm(const Tensor& input, const Tensor& running_mean, const Tensor& running_var,
                  const Tensor& weight, const Tensor& bias, bool training, double momentum, double eps) {
  CR_CHECK(input.dim() >= 2,
           "batch_norm: expected input of at least 2 dimensions (batch, channels, ...), got shape ",
           input.sizes());
  const Dims channels{input.size(1)};
  check_parameter("batch_norm", "weight", weight, input, channels);
  check_parameter("batch_norm", "bias", bias, input, channels);
  check_parameter("batch_norm", "running_mean", running_mean, input, channels);
  check_parameter("batch_norm", "running_var", running_var, input, channels);
  CR_CHECK(training || (running_mean.defined() && running_var.defined()),
           "batch_norm: expected running_mean and running_var to be defined when training=False");
  const int64_t per_channel_count = channels[0] > 0 ? input.numel() / channels[0] : 0;
  CR_CHECK_VALUE(!training || per_channel_count != 1,
                 "Expected more than 1 value per channel when training, got input size ", input.sizes());
  for (const Tensor* t : {&running_mean, &running_var})
    CR_CHECK(!t->defined() || !training || t->is_contiguous(),
             "batch_norm: running statistics must be contiguous");
  const int64_t space = input.size(0) * channels[0] > 0 ? input.numel() / (input.size(0) * channels[0]) : 0;
  const ChannelAttrs attrs{input.size(0), channels[0], space, 1, momentum, eps, training};
  const Tensor x = raw(input), w = raw(weight), b = raw(bias), rm = raw(running_mean), rv = raw(running_var);
  const Tensor y = empty(input.sizes(), input.dtype()), rstd = empty(channels, input.dtype());
  const Tensor mean = empty(channels, input.dtype());
  launch(kBatchNorm, {&y, &rstd, &mean}, {&x, &w, &b, &rm, &rv}, attrs);
  if (training) {
    if (running_mean.defined()) running_mean.count_write();
    if (running_var.defined()) running_var.count_write();
  }
  if (!recording(input, weight, bias)) return y;
  return record("batch_norm", y, {&input, &weight, &bias},
                [attrs, rstd, mean, x = saved(input), w = weight.defined() ? saved(weight) : SavedTensor(),
                 b = bias](const Tensor& g, Needs need) -> std::array<Tensor, 3> {
                  const Tensor v = *x, weight = w.defined() ? *w : Tensor();
                  if (recording(g, v, weight)) {
                    const Dims over = all_but_channels(v.dim());
                    Tensor fixed_mean, fixed_var;
                    if (!attrs.training) {
                      fixed_mean = per_channel(mean, v.dim());
                      fixed_var = per_channel(1 / (rstd * rstd) - attrs.eps, v.dim());
                    }
                    Recorded r =
                        recorded_grads(g, v, weight.defined() ? per_channel(weight, v.dim()) : weight, over,
                                       over, true, attrs.eps, fixed_mean, fixed_var);
                    return {r.dx, r.dweight, r.dbias};
                  }
                  const Tensor dx = wanted(need[0], v), dw = wanted(need[1], weight), db = wanted(need[2], b);
                  const Tensor gc = raw(g), xc = raw(v), wc = raw(weight);
                  launch(kBatchNormGrad, {&dx, &dw, &db}, {&gc, &xc, &wc, &rstd, &mean}, attrs);
                  return {dx, dw, db};
                });
}

Tensor group_norm(const Tensor& input, int64_t groups, const Tensor& weight, const Tensor& bias, double eps) {
  CR_CHECK(input.dim() >= 2,
           "group_norm: expected input of at least 2 dimensions (batch, channels, ...), got shape ",
           input.sizes());
  CR_CHECK(groups > 0, "group_norm: expected num_groups to be positive, got ", groups);
  CR_CHECK(input.size(1) % groups == 0,
           "group_norm: expected number of channels in input to be divisible by ",
           "num_groups, got input of shape ", input.sizes(), " and num_groups=", groups);
  const Dims channels{input.size(1)};
  check_parameter("group_norm", "weight", weight, input, channels);
  check_parameter("group_norm", "bias", bias, input, channels);
  const int64_t n = input.size(0), space = n * channels[0] > 0 ? input.numel() / (n * channels[0]) : 0;
  const ChannelAttrs attrs{n, channels[0], space, groups, 0, eps, true};
  const Tensor x = raw(input), w = raw(weight), b = raw(bias);
  const Tensor y = empty(input.sizes(), input.dtype()), rstd = empty({n, groups}, input.dtype());
  const Tensor mean = empty({n, groups}, input.dtype());
  launch(kGroupNorm, {&y, &rstd, &mean}, {&x, &w, &b}, attrs);
  if (!recording(input, weight, bias)) return y;
  return record("group_norm", y, {&input, &weight, &bias},
                [attrs, rstd, mean, x = saved(input), w = weight.defined() ? saved(weight) : SavedTensor(),
                 b = bias](const Tensor& g, Needs need) -> std::array<Tensor, 3> {
                  const Tensor v = *x, weight = w.defined() ? *w : Tensor();
                  if (recording(g, v, weight)) {
                    // As [n, groups, channels of a group, space], where the last two share a mean.
                    const int64_t each = attrs.channels / attrs.groups;
                    const Dims grouped{attrs.n, attrs.groups, each, attrs.space};
                    Recorded r = recorded_grads(
                        reshape(g, grouped), reshape(v, grouped),
                        weight.defined() ? reshape(weight, {1, attrs.groups, each, 1}) : weight, {2, 3},
                        {0, 3}, true, attrs.eps, {}, {});
                    return {reshape(r.dx, v.sizes()), reshape(r.dweight, {attrs.channels}),
                            reshape(r.dbias, {attrs.channels})};
                  }
                  const Tensor dx = wanted(need[0], v), dw = wanted(need[1], weight), db = wanted(need[2], b);
                  const Tensor gc = raw(g), xc = raw(v), wc = raw(weight);
                  launch(kGroupNormGrad, {&dx, &dw, &db}, {&gc, &xc, &wc, &rstd, &mean}, attrs);
                  return {dx, dw, db};
                });
}

}  // namespace chainrule
