#include "ops/conv.h"

#include "autograd/record.h"
#include "kernels/conv.h"
#include "ops/reduce.h"
#include "ops/views.h"

namespace chainrule {
namespace {

ConvArgs args_of(const ConvGeometry& g, const Tensor& any) {
  ConvArgs a;
  a.dtype = any.dtype();
  a.groups = g.groups;
  a.in_h = g.in_h, a.in_w = g.in_w, a.out_h = g.out_h, a.out_w = g.out_w;
  a.kernel_h = g.kernel_h, a.kernel_w = g.kernel_w;
  a.stride_h = g.stride_h, a.stride_w = g.stride_w;
  a.pad_h = g.pad_h, a.pad_w = g.pad_w;
  a.dilation_h = g.dilation_h, a.dilation_w = g.dilation_w;
  return a;
}

// out (n, o, oh, ow); in: input, weight (and bias)
void run_forward(const Launch& l) {
  ConvArgs a = args_of(l.attrs<ConvGeometry>(), l.out(0));
  a.n = l.in(0).size(0), a.in_channels = l.in(0).size(1), a.out_channels = l.in(1).size(0);
  a.input = l.in(0).bytes(), a.weight = l.in(1).bytes();
  if (l.in_count == 3) a.bias = l.in(2).bytes();
  a.out = l.out(0).bytes();
  kernels::conv2d_forward(a);
}
const Primitive kForward{"conv2d", run_forward, sizeof(ConvGeometry)};

// out (n, c, h, w); in: the gradient of the output, weight
void run_input_grad(const Launch& l) {
  ConvArgs a = args_of(l.attrs<ConvGeometry>(), l.out(0));
  a.n = l.in(0).size(0), a.in_channels = l.out(0).size(1), a.out_channels = l.in(1).size(0);
  a.grad = l.in(0).bytes(), a.weight = l.in(1).bytes(), a.out = l.out(0).bytes();
  kernels::conv2d_input_grad(a);
}
const Primitive kInputGrad{"conv2d_input_grad", run_input_grad, sizeof(ConvGeometry)};

// out (o, c / groups, kh, kw); in: the gradient of the output, input
void run_weight_grad(const Launch& l) {
  ConvArgs a = args_of(l.attrs<ConvGeometry>(), l.out(0));
  a.n = l.in(1).size(0), a.in_channels = l.in(1).size(1), a.out_channels = l.out(0).size(0);
  a.grad = l.in(0).bytes(), a.input = l.in(1).bytes(), a.out = l.out(0).bytes();
  kernels::conv2d_weight_grad(a);
}
const Primitive kWeightGrad{"conv2d_weight_grad", run_weight_grad, sizeof(ConvGeometry)};

Tensor dense(const Tensor& x) {
  NoGrad no_grad;
  return contiguous(detach(x));
}

Tensor input_grad(const Tensor& g, const Tensor& weight, const ConvGeometry& geometry);
Tensor weight_grad(const Tensor& g, const Tensor& input, const ConvGeometry& geometry);

Tensor forward(const Tensor& input, const Tensor& weight, const Tensor& bias, const ConvGeometry& geometry) {
  Tensor y = empty({input.size(0), weight.size(0), geometry.out_h, geometry.out_w}, input.dtype());
  const Tensor x = dense(input), w = dense(weight);
  if (bias.defined()) {
    const Tensor b = dense(bias);
    launch(kForward, {&y}, {&x, &w, &b}, geometry);
  } else {
    launch(kForward, {&y}, {&x, &w}, geometry);
  }
  if (!recording(input, weight, bias)) return y;
  auto derivative = [x = saved(input), w = saved(weight), geometry](const Tensor& g, Needs need) {
    std::array<Tensor, 2> out;
    if (need[0]) out[0] = input_grad(g, *w, geometry);
    if (need[1]) out[1] = weight_grad(g, *x, geometry);
    return out;
  };
  if (!bias.defined()) return record("convolution", y, {&input, &weight}, std::move(derivative));
  return record("convolution", y, {&input, &weight, &bias},
                [derivative](const Tensor& g, Needs need) -> std::array<Tensor, 3> {
                  auto [dx, dw] = derivative(g, need);
                  return {dx, dw, need[2] ? sum(g, {0, 2, 3}) : Tensor()};
                });
}

Tensor input_grad(const Tensor& grad, const Tensor& weight, const ConvGeometry& geometry) {
  Tensor dx =
      empty({grad.size(0), weight.size(1) * geometry.groups, geometry.in_h, geometry.in_w}, grad.dtype());
  const Tensor dy = dense(grad), w = dense(weight);
  launch(kInputGrad, {&dx}, {&dy, &w}, geometry);
  if (!recording(grad, weight)) return dx;
  return record("conv2d_input_grad", dx, {&grad, &weight},
                [dy = saved(grad), w = saved(weight), geometry](const Tensor& g, Needs need) {
                  std::array<Tensor, 2> out;
                  if (need[0]) out[0] = forward(g, *w, Tensor(), geometry);
                  if (need[1]) out[1] = weight_grad(*dy, g, geometry);
                  return out;
                });
}

Tensor weight_grad(const Tensor& grad, const Tensor& input, const ConvGeometry& geometry) {
  Tensor dw = empty({grad.size(1), input.size(1) / geometry.groups, geometry.kernel_h, geometry.kernel_w},
                    grad.dtype());
  const Tensor dy = dense(grad), x = dense(input);
  launch(kWeightGrad, {&dw}, {&dy, &x}, geometry);
  if (!recording(grad, input)) return dw;
  return record("conv2d_weight_grad", dw, {&grad, &input},
                [dy = saved(grad), x = saved(input), geometry](const Tensor& g, Needs need) {
                  std::array<Tensor, 2> out;
                  if (need[0]) out[0] = forward(*x, g, Tensor(), geometry);
                  if (need[1]) out[1] = input_grad(*dy, g, geometry);
                  return out;
                });
}

// The number of outputs along one dimension.
int64_t outputs(int64_t size, int64_t kernel, int64_t stride, int64_t before, int64_t behind,
                int64_t dilation) {
  const int64_t room = size + before + behind - dilation * (kernel - 1) - 1;
  return room < 0 ? 0 : room / stride + 1;
}

}  // namespace

Dims pair_of(const char* op, const char* name, const Dims& given, int64_t least) {
  CR_CHECK(given.size() == 1 || given.size() == 2, op, ": ", name, " must be one number or two, but is ",
           given);
  const Dims pair{given[0], given.back()};
  for (int64_t v : pair)
    CR_CHECK(v >= least, op, ": ", name, " must be ", least == 0 ? "non-negative" : "positive", ", but is ",
             given);
  return pair;
}

Tensor conv2d(const Tensor& input, const Tensor& weight, const Tensor& bias, const Dims& strides,
              const Dims& padding, const Dims& dilations, int64_t groups, const std::string& mode) {
  CR_CHECK(weight.dim() == 4,
           "conv2d: weight must have shape (out_channels, in_channels / groups, height, width), but is ",
           weight.sizes());
  CR_CHECK(
      input.dim() == 3 || input.dim() == 4,
      "conv2d: input must have shape (batch, channels, height, width) or (channels, height, width), but is ",
      input.sizes());
  CR_CHECK(input.dtype() == weight.dtype() && (!bias.defined() || bias.dtype() == weight.dtype()),
           "conv2d: input, weight and bias must have the same dtype, but are ", name_of(input.dtype()), ", ",
           name_of(weight.dtype()), bias.defined() ? text(" and ", name_of(bias.dtype())) : "");
  CR_CHECK(input.is_floating(), "conv2d: not implemented for ", name_of(input.dtype()));
  if (input.dim() == 3) {
    const Tensor y = conv2d(unsqueeze(input, 0), weight, bias, strides, padding, dilations, groups, mode);
    return select(y, 0, 0);
  }
  const Dims stride = pair_of("conv2d", "stride", strides, 1),
             dilation = pair_of("conv2d", "dilation", dilations, 1);
  CR_CHECK(groups > 0, "conv2d: groups must be positive, but is ", groups);
  CR_CHECK(weight.size(0) % groups == 0, "conv2d: weight of shape ", weight.sizes(), " has ", weight.size(0),
           " output channels, which ", groups, " groups do not divide");
  CR_CHECK(input.size(1) == weight.size(1) * groups, "conv2d: input of shape ", input.sizes(), " has ",
           input.size(1), " channels, but weight of shape ", weight.sizes(), " with ", groups,
           " group(s) expects ", weight.size(1) * groups);
  if (bias.defined())
    CR_CHECK(bias.dim() == 1 && bias.size(0) == weight.size(0), "conv2d: bias must have shape [",
             weight.size(0), "], one a output channel of weight ", weight.sizes(), ", but is ", bias.sizes());
  CR_CHECK(weight.size(2) > 0 && weight.size(3) > 0, "conv2d: the kernel of weight ", weight.sizes(),
           " is empty");

  ConvGeometry g;
  g.in_h = input.size(2), g.in_w = input.size(3);
  g.kernel_h = weight.size(2), g.kernel_w = weight.size(3);
  g.stride_h = stride[0], g.stride_w = stride[1];
  g.dilation_h = dilation[0], g.dilation_w = dilation[1];
  g.groups = groups;
  Dims behind{0, 0};
  if (mode == "same") {
    CR_CHECK(stride[0] == 1 && stride[1] == 1,
             "conv2d: padding='same' is not supported for strided convolutions");
    // An odd number of padding rows has one more behind than before.
    const int64_t total_h = dilation[0] * (g.kernel_h - 1), total_w = dilation[1] * (g.kernel_w - 1);
    g.pad_h = total_h / 2, g.pad_w = total_w / 2;
    behind = {total_h - g.pad_h, total_w - g.pad_w};
  } else if (mode.empty()) {
    const Dims pad = pair_of("conv2d", "padding", padding, 0);
    g.pad_h = pad[0], g.pad_w = pad[1];
    behind = pad;
  } else {
    CR_CHECK(mode == "valid", "conv2d: padding must be 'same', 'valid' or numbers, but is '", mode, "'");
  }
  g.out_h = outputs(g.in_h, g.kernel_h, g.stride_h, g.pad_h, behind[0], g.dilation_h);
  g.out_w = outputs(g.in_w, g.kernel_w, g.stride_w, g.pad_w, behind[1], g.dilation_w);
  CR_CHECK(g.out_h > 0 && g.out_w > 0, "conv2d: kernel ", Dims{g.kernel_h, g.kernel_w}, " with dilation ",
           dilation, " is larger than the padded input of shape ", input.sizes());
  return forward(input, weight, bias, g);
}

}  // namespace chainrule
