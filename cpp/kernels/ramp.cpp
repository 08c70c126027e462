#include "kernels/ramp.h"

#include "core/parallel_for.h"

namespace chainrule::CR_ISA {
namespace {

inline float fused(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
inline double fused(double a, double b, double c) { return __builtin_fma(a, b, c); }

template <class T, class Step> void fill(const RampArgs& a) {
  const Step start = static_cast<Step>(a.start), step = static_cast<Step>(a.step);
  T* out = static_cast<T*>(a.out);
  parallel_for(a.n, int64_t{1} << 16, [=](int64_t begin, int64_t end) {
    // An index as a double and a small integer: 64-bit integers do not convert in vectors on every level.
    const auto base = static_cast<double>(a.first + begin);
    const auto count = static_cast<int32_t>(end - begin);
    for (int32_t i = 0; i < count; ++i)
      out[begin + i] = static_cast<T>(fused(step, static_cast<Step>(base + static_cast<double>(i)), start));
  });
}

}  // namespace

void ramp(const RampArgs& a) {
  switch (a.dtype) {
    case DType::Bool: return fill<bool, double>(a);
    case DType::UInt8: return fill<uint8_t, double>(a);
    case DType::Int32: return fill<int32_t, double>(a);
    case DType::Int64: return fill<int64_t, double>(a);
    case DType::Float32: return a.narrow ? fill<float, float>(a) : fill<float, double>(a);
    default: return fill<double, double>(a);
  }
}

}  // namespace chainrule::CR_ISA
