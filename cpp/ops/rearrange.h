// Elements repeated, turned, cut to triangles, padded.
#pragma once
#include <string>
#include <vector>

#include "core/scalar.h"

namespace chainrule {

Tensor repeat(const Tensor& x, const Dims& repeats);
Tensor tile(const Tensor& x, Dims repeats);
Tensor repeat_interleave(const Tensor& x, int64_t repeats, int64_t dim);
// Slice i of dim as often as repeats[i] says.
Tensor repeat_interleave(const Tensor& x, const Tensor& repeats, int64_t dim);
Tensor repeated_numbers(const Tensor& repeats);  // 0 repeats[0] times, 1 repeats[1] times, ...
Tensor flip(const Tensor& x, const Dims& dims);
Tensor roll(const Tensor& x, const Dims& shifts,
            const Dims& dims);  // no dims: of the elements in row-major order
Tensor rot90(const Tensor& x, int64_t k, const Dims& dims);
Tensor triangle(const Tensor& x, int64_t diagonal, bool upper);
const Tensor& triangle_(const Tensor& x, int64_t diagonal, bool upper);
Tensor diag(const Tensor& x, int64_t diagonal);
std::vector<Tensor> meshgrid(const std::vector<Tensor>& axes, bool xy);
Tensor stack_along(const char* op, const std::vector<Tensor>& tensors,
                   int at_least);  // 1: hstack, 2: vstack, 3: dstack
Tensor one_hot(const Tensor& x, int64_t classes);

// `pads`: before and after the last dimension, then the one before it, ...; negative numbers cut off.
Tensor pad_constant(const Tensor& x, const Dims& pads, const Scalar& value);
Tensor pad(const Tensor& x, const Dims& pads, const std::string& mode, const Scalar& value);

}  // namespace chainrule
