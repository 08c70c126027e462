// Products of matrices and vectors, all through the one GEMM (kernels/gemm.h).
#pragma once
#include "core/scalar.h"
#include "core/tensor.h"

namespace chainrule {

Tensor matmul(const Tensor& a, const Tensor& b,
              const Tensor& out = {});  // of vectors, matrices and broadcast batches of matrices
Tensor mm(const Tensor& a, const Tensor& b, const Tensor& out = {});
Tensor bmm(const Tensor& a, const Tensor& b, const Tensor& out = {});
Tensor mv(const Tensor& a, const Tensor& b, const Tensor& out = {});
Tensor dot(const Tensor& a, const Tensor& b, const Tensor& out = {});
Tensor outer(const Tensor& a, const Tensor& b);
Tensor inner(const Tensor& a, const Tensor& b);

// beta * input + alpha * (a b), input broadcast to the product's shape; with beta == 0 it is not read.
Tensor addmm(const Tensor& input, const Tensor& a, const Tensor& b, const Scalar& beta = 1,
             const Scalar& alpha = 1, const Tensor& out = {});
Tensor addmv(const Tensor& input, const Tensor& a, const Tensor& b, const Scalar& beta = 1,
             const Scalar& alpha = 1, const Tensor& out = {});
Tensor baddbmm(const Tensor& input, const Tensor& a, const Tensor& b, const Scalar& beta = 1,
               const Scalar& alpha = 1, const Tensor& out = {});

// x W^T + b for x (..., in), W (out, in) or (in), b (out) or undefined.
Tensor linear(const Tensor& x, const Tensor& weight, const Tensor& bias, bool then_relu = false);

Tensor tensordot(const Tensor& a, const Tensor& b, const Dims& dims_a, const Dims& dims_b);

}  // namespace chainrule
