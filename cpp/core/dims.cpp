#include "core/dims.h"

#include <algorithm>

#include "core/unnamed_error.h"

namespace chainrule {

void throw_bad_sizes(const Dims& sizes) {
  for (int64_t s : sizes) CR_CHECK_AS(UnnamedError, s >= 0, "a size may not be negative, got shape ", sizes);
  throw UnnamedError(text("shape ", sizes, " has more elements than memory can address"));
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
