// The element types, and the rules by which they combine.
#pragma once
#include <cstddef>
#include <cstdint>

namespace chainrule {

enum class DType : uint8_t { Bool, UInt8, Int32, Int64, Float32, Float64 };
inline constexpr int kDTypes = 6;

constexpr size_t size_of(DType t) {
  constexpr size_t bytes[kDTypes] = {1, 1, 4, 8, 4, 8};
  return bytes[static_cast<int>(t)];
}
constexpr bool is_floating(DType t) { return t >= DType::Float32; }
constexpr bool is_integral(DType t) { return t < DType::Float32; }  // bool counts as integral, as in PyTorch

// May a result of one dtype be written into a tensor of another? Width may be lost, the kind may not.
constexpr bool can_cast(DType from, DType to) {
  return (!is_floating(from) || is_floating(to)) && (from == DType::Bool || to != DType::Bool);
}

// "float32": the name without a prefix.
constexpr const char* name_of(DType t) {
  constexpr const char* names[kDTypes] = {"bool", "uint8", "int32", "int64", "float32", "float64"};
  return names[static_cast<int>(t)];
}

template <class T> struct DTypeOf;
template <> struct DTypeOf<bool> { static constexpr DType value = DType::Bool; };
template <> struct DTypeOf<uint8_t> { static constexpr DType value = DType::UInt8; };
template <> struct DTypeOf<int32_t> { static constexpr DType value = DType::Int32; };
template <> struct DTypeOf<int64_t> { static constexpr DType value = DType::Int64; };
template <> struct DTypeOf<float> { static constexpr DType value = DType::Float32; };
template <> struct DTypeOf<double> { static constexpr DType value = DType::Float64; };
template <class T> inline constexpr DType dtype_of = DTypeOf<T>::value;

// Calls f(T{}) with the C++ type that stands for t.
template <class F> decltype(auto) visit_dtype(DType t, F&& f) {
  switch (t) {
    case DType::Bool: return f(bool{});
    case DType::UInt8: return f(uint8_t{});
    case DType::Int32: return f(int32_t{});
    case DType::Int64: return f(int64_t{});
    case DType::Float32: return f(float{});
    default: return f(double{});
  }
}
template <class F> decltype(auto) visit_floating(DType t, F&& f) {
  return t == DType::Float32 ? f(float{}) : f(double{});
}

}  // namespace chainrule
