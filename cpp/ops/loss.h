// Losses, with the signatures of torch.nn.functional.
#pragma once
#include "core/tensor.h"

namespace chainrule {

enum class LossReduction : uint8_t { None, Mean, Sum };

// target: class indices (int64), or probabilities of input's shape. weight: one number a class, or undefined.
Tensor cross_entropy(const Tensor& input, const Tensor& target, const Tensor& weight, int64_t ignore_index,
                     LossReduction reduction, double label_smoothing);
Tensor nll_loss(const Tensor& input, const Tensor& target, const Tensor& weight, int64_t ignore_index,
                LossReduction reduction);

Tensor mse_loss(const Tensor& input, const Tensor& target, const Tensor& weight, LossReduction reduction);
Tensor l1_loss(const Tensor& input, const Tensor& target, const Tensor& weight, LossReduction reduction);
Tensor smooth_l1_loss(const Tensor& input, const Tensor& target, LossReduction reduction, double beta);
Tensor binary_cross_entropy(const Tensor& input, const Tensor& target, const Tensor& weight,
                            LossReduction reduction);
Tensor binary_cross_entropy_with_logits(const Tensor& input, const Tensor& target, const Tensor& weight,
                                        LossReduction reduction, const Tensor& pos_weight);

}  // namespace chainrule
