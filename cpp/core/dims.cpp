#include "core/dims.h"

#include <algorithm>

#include "core/unnamed_error.h"

namespace chainrule {

int64_t numel_of(const Dims& sizes) {
  int64_t n = 1;
  for (int64_t s : sizes) {
    CR_CHECK_AS(UnnamedError, s >= 0, "a size may not be negative, got shape ", sizes);
    CR_CHECK_AS(UnnamedError, !__builtin_mul_overflow(n, s, &n) && n <= INT64_MAX / 16, "shape ", sizes,
                " has more elements than memory can address");
  }
  return n;
}

Dims contiguous_strides(const Dims& sizes) {
  Dims strides = Dims::filled(sizes.size(), 1);
  int64_t step = 1;
  for (int i = sizes.size() - 1; i >= 0; --i) {
    strides[i] = step;
    step *= std::max<int64_t>(sizes[i], 1);
  }
  return strides;
}

Dims broadcast_shapes(const char* op, const Dims& a, const Dims& b) {
  const int n = std::max(a.size(), b.size());
  Dims out = Dims::filled(n, 1);
  for (int i = 1; i <= n; ++i) {
    const int64_t x = i <= a.size() ? a[a.size() - i] : 1, y = i <= b.size() ? b[b.size() - i] : 1;
    CR_CHECK(
        x == y || x == 1 || y == 1, op, ": shapes ", a, " and ", b,
        " cannot be broadcast together: sizes, aligned at the last dimension, must be equal or 1, but dimension ",
        n - i, " has ", x, " and ", y);
    out[n - i] = x == 1 ? y : x;
  }
  return out;
}

int check_dim(const char* op, int64_t dim, int ndim) {
  const int64_t n = std::max(ndim, 1);
  CR_CHECK_INDEX(dim >= -n && dim < n, op, ": dim ", dim, " is out of range for a tensor of ", ndim,
                 " dimensions (expected to be in range of [", -n, ", ", n - 1, "])");
  return static_cast<int>(dim < 0 ? dim + n : dim);
}

}  // namespace chainrule
