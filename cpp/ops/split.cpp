// Views of a tensor's parts along a dimension.
#include <algorithm>

#include "autograd/record.h"
#include "ops/fill.h"
#include "ops/join.h"
#include "ops/views.h"

namespace chainrule {

std::vector<Tensor> split(const Tensor& x, const Dims& lengths, int64_t dim) {
  std::vector<int64_t> list(lengths.begin(), lengths.end());
  return split_list("split", x, list, dim);
}

namespace {

// The gradients of a tensor's parts along d as that tensor's, where they lie side by side in memory; otherwise undefined.
Tensor already_joined(const TensorList& parts, const Dims& sizes, int d) {
  if (parts.empty() || recording(parts)) return Tensor();
  const Tensor& first = parts[0];
  int64_t start = 0;
  for (const Tensor& p : parts) {
    if (p.impl()->storage.get() != first.impl()->storage.get() || p.dtype() != first.dtype() ||
        p.strides() != first.strides() ||
        p.storage_offset() != first.storage_offset() + start * first.stride(d))
      return Tensor();
    start += p.size(d);
  }
  return alias(first, sizes, first.strides());
}

}  // namespace

// The gradient of all parts at once: they are put side by side again.
std::vector<Tensor> split_list(const char* op, const Tensor& x, const std::vector<int64_t>& lengths,
                               int64_t dim) {
  CR_CHECK(x.dim() > 0, op, ": cannot be applied to a 0-dim tensor.");
  const int d = check_dim(op, dim, x.dim());
  int64_t total = 0;
  for (int64_t n : lengths) {
    CR_CHECK(n >= 0, op, ": expects only non-negative lengths, got ", n);
    total += n;
  }
  CR_CHECK(total == x.size(d), op, ": the lengths sum to ", total, " but dimension ", d, " has size ",
           x.size(d));
  std::vector<Tensor> parts;
  int64_t start = 0;
  for (int64_t n : lengths) {
    Dims sizes = x.sizes();
    sizes[d] = n;
    parts.push_back(alias(x, sizes, x.strides(), start * x.stride(d)));
    start += n;
  }
  if (recording(x))
    record_all("split", parts, {&x},
               [from = x.sizes(), dtype = x.dtype(), lengths, d](const Grads& gs, Needs) {
                 TensorList all;
                 for (int i = 0; i < gs.size(); ++i) {
                   Dims sizes = from;
                   sizes[d] = lengths[static_cast<size_t>(i)];
                   all.push_back(gs[i].defined() ? gs[i] : zeros(sizes, dtype));
                 }
                 const Tensor joined = already_joined(all, from, d);
                 return joined.defined() ? joined : cat(all, d);
               });
  for (const Tensor& p : parts) link_view(p, x);
  return parts;
}

std::vector<Tensor> split(const Tensor& x, int64_t length, int64_t dim) {
  CR_CHECK(x.dim() > 0, "split: cannot be applied to a 0-dim tensor.");
  CR_CHECK(length >= 0, "split: split_size must be non-negative, got ", length);
  const int64_t n = x.size(check_dim("split", dim, x.dim()));
  CR_CHECK(length > 0 || n == 0,
           "split: split_size can only be 0 if dimension size is 0, but got dimension size of ", n);
  std::vector<int64_t> lengths;
  for (int64_t left = n; left > 0; left -= length) lengths.push_back(std::min(left, length));
  if (lengths.empty()) lengths.push_back(0);
  return split_list("split", x, lengths, dim);
}

std::vector<Tensor> chunk(const Tensor& x, int64_t chunks, int64_t dim) {
  CR_CHECK(x.dim() > 0, "chunk: cannot be applied to a 0-dim tensor.");
  CR_CHECK(chunks > 0, "chunk: expects `chunks` to be greater than 0, got: ", chunks);
  const int64_t n = x.size(check_dim("chunk", dim, x.dim()));
  if (n == 0) return split_list("chunk", x, std::vector<int64_t>(static_cast<size_t>(chunks), 0), dim);
  return split(x, (n + chunks - 1) / chunks, dim);
}

std::vector<Tensor> unbind(const Tensor& x, int64_t dim) {
  CR_CHECK_INDEX(x.dim() > 0, "unbind: cannot be applied to a 0-dim tensor.");
  const int d = check_dim("unbind", dim, x.dim());
  Dims sizes = x.sizes(), strides = x.strides();
  sizes.erase(d);
  strides.erase(d);
  std::vector<Tensor> parts;
  for (int64_t i = 0; i < x.size(d); ++i) parts.push_back(alias(x, sizes, strides, i * x.stride(d)));
  if (recording(x))
    record_all("unbind", parts, {&x}, [sizes, dtype = x.dtype(), d](const Grads& gs, Needs) {
      TensorList all;
      for (const Tensor& g : gs) all.push_back(g.defined() ? g : zeros(sizes, dtype));
      return stack(all, d);
    });
  for (const Tensor& p : parts) link_view(p, x);
  return parts;
}

}  // namespace chainrule
