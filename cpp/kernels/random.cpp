#include "kernels/random.h"

#include <cstring>

#include "simd/math.h"

namespace chainrule::CR_ISA {
namespace {

inline float fused(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
inline double fused(double a, double b, double c) { return __builtin_fma(a, b, c); }

// One rounding for the product and the sum: PyTorch's kernels are compiled so, and a fused operation has the
// same bits on every machine. Between 0 and 1 neither rounds.
template <class T, class Unit> void scale(T* out, int64_t n, T from, T to, Unit unit) {
  if (from == 0 && to == 1) {
    for (int64_t i = 0; i < n; ++i) out[i] = unit(i);
  } else {
    const T range = to - from;
    for (int64_t i = 0; i < n; ++i) out[i] = fused(unit(i), range, from);
  }
}

template <class T> constexpr T kTwoPi = static_cast<T>(6.283185307179586);

// data[j] and data[j + 8] of a block, taken from u in (0, 1] and the angle.
template <class T> void blocks_of_16(T* data, int64_t blocks, T mean, T std) {
  using V = Vec<T>;
  constexpr int together = V::lanes / 8;  // blocks that fill one vector
  for (int64_t b = 0; b < blocks; b += together, data += 16 * together) {
    const int count = blocks - b < together ? static_cast<int>(blocks - b) : together;
    T u[V::lanes] = {}, angle[V::lanes] = {};
    for (int k = 0; k < count; ++k) {
      memcpy(u + 8 * k, data + 16 * k, 8 * sizeof(T));
      memcpy(angle + 8 * k, data + 16 * k + 8, 8 * sizeof(T));
    }
    const V radius = sqrt(T(-2) * log(T(1) - V::load(u)));
    const V theta = kTwoPi<T> * V::load(angle);
    fma(radius * cos(theta), V(std), V(mean)).store(u);
    fma(radius * sin(theta), V(std), V(mean)).store(angle);
    for (int k = 0; k < count; ++k) {
      memcpy(data + 16 * k, u + 8 * k, 8 * sizeof(T));
      memcpy(data + 16 * k + 8, angle + 8 * k, 8 * sizeof(T));
    }
  }
}

uint32_t twist(uint32_t u, uint32_t v) {
  return (((u & 0x80000000u) | (v & 0x7fffffffu)) >> 1) ^ ((0u - (v & 1u)) & 0x9908b0dfu);
}

template <class T> void choose_as(const ChooseArgs& a) {
  T* out = static_cast<T*>(a.out);
  const T yes = static_cast<T>(a.yes);
  const auto high = static_cast<uint32_t>(a.limit >> 32), low = static_cast<uint32_t>(a.limit);
  for (int64_t i = 0; i < a.n; ++i) {
    const uint32_t h = a.words[2 * i] & 0x1fffff, l = a.words[2 * i + 1];
    out[i] = (h < high) | ((h == high) & (l < low)) ? yes : T(0);
  }
}

}  // namespace

// Two loops rather than one with a remainder: each runs over vectors.
void twister_refill(const TwisterArgs& a) {
  constexpr int n = 624, m = 397;
  uint32_t* w = a.words;
  for (int j = 0; j < n - m; ++j) w[j] = w[j + m] ^ twist(w[j], w[j + 1]);
  for (int j = n - m; j < n - 1; ++j) w[j] = w[j + m - n] ^ twist(w[j], w[j + 1]);
  w[n - 1] = w[m - 1] ^ twist(w[n - 1], w[0]);
}

void twister_temper(const TemperArgs& a) {
  for (int64_t i = 0; i < a.n; ++i) {
    uint32_t y = a.words[i];
    y ^= y >> 11;
    y ^= (y << 7) & 0x9d2c5680u;
    y ^= (y << 15) & 0xefc60000u;
    a.out[i] = y ^ (y >> 18);
  }
}

void choose(const ChooseArgs& a) {
  switch (a.dtype) {
    case DType::Bool: return choose_as<bool>(a);
    case DType::UInt8: return choose_as<uint8_t>(a);
    case DType::Int32: return choose_as<int32_t>(a);
    case DType::Int64: return choose_as<int64_t>(a);
    case DType::Float32: return choose_as<float>(a);
    default: return choose_as<double>(a);
  }
}

void uniform(const UniformArgs& a) {
  const uint32_t* w = a.words;
  if (a.dtype == DType::Float32) {
    scale(static_cast<float*>(a.out), a.n, static_cast<float>(a.from), static_cast<float>(a.to),
          [w](int64_t i) { return static_cast<float>(static_cast<int32_t>(w[i] & 0xffffff)) * 0x1p-24f; });
  } else {
    scale(static_cast<double*>(a.out), a.n, a.from, a.to, [w](int64_t i) {
      const auto high = static_cast<double>(static_cast<int32_t>(w[2 * i] & 0x1fffff));
      return high * 0x1p-21 + static_cast<double>(w[2 * i + 1]) * 0x1p-53;
    });
  }
}

void normal_blocks(const NormalBlocksArgs& a) {
  if (a.dtype == DType::Float32)
    blocks_of_16(static_cast<float*>(a.data), a.blocks, static_cast<float>(a.mean),
                 static_cast<float>(a.std));
  else
    blocks_of_16(static_cast<double*>(a.data), a.blocks, a.mean, a.std);
}

void normal_pairs(const NormalPairsArgs& a) {
  using V = Vec<double>;
  for (int64_t i = 0; i < a.pairs; i += V::lanes) {
    const int count = a.pairs - i < V::lanes ? static_cast<int>(a.pairs - i) : V::lanes;
    double first[V::lanes] = {}, second[V::lanes] = {};
    for (int k = 0; k < count; ++k) {
      first[k] = a.u[2 * (i + k)];
      second[k] = a.u[2 * (i + k) + 1];
    }
    const V radius = sqrt(-2.0 * log1p(-V::load(second)));
    const V theta = kTwoPi<double> * V::load(first);
    (radius * cos(theta)).store(first);
    (radius * sin(theta)).store(second);
    for (int k = 0; k < count; ++k) {
      a.z[2 * (i + k)] = first[k];
      a.z[2 * (i + k) + 1] = second[k];
    }
  }
}

void exponential(const ExponentialArgs& a) {
  using V = Vec<double>;
  const V scale = -1 / a.lambda;
  for (int64_t i = 0; i < a.n; i += V::lanes) {
    const int count = a.n - i < V::lanes ? static_cast<int>(a.n - i) : V::lanes;
    (scale * log1p(-V::load(a.u + i, count))).store(a.u + i, count);
  }
}

}  // namespace chainrule::CR_ISA
