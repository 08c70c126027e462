#include "kernels/convert.h"

namespace chainrule::CR_ISA {
namespace {

// The compiler finds the instructions. A number out of reach becomes what the machine's conversion makes of it, on all
// levels the same.
template <class To, class From> void convert(const LoopArgs& a) {
  To* __restrict to = static_cast<To*>(a.out[0]);
  const From* __restrict from = static_cast<const From*>(a.in[0]);
  for (int64_t i = 0, n = a.n; i < n; ++i) to[i] = static_cast<To>(from[i]);
}

#if defined(__AVX2__) && !defined(__AVX512DQ__)
// AVX2 has no instruction for these, and what the compiler makes of halves takes twice as long as one at a time.
template <> void convert<float, int64_t>(const LoopArgs& a) {
  float* to = static_cast<float*>(a.out[0]);
  const volatile int64_t* from = static_cast<const int64_t*>(a.in[0]);
#pragma GCC unroll 8
  for (int64_t i = 0, n = a.n; i < n; ++i) to[i] = static_cast<float>(from[i]);
}
#endif

template <class To> void fill(Loop* from, DType same) {
  from[static_cast<int>(DType::Bool)] = convert<To, uint8_t>;  // 0 or 1
  from[static_cast<int>(DType::UInt8)] = convert<To, uint8_t>;
  from[static_cast<int>(DType::Int32)] = convert<To, int32_t>;
  from[static_cast<int>(DType::Int64)] = convert<To, int64_t>;
  from[static_cast<int>(DType::Float32)] = convert<To, float>;
  from[static_cast<int>(DType::Float64)] = convert<To, double>;
  from[static_cast<int>(same)] = nullptr;
}

}  // namespace

void fill_convert_loops(const ConvertArgs& args) {
  auto* to = args.loops->loop;
  fill<bool>(to[static_cast<int>(DType::Bool)], DType::Bool);
  fill<uint8_t>(to[static_cast<int>(DType::UInt8)], DType::UInt8);
  fill<int32_t>(to[static_cast<int>(DType::Int32)], DType::Int32);
  fill<int64_t>(to[static_cast<int>(DType::Int64)], DType::Int64);
  fill<float>(to[static_cast<int>(DType::Float32)], DType::Float32);
  fill<double>(to[static_cast<int>(DType::Float64)], DType::Float64);
}

}  // namespace chainrule::CR_ISA
