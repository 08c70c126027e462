// The keys that sorting and searching compare.
#pragma once
#include <bit>
#include <cstdint>
#include <type_traits>

namespace chainrule {

// An unsigned number in the order of x: the sign bit of a floating number says whether the others count up or
// down.
template <class T> auto order_key(T x) {
  if constexpr (std::is_floating_point_v<T>) {
    using U = std::conditional_t<sizeof(T) == 4, uint32_t, uint64_t>;
    if (x != x) return static_cast<U>(~U{0});
    if (x == 0) x = 0;  // one zero
    const U bits = std::bit_cast<U>(x), sign = U{1} << (sizeof(T) * 8 - 1);
    return static_cast<U>(bits & sign ? ~bits : bits | sign);
  } else if constexpr (std::is_same_v<T, int64_t>) {
    return static_cast<uint64_t>(x) ^ (uint64_t{1} << 63);
  } else {
    return static_cast<uint32_t>(static_cast<int64_t>(x) - (std::is_signed_v<T> ? INT32_MIN : 0));
  }
}

}  // namespace chainrule
