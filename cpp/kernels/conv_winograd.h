// Convolution with 3 x 3 kernels and stride one by Winograd's F(2x2, 3x3): 16 multiplications in the place of 36.
//
// Against float64, on normal inputs of 16 to 512 channels, the largest error of float32 is 2e-7 to 6e-7 of the largest
// result, which is what chains of multiply-adds have (tests/test_conv.py); in float64 it is below 5e-15.
// A tile's transforms mix its inputs, so an infinity would make NaN of its neighbours, and so could a sum that overflows:
// elements that come out not finite are computed again from the definition, one by one.
// The sums: over channels in blocks of 256, as in gemm.h; for the weight's gradient over the tiles of a block of at most 64,
// over blocks, and over at most 16 chunks of images.
#pragma once
#include "kernels/conv.h"

namespace chainrule::CR_ISA {

// Does it pay for this convolution? Functions of sizes.
bool takes_winograd(const ConvArgs& a);
bool takes_winograd_weight_grad(const ConvArgs& a);

void winograd_forward(const ConvArgs& a);
void winograd_input_grad(const ConvArgs& a);
void winograd_weight_grad(const ConvArgs& a);

}  // namespace chainrule::CR_ISA
