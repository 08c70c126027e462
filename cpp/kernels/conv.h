// Two-dimensional convolution of dense NCHW images, as a matrix product whose second operand is read in place, from padded
// strips of the image (conv_tiles.h): the output is weight (out_channels x taps) times columns (taps x pixels), with the
// chains and K blocks of gemm.h, k running over (channel, row, column) of the kernel.
//   conv2d_input_grad:  the same product with k over (output channel, tap). With a stride, and where few windows meet a
//                       weight (conv_columns.h), what each tap gives is such a sum over output channels, and the taps
//                       are added from the last row of the kernel to the first; of fewer than 8 output channels (of at
//                       most 32 in groups of 3 x 3 kernels with stride two, in float32), a chain over (output channel,
//                       tap), the last tap first.
//   conv2d_weight_grad: k runs over the pixels of an image in blocks of 256 (strip by strip for large images; as many
//                       small images as fill a block share it), then over images; images are summed in at most 16
//                       chunks, a function of sizes, and the chunks in order.
// Few output channels take the same chains by registers of pixels (conv_direct.h), single input channels straight from the
// image (conv_planes.h), groups of one channel their weight's gradient by lanes (conv_depthwise.h), and 3 x 3 kernels with 16
// channels or more other sums altogether (conv_winograd.h). A kernel as large as its image is a linear layer.
#pragma once
#include "core/dtype.h"
#include "kernels/isa.h"

namespace chainrule {

struct ConvArgs {
  DType dtype = DType::Float32;
  int64_t n = 0, groups = 1;
  int64_t in_channels = 0, in_h = 0, in_w = 0;
  int64_t out_channels = 0, out_h = 0, out_w = 0;
  int64_t kernel_h = 0, kernel_w = 0;
  int64_t stride_h = 1, stride_w = 1, pad_h = 0, pad_w = 0, dilation_h = 1, dilation_w = 1;
  const void* input = nullptr;   // n, in_channels, in_h, in_w
  const void* weight = nullptr;  // out_channels, in_channels / groups, kernel_h, kernel_w
  const void* bias = nullptr;    // out_channels, or null
  const void* grad = nullptr;    // gradient of the output
  void* out = nullptr;           // the output, the input's gradient or the weight's gradient
};

CR_KERNEL(conv2d_forward, ConvArgs)
CR_KERNEL(conv2d_input_grad, ConvArgs)
CR_KERNEL(conv2d_weight_grad, ConvArgs)

}  // namespace chainrule
