// Convolution and its two gradients, which are convolutions again: each is linear in both of its operands, so the three
// are one another's derivatives to every order.
#pragma once
#include <string>

#include "core/tensor.h"

namespace chainrule {

// A convolution's numbers. Padding is what lies before the first row and column; what lies behind follows from out_h and
// out_w, so that it may differ.
struct ConvGeometry {
  int64_t in_h = 0, in_w = 0, out_h = 0, out_w = 0, kernel_h = 0, kernel_w = 0;
  int64_t stride_h = 1, stride_w = 1, pad_h = 0, pad_w = 0, dilation_h = 1, dilation_w = 1, groups = 1;
};

// input (n, c, h, w) or (c, h, w), weight (out, c / groups, kh, kw), bias (out) or undefined. One number in a list of sizes
// stands for both. `mode`: "" (the padding given), "same" or "valid".
Tensor conv2d(const Tensor& input, const Tensor& weight, const Tensor& bias, const Dims& stride,
              const Dims& padding, const Dims& dilation, int64_t groups, const std::string& mode = "");

// A list of one or two numbers for the two dimensions of an image; `least` is the smallest that is allowed.
Dims pair_of(const char* op, const char* name, const Dims& given, int64_t least);

}  // namespace chainrule
