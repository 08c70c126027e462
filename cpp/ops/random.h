// Operations that draw random numbers. The in-place ones fill in the order of memory, and give their tensor
// no gradient.
#pragma once
#include <optional>

#include "core/random.h"
#include "core/tensor.h"

namespace chainrule {

const Tensor& uniform_(const Tensor& x, double from, double to, Generator& g);
const Tensor& normal_(const Tensor& x, double mean, double std, Generator& g);
const Tensor& exponential_(const Tensor& x, double lambda, Generator& g);
const Tensor& bernoulli_(const Tensor& x, double p, Generator& g);
const Tensor& bernoulli_(const Tensor& x, const Tensor& p, Generator& g);
// All the integers that the dtype can tell apart from 0 up; from `from` up; from `from` to `to` - 1.
const Tensor& random_(const Tensor& x, Generator& g);
const Tensor& random_(const Tensor& x, int64_t from, std::optional<int64_t> to, Generator& g);

// 0 to n - 1 in random order.
Tensor randperm(int64_t n, DType dtype, Generator& g);
// Ones with the probabilities p.
Tensor bernoulli(const Tensor& p, Generator& g);
// Normal numbers of the given means and standard deviations.
Tensor normal(const Tensor& mean, const Tensor& std, Generator& g);
Tensor normal(const Tensor& mean, double std, Generator& g);
Tensor normal(double mean, const Tensor& std, Generator& g);
// Indices drawn by weight, (samples) or (rows, samples).
Tensor multinomial(const Tensor& weights, int64_t samples, bool replacement, Generator& g);

// x with elements set to zero with probability p, and the others divided by 1 - p; x itself when nothing is
// to do.
Tensor dropout(const Tensor& x, double p, bool training, Generator& g);
const Tensor& dropout_(const Tensor& x, double p, bool training, Generator& g);

}  // namespace chainrule
