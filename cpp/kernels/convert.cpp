#include "kernels/convert.h"

#include "simd/native.h"

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
typedef int64_t Ints __attribute__((vector_size(32), aligned(8), may_alias));
typedef double Doubles __attribute__((vector_size(32)));
constexpr int64_t kBits = 0x4338000000000000;  // of 1.5 * 2^52

// AVX2 has no instruction for these. Added to the bits of 1.5 * 2^52, a number of less than 52 bits is the last part of
// a double, so that it takes one subtraction, which is exact, and one rounding.
template <> void convert<float, int64_t>(const LoopArgs& a) {
  typedef float Floats __attribute__((vector_size(16), aligned(4), may_alias));
  constexpr int64_t kReach = int64_t{1} << 51;
  float* const to = static_cast<float*>(a.out[0]);
  const int64_t* const from = static_cast<const int64_t*>(a.in[0]);
  int64_t i = 0;
  const auto one_by_one = [&](int64_t end) {
    for (; i < end; ++i) to[i] = static_cast<float>(from[i]);
  };
  while (i + 16 <= a.n) {
    Ints x[4], beyond = {};
    for (int u = 0; u < 4; ++u) {
      x[u] = *reinterpret_cast<const Ints*>(from + i + 4 * u);
      beyond |= (x[u] + kReach) & ~(2 * kReach - 1);
    }
    if ((beyond[0] | beyond[1] | beyond[2] | beyond[3]) != 0) {
      one_by_one(i + 16);
      continue;
    }
    for (int u = 0; u < 4; ++u) {
      const Doubles d = reinterpret_cast<Doubles>(x[u] + kBits) - 0x1.8p52;
      *reinterpret_cast<Floats*>(to + i + 4 * u) = __builtin_convertvector(d, Floats);
    }
    i += 16;
  }
  one_by_one(a.n);
}
// The other way: added to 1.5 * 2^52, a whole number of less than 52 bits is the last part of the sum's bits.
template <class From> void convert_to_int64(const LoopArgs& a) {
  typedef From Numbers __attribute__((vector_size(4 * sizeof(From)), aligned(sizeof(From)), may_alias));
  int64_t* const to = static_cast<int64_t*>(a.out[0]);
  const From* const from = static_cast<const From*>(a.in[0]);
  int64_t i = 0;
  const auto one_by_one = [&](int64_t end) {
    for (; i < end; ++i) to[i] = static_cast<int64_t>(from[i]);
  };
  while (i + 16 <= a.n) {
    Doubles x[4];
    Ints within = Ints{} - 1;
    for (int u = 0; u < 4; ++u) {
      const Doubles d = __builtin_convertvector(*reinterpret_cast<const Numbers*>(from + i + 4 * u), Doubles);
      x[u] = _mm256_round_pd(d, _MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC);
      within &= (x[u] < 0x1p51) & (x[u] > -0x1p51);
    }
    if ((within[0] & within[1] & within[2] & within[3]) == 0) {
      one_by_one(i + 16);
      continue;
    }
    for (int u = 0; u < 4; ++u)
      *reinterpret_cast<Ints*>(to + i + 4 * u) = reinterpret_cast<Ints>(x[u] + 0x1.8p52) - kBits;
    i += 16;
  }
  one_by_one(a.n);
}
template <> void convert<int64_t, float>(const LoopArgs& a) { convert_to_int64<float>(a); }
template <> void convert<int64_t, double>(const LoopArgs& a) { convert_to_int64<double>(a); }
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
