#include "ops/select.h"

#include <algorithm>

#include "autograd/record.h"
#include "core/parallel_for.h"
#include "ops/elementwise.h"
#include "ops/pick.h"
#include "ops/views.h"

namespace chainrule {
namespace {

// A vector of numbers along one dimension of x.
Places along(const char* op, const Tensor& x, int64_t dim, const Tensor& index, bool negative = false) {
  const int d = check_dim(op, dim, x.dim());
  CR_CHECK_INDEX(index.dim() <= 1, op, ": index is supposed to be a vector, but got shape ", index.sizes());
  CR_CHECK(index.dtype() == DType::Int64 || index.dtype() == DType::Int32, op,
           ": expected dtype int32 or int64 for index, got ", name_of(index.dtype()));
  const Tensor vector = index.dim() == 0 ? alias(index, {1}, {1}) : index;
  return {d, x.dim() == 0 ? 0 : 1, place_numbers(op, vector, x.dim() == 0 ? 1 : x.size(d), d, negative)};
}

// What goes to those places must look like x but along dim.
void check_source(const char* op, const Tensor& x, const Places& at, const Tensor& source) {
  CR_CHECK(source.dtype() == x.dtype(), op, ": self (", name_of(x.dtype()), ") and source (",
           name_of(source.dtype()), ") must have the same dtype");
  Dims expected = x.sizes();
  if (x.dim() > 0) expected[at.first] = at.numbers.numel();
  CR_CHECK(source.sizes() == expected || (source.dim() == 0 && at.numbers.numel() == 1 && x.dim() <= 1), op,
           ": source of shape ", source.sizes(), " does not match: an input of shape ", x.sizes(), " and ",
           at.numbers.numel(), " indices along dimension ", at.first, " need shape ", expected);
}

struct UnravelAttrs { Dims sizes; };
void run_unravel(const Launch& l) {
  const Dims& sizes = l.attrs<UnravelAttrs>().sizes;
  const auto* numbers = l.in(0).data<int64_t>();
  auto* out = l.out(0).data<int64_t>();
  const int n = sizes.size();
  const int64_t row = n == 0 ? 1 : sizes[n - 1];
  neutral::parallel_for(l.in(0).numel(), 8192, [&](int64_t begin, int64_t end) {
    int64_t start = -row;  // of the row that the last number lay in: most lie in the row of the one before
    for (int64_t i = begin; i < end; ++i) {
      int64_t* to = out + i * n;
      if (static_cast<uint64_t>(numbers[i] - start) >= static_cast<uint64_t>(row)) {
        int64_t left = numbers[i] / row;
        start = left * row;
        for (int d = n - 2; d >= 0; --d) {
          to[d] = left % sizes[d];
          left /= sizes[d];
        }
      } else {
        for (int d = n - 2; d >= 0; --d) to[d] = to[d - n];
      }
      if (n > 0) to[n - 1] = numbers[i] - start;
    }
  });
}
const Primitive kUnravel{"unravel", run_unravel, sizeof(UnravelAttrs)};

}  // namespace

Tensor index_select(const Tensor& x, int64_t dim, const Tensor& index) {
  const Places at = along("index_select", x, dim, index);
  if (x.dim() > 0) return pick("index_select", x, at);
  CR_CHECK(at.numbers.numel() == 1, "index_select: index to a scalar can have only 1 value, got ",
           at.numbers.numel(), " values");
  return reshape(pick("index_select", x, at), {});
}

const Tensor& index_add_(const Tensor& x, int64_t dim, const Tensor& index, const Tensor& source,
                         const Scalar& alpha) {
  Places at;
  try {
    at = along("index_add", x, dim, index);
  } catch (const IndexError& e) {
    if (index.dim() > 1) throw;
    throw Error(e.what());  // PyTorch's RuntimeError
  }
  check_source("index_add", x, at, source);
  const bool one = alpha.kind == Scalar::Kind::Float ? alpha.d == 1 : alpha.i == 1;
  CR_CHECK(alpha.kind != Scalar::Kind::Float || x.is_floating(),
           "index_add: for integral input tensors, argument alpha must not be a floating point number.");
  return put_("index_add", x, at, one ? source : source * alpha, PutMode::Add);
}

const Tensor& index_copy_(const Tensor& x, int64_t dim, const Tensor& index, const Tensor& source) {
  const Places at = along("index_copy", x, dim, index);
  check_source("index_copy", x, at, source);
  return put_("index_copy", x, at, source, PutMode::Set);
}

const Tensor& index_fill_(const Tensor& x, int64_t dim, const Tensor& index, const Tensor& value) {
  Places at = along("index_fill", x, dim, index, true);
  CR_CHECK(value.dim() == 0, "index_fill: only supports a 0-dimensional value tensor, but got tensor with ",
           value.dim(), " dimension(s).");
  // Each slice once, so that the value's gradient counts it once.
  auto* first = at.numbers.data<int64_t>();
  std::sort(first, first + at.numbers.numel());
  at.numbers = alias(at.numbers, {std::unique(first, first + at.numbers.numel()) - first}, {1});
  at.distinct = true;
  return put_("index_fill", x, at, to_dtype(value, x.dtype()), PutMode::Set);
}

Tensor take(const Tensor& x, const Tensor& index) {
  CR_CHECK(index.dtype() == DType::Int64, "take: expected an int64 tensor for index, but got ",
           name_of(index.dtype()));
  return pick("take", reshape(x, {-1}), {0, 1, place_numbers("take", index, x.numel(), 0)});
}

namespace {
Tensor checked_mask(const char* op, const Tensor& mask, const Dims& shape) {
  CR_CHECK(mask.dtype() == DType::Bool, op, ": expected the mask to be a bool tensor, but got ",
           name_of(mask.dtype()));
  return expand(detach(mask), shape);
}
}  // namespace

Tensor masked_select(const Tensor& x, const Tensor& mask) {
  const Dims shape = broadcast_shapes("masked_select", x.sizes(), mask.sizes());
  const Tensor numbers = nonzero_numbers(checked_mask("masked_select", mask, shape));
  return pick("masked_select", x.sizes() == shape ? x : expand(x, shape), {0, shape.size(), numbers, true});
}

const Tensor& masked_scatter_(const Tensor& x, const Tensor& mask, const Tensor& source) {
  CR_CHECK(source.dtype() == x.dtype(),
           "masked_scatter: expected self and source to have same dtypes but got ", name_of(x.dtype()),
           " and ", name_of(source.dtype()));
  const Dims shape = broadcast_shapes("masked_scatter", x.sizes(), mask.sizes());
  CR_CHECK(shape == x.sizes(), "masked_scatter: output with shape ", x.sizes(),
           " doesn't match the broadcast shape ", shape);
  const Tensor numbers = nonzero_numbers(checked_mask("masked_scatter", mask, shape));
  CR_CHECK(source.numel() >= numbers.numel(), "masked_scatter: expected source to have at least ",
           numbers.numel(), " elements, as many as the mask has ones, but it has ", source.numel());
  return put_("masked_scatter", x, {0, x.dim(), numbers, true},
              narrow(reshape(source, {-1}), 0, 0, numbers.numel()), PutMode::Set);
}

Tensor nonzero(const Tensor& x) {
  const Tensor numbers = nonzero_numbers(x);
  if (x.dim() == 1) return reshape(numbers, {numbers.numel(), 1});
  Tensor out = empty({numbers.numel(), x.dim()}, DType::Int64);
  launch(kUnravel, {&out}, {&numbers}, UnravelAttrs{x.sizes()});
  return out;
}

}  // namespace chainrule
