#pragma once
#include <optional>

#include "core/random.h"
#include "core/tensor.h"

namespace chainrule {

// softmax(scale * q k^T + mask) v over (..., L, E), (..., S, E), (..., S, V). mask (bool: true takes part; else added)
// broadcasts to (..., L, S) and may be undefined; a row that sees nothing gives zeros. scale is 1 / sqrt(E) by itself.
// With enable_gqa several heads of q, dimension -3, share one of k and v.
Tensor scaled_dot_product_attention(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& mask,
                                    double dropout_p, bool is_causal, std::optional<double> scale,
                                    bool enable_gqa, Generator& g);

}  // namespace chainrule
