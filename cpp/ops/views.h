// Views: other sizes and strides over the same storage, and the copies that stand in where no view can.
#pragma once
#include <vector>

#include "core/tensor.h"

namespace chainrule {

Tensor as_strided(const Tensor& x, const Dims& sizes, const Dims& strides, int64_t storage_offset);
Tensor transpose(const Tensor& x, int64_t dim0, int64_t dim1);
Tensor t(const Tensor& x);  // up to two dimensions, in reverse order
Tensor permute(const Tensor& x, const Dims& dims);
Tensor view(const Tensor& x, Dims sizes);     // Error when no strides can do it; one size may be -1
Tensor reshape(const Tensor& x, Dims sizes);  // a view where possible, else a copy
Tensor expand(const Tensor& x, const Dims& sizes);
Tensor squeeze(const Tensor& x);
Tensor squeeze(const Tensor& x, const Dims& dims);
Tensor unsqueeze(const Tensor& x, int64_t dim);
Tensor select(const Tensor& x, int64_t dim, int64_t index);
// x[start:stop:step] along dim; step > 0, bounds as in Python.
Tensor slice(const Tensor& x, int64_t dim, int64_t start, int64_t stop, int64_t step = 1);
Tensor narrow(const Tensor& x, int64_t dim, int64_t start, int64_t length);
Tensor flatten(const Tensor& x, int64_t start_dim = 0, int64_t end_dim = -1);
Tensor unflatten(const Tensor& x, int64_t dim, const Dims& sizes);
Tensor movedim(const Tensor& x, const Dims& source, const Dims& destination);
Tensor diagonal(const Tensor& x, int64_t offset = 0, int64_t dim1 = 0, int64_t dim2 = 1);
std::vector<Tensor> split(const Tensor& x, const Dims& lengths, int64_t dim);
std::vector<Tensor> split(const Tensor& x, int64_t length, int64_t dim);
std::vector<Tensor> chunk(const Tensor& x, int64_t chunks, int64_t dim);
std::vector<Tensor> unbind(const Tensor& x, int64_t dim = 0);
std::vector<Tensor> split_list(const char* op, const Tensor& x, const std::vector<int64_t>& lengths,
                               int64_t dim);
Tensor view_as_alias(const Tensor& x);  // the same sizes: x[...]

Tensor contiguous(const Tensor& x);
Tensor clone(const Tensor& x);
Tensor detach(const Tensor& x);

// The sizes with -1 replaced by what is left.
Dims infer_size(const char* op, Dims sizes, int64_t numel);

// For writes through views (autograd/record.cpp): `view` and `base` give geometry, g is base's gradient.
Tensor view_of_base(const Tensor& base, const Tensor& view);
Tensor slice_of_gradient(const Tensor& g, const Tensor& base, const Tensor& view);
Tensor replace_slice(const Tensor& g, const Tensor& slice, const Tensor& base, const Tensor& view);

}  // namespace chainrule
