// The normalisation layers and embedding.
#include "ops/norm.h"

#include <limits>

#include "bindings/topics.h"
#include "ops/embedding.h"

namespace chainrule::python {
void bind_norm(Bind& nn) {
  nn.op(
      "layer_norm(Tensor input, int[] normalized_shape, Tensor? weight=None, Tensor? bias=None, float eps=1e-05) -> "
      "Tensor",
      [](Args& a) { return wrap(layer_norm(a.tensor(0), a.dims(1), a.tensor(2), a.tensor(3), a.number(4))); },
      Where::Function, "(x - mean) / sqrt(var + eps) over the last dimensions, times weight, plus bias.");
  nn.op(
      "rms_norm(Tensor input, int[] normalized_shape, Tensor? weight=None, float? eps=None) -> Tensor",
      [](Args& a) {
        const double smallest = a.tensor(0).dtype() == DType::Float64 ? std::numeric_limits<double>::epsilon()
                                                                      : std::numeric_limits<float>::epsilon();
        return wrap(rms_norm(a.tensor(0), a.dims(1), a.tensor(2), a.has(3) ? a.number(3) : smallest));
      },
      Where::Function, "x / sqrt(mean(x^2) + eps) over the last dimensions, times weight.");
  nn.op(
      "batch_norm(Tensor input, Tensor? running_mean, Tensor? running_var, Tensor? weight=None, Tensor? bias=None, "
      "bool training=False, float momentum=0.1, float eps=1e-05) -> Tensor",
      [](Args& a) {
        return wrap(batch_norm(a.tensor(0), a.tensor(1), a.tensor(2), a.tensor(3), a.tensor(4), a.flag(5),
                               a.number(6), a.number(7)));
      },
      Where::Function,
      "(x - mean) / sqrt(var + eps) of each channel, times weight, plus bias: over the batch in training, when the "
      "running statistics take part of it, and else by the running statistics.");
  nn.op(
      "group_norm(Tensor input, int num_groups, Tensor? weight=None, Tensor? bias=None, float eps=1e-05) -> Tensor",
      [](Args& a) {
        return wrap(group_norm(a.tensor(0), a.integer(1), a.tensor(2), a.tensor(3), a.number(4)));
      },
      Where::Function, "(x - mean) / sqrt(var + eps) over groups of channels, times weight, plus bias.");
  nn.op(
      "embedding(Tensor input, Tensor weight, int? padding_idx=None, float? max_norm=None, float norm_type=2.0, "
      "bool scale_grad_by_freq=False, bool sparse=False) -> Tensor",
      [](Args& a) {
        CR_CHECK(!a.flag(6), "embedding: there are no sparse gradients; sparse must be False");
        EmbeddingOptions options;
        if (a.has(2)) options.padding_idx = a.integer(2);
        if (a.has(3)) options.max_norm = a.number(3);
        options.norm_type = a.number(4);
        options.scale_grad_by_freq = a.flag(5);
        return wrap(embedding(a.tensor(0), a.tensor(1), options));
      },
      Where::Function, "The rows of weight that input names.");
}

}  // namespace chainrule::python
