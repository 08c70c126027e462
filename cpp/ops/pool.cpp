#include "ops/pool.h"

#include "autograd/record.h"
#include "kernels/pool.h"
#include "ops/conv.h"
#include "ops/reduce.h"
#include "ops/views.h"

namespace chainrule {
namespace {

struct PoolAttrs {
  int64_t in_h, in_w, out_h, out_w;
  int64_t kernel_h = 0, kernel_w = 0, stride_h = 1, stride_w = 1, pad_h = 0, pad_w = 0, dilation_h = 1,
          dilation_w = 1;
  bool count_include_pad = true;
  int64_t divisor = 0;
};

PoolArgs args_of(const Launch& l) {
  const PoolAttrs& p = l.attrs<PoolAttrs>();
  const Tensor& x = l.in(0);
  PoolArgs a;
  a.dtype = x.dtype();
  a.planes = 1;
  for (int d = 0; d < x.dim() - 2; ++d) a.planes *= x.size(d);
  a.in_h = p.in_h, a.in_w = p.in_w, a.out_h = p.out_h, a.out_w = p.out_w;
  a.kernel_h = p.kernel_h, a.kernel_w = p.kernel_w, a.stride_h = p.stride_h, a.stride_w = p.stride_w;
  a.pad_h = p.pad_h, a.pad_w = p.pad_w, a.dilation_h = p.dilation_h, a.dilation_w = p.dilation_w;
  a.count_include_pad = p.count_include_pad;
  a.divisor = p.divisor;
  a.in = x.bytes();
  a.out = l.out(0).bytes();
  return a;
}
// outs: values, indices; in: the image
void run_max(const Launch& l) {
  PoolArgs a = args_of(l);
  a.indices = l.out(1).data<int64_t>();
  kernels::max_pool2d(a);
}
// ins: a gradient or an image, indices
template <const Kernel<PoolArgs>& kernel> void run_indexed(const Launch& l) {
  PoolArgs a = args_of(l);
  a.indices = l.in(1).data<int64_t>();
  kernel(a);
}
template <const Kernel<PoolArgs>& kernel> void run_plain(const Launch& l) { kernel(args_of(l)); }

const Primitive kMax{"max_pool2d", run_max, sizeof(PoolAttrs)};
const Primitive kMaxGrad{"max_pool2d_grad", run_indexed<kernels::max_pool2d_grad>, sizeof(PoolAttrs)};
const Primitive kMaxGather{"max_pool2d_gather", run_indexed<kernels::max_pool2d_gather>, sizeof(PoolAttrs)};
const Primitive kAvg{"avg_pool2d", run_plain<kernels::avg_pool2d>, sizeof(PoolAttrs)};
const Primitive kAvgGrad{"avg_pool2d_grad", run_plain<kernels::avg_pool2d_grad>, sizeof(PoolAttrs)};
const Primitive kAdaptive{"adaptive_avg_pool2d", run_plain<kernels::adaptive_avg_pool2d>, sizeof(PoolAttrs)};
const Primitive kAdaptiveGrad{"adaptive_avg_pool2d_grad", run_plain<kernels::adaptive_avg_pool2d_grad>,
                              sizeof(PoolAttrs)};

Tensor dense(const Tensor& x) {
  NoGrad no_grad;
  return contiguous(detach(x));
}
// x's shape with other rows and columns.
Dims resized(const Tensor& x, int64_t h, int64_t w) {
  Dims sizes = x.sizes();
  sizes[x.dim() - 2] = h;
  sizes[x.dim() - 1] = w;
  return sizes;
}

void check_image(const char* op, const Tensor& x) {
  CR_CHECK(x.dim() == 3 || x.dim() == 4, op,
           ": input must have shape (batch, channels, height, width) or (channels, height, width), but is ",
           x.sizes());
  CR_CHECK(x.is_floating(), op, ": not implemented for ", name_of(x.dtype()));
  for (int d = x.dim() - 3; d < x.dim(); ++d)
    CR_CHECK(x.size(d) > 0, op, ": only the batch dimension may be empty, but input has shape ", x.sizes());
  CR_CHECK(x.size(-2) <= INT32_MAX / x.size(-1), op, ": an image of shape ", x.sizes(), " is too large");
}

// The number of windows: with ceil_mode the last may stick out, if it begins inside the image or the padding before it.
int64_t windows(int64_t size, int64_t kernel, int64_t stride, int64_t pad, int64_t dilation, bool ceil_mode) {
  const int64_t room = size + 2 * pad - dilation * (kernel - 1) - 1 + (ceil_mode ? stride - 1 : 0);
  if (room < 0) return 0;
  int64_t n = room / stride + 1;
  if (ceil_mode && (n - 1) * stride >= size + pad) --n;
  return n;
}

PoolAttrs attrs_of(const char* op, const Tensor& x, const Dims& kernels, const Dims& strides,
                   const Dims& pads, const Dims& dilations, bool ceil_mode) {
  check_image(op, x);
  const Dims kernel = pair_of(op, "kernel_size", kernels, 1);
  const Dims stride = strides.empty() ? kernel : pair_of(op, "stride", strides, 1);
  const Dims pad = pair_of(op, "padding", pads, 0), dilation = pair_of(op, "dilation", dilations, 1);
  CR_CHECK(2 * pad[0] <= kernel[0] && 2 * pad[1] <= kernel[1], op,
           ": padding must be at most half of the kernel size, but padding is ", pad, " and kernel_size ",
           kernel);
  PoolAttrs a{x.size(-2),
              x.size(-1),
              windows(x.size(-2), kernel[0], stride[0], pad[0], dilation[0], ceil_mode),
              windows(x.size(-1), kernel[1], stride[1], pad[1], dilation[1], ceil_mode),
              kernel[0],
              kernel[1],
              stride[0],
              stride[1],
              pad[0],
              pad[1],
              dilation[0],
              dilation[1]};
  CR_CHECK(a.out_h > 0 && a.out_w > 0, op, ": kernel_size ", kernel, " with padding ", pad, " and dilation ",
           dilation, " leaves nothing of the input of shape ", x.sizes());
  return a;
}

// The gradient of max_pool2d puts g where the maxima were; its own gradient picks them out again.
Tensor max_grad(const Tensor& g, const Tensor& indices, const PoolAttrs& attrs);
Tensor max_gather(const Tensor& x, const Tensor& indices, const PoolAttrs& attrs) {
  Tensor y = empty(indices.sizes(), x.dtype());
  const Tensor in = dense(x);
  launch(kMaxGather, {&y}, {&in, &indices}, attrs);
  if (!recording(x)) return y;
  return record("max_pool2d_gather", y, {&x},
                [indices, attrs](const Tensor& g) { return max_grad(g, indices, attrs); });
}
Tensor max_grad(const Tensor& g, const Tensor& indices, const PoolAttrs& attrs) {
  Tensor dx = empty(resized(g, attrs.in_h, attrs.in_w), g.dtype());
  const Tensor dy = dense(g);
  launch(kMaxGrad, {&dx}, {&dy, &indices}, attrs);
  if (!recording(g)) return dx;
  return record("max_pool2d_grad", dx, {&g},
                [indices, attrs](const Tensor& gg) { return max_gather(gg, indices, attrs); });
}

// A pooling that is linear, and its transpose: each is the other's derivative.
struct LinearPool {
  const char *name, *grad_name;
  const Primitive &forward, &transposed;
};
const LinearPool avg_pool{"avg_pool2d", "avg_pool2d_grad", kAvg, kAvgGrad};
const LinearPool adaptive_pool{"adaptive_avg_pool2d", "adaptive_avg_pool2d_grad", kAdaptive, kAdaptiveGrad};

Tensor pool(const LinearPool& p, const Tensor& x, const PoolAttrs& attrs, bool transposed) {
  Tensor y = empty(transposed ? resized(x, attrs.in_h, attrs.in_w) : resized(x, attrs.out_h, attrs.out_w),
                   x.dtype());
  const Tensor in = dense(x);
  launch(transposed ? p.transposed : p.forward, {&y}, {&in}, attrs);
  if (!recording(x)) return y;
  return record(transposed ? p.grad_name : p.name, y, {&x},
                [&p, attrs, transposed](const Tensor& g) { return pool(p, g, attrs, !transposed); });
}

}  // namespace

MaxPool max_pool2d(const Tensor& x, const Dims& kernel, const Dims& stride, const Dims& padding,
                   const Dims& dilation, bool ceil_mode) {
  const PoolAttrs attrs = attrs_of("max_pool2d", x, kernel, stride, padding, dilation, ceil_mode);
  const Dims sizes = resized(x, attrs.out_h, attrs.out_w);
  Tensor y = empty(sizes, x.dtype());
  Tensor indices = empty(sizes, DType::Int64);
  const Tensor in = dense(x);
  launch(kMax, {&y, &indices}, {&in}, attrs);
  if (recording(x))
    y = record("max_pool2d_with_indices", y, {&x},
               [indices = saved(indices), attrs](const Tensor& g) { return max_grad(g, *indices, attrs); });
  return {y, indices};
}

Tensor avg_pool2d(const Tensor& x, const Dims& kernel, const Dims& stride, const Dims& padding,
                  bool ceil_mode, bool count_include_pad, std::optional<int64_t> divisor_override) {
  CR_CHECK(!divisor_override || *divisor_override != 0, "avg_pool2d: divisor must be not zero");
  PoolAttrs attrs = attrs_of("avg_pool2d", x, kernel, stride, padding, {1}, ceil_mode);
  attrs.count_include_pad = count_include_pad;
  attrs.divisor = divisor_override.value_or(0);
  return pool(avg_pool, x, attrs, false);
}

Tensor adaptive_avg_pool2d(const Tensor& x, const Dims& output_size) {
  check_image("adaptive_avg_pool2d", x);
  CR_CHECK(output_size.size() == 2, "adaptive_avg_pool2d: output_size must be one number or two, but is ",
           output_size);
  PoolAttrs attrs{x.size(-2), x.size(-1), output_size[0], output_size[1]};
  CR_CHECK(attrs.out_h >= 0 && attrs.out_w >= 0,
           "adaptive_avg_pool2d: output_size must be non-negative, but is ", output_size);
  if (attrs.out_h == 1 && attrs.out_w == 1) return mean(x, {x.dim() - 2, x.dim() - 1}, true);
  return pool(adaptive_pool, x, attrs, false);
}

}  // namespace chainrule
