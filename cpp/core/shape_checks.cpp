#include "core/shape_checks.h"

#include <algorithm>

namespace chainrule {
namespace {

// First and one-past-last byte that t can touch.
std::pair<const char*, const char*> span_of(const Tensor& t) {
  int64_t low = 0, high = 0;
  for (int i = 0; i < t.dim(); ++i) (t.stride(i) < 0 ? low : high) += (t.size(i) - 1) * t.stride(i);
  const auto bytes = static_cast<int64_t>(t.item_bytes());
  return {t.bytes() + low * bytes, t.bytes() + (high + 1) * bytes};
}

bool same_elements(const Tensor& a, const Tensor& b) {
  return a.bytes() == b.bytes() && a.dtype() == b.dtype() && a.sizes() == b.sizes() &&
         a.strides() == b.strides();
}

}  // namespace

void check_no_internal_overlap(const char* op, const Tensor& out) {
  if (out.is_contiguous() || out.numel() == 0) return;
  for (int i = 0; i < out.dim(); ++i)
    CR_CHECK(
        out.size(i) <= 1 || out.stride(i) != 0, op,
        ": unsupported operation: more than one element of the written-to tensor refers to a single memory "
        "location (an expanded tensor). Please clone() the tensor before performing the operation.");
}

void check_no_partial_overlap(const char* op, const Tensor& out, const Tensor& in) {
  if (out.impl()->storage.get() != in.impl()->storage.get() || out.same(in)) return;
  if (out.numel() == 0 || in.numel() == 0) return;
  if (same_elements(out, in)) return;
  const auto [a, b] = span_of(out);
  const auto [c, d] = span_of(in);
  if (b <= c || d <= a) return;
  // Columns of one matrix interleave without touching: the same strides, apart by less than the innermost step.
  if (out.strides() == in.strides() && out.sizes() == in.sizes()) {
    int64_t step = INT64_MAX;
    for (int i = 0; i < out.dim(); ++i)
      if (out.size(i) > 1) step = std::min(step, std::abs(out.stride(i)));
    const int64_t apart = std::abs(out.storage_offset() - in.storage_offset());
    if (apart < step) return;
    if (out.dim() == 2 && apart % std::max<int64_t>(out.stride(0), 1) + out.size(1) <= out.stride(0) &&
        apart % std::max<int64_t>(out.stride(0), 1) >= out.size(1))
      return;
  }
  throw Error(
      text(op,
           ": unsupported operation: some elements of the input tensor and the written-to tensor refer to a "
           "single memory location. Please clone() the tensor before performing the operation."));
}

bool may_overlap(const Tensor& out, const Tensor& in) {
  if (out.numel() == 0 || in.numel() == 0) return false;
  const auto [a, b] = span_of(out);
  const auto [c, d] = span_of(in);
  return c < b && a < d;
}
bool may_overlap_partly(const Tensor& out, const Tensor& in) {
  return may_overlap(out, in) && !same_elements(out, in);
}

bool is_dense(const Tensor& t) {
  if (t.is_contiguous()) return true;
  Dims order;
  for (int i = 0; i < t.dim(); ++i)
    if (t.size(i) != 1) order.push_back(i);
  std::sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return t.stride(a) < t.stride(b); });
  int64_t step = 1;
  for (int64_t d : order) {
    if (t.stride(d) != step) return false;
    step *= t.size(d);
  }
  return true;
}

Tensor empty_in_layout(const Tensor& like, const Dims& sizes, DType dtype) {
  Tensor out = empty(sizes, dtype);
  if (!like.is_contiguous() && like.sizes() == sizes && is_dense(like))
    return alias(out, sizes, like.strides());
  return out;
}

}  // namespace chainrule
