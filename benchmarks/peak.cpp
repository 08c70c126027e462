// What the machine can do: fused multiply-adds a second, and bytes a second for working sets of a given size.
// limit.py compiles this for the machine it stands on and loads it. It is no part of the library, so that a slow loop of the
// library's own cannot lower the limit that the library is measured against.
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <thread>
#include <vector>
#if defined(__x86_64__) || defined(_M_X64)
#include <immintrin.h>
#endif

namespace {

#if defined(__AVX512F__)
constexpr int kBytes = 64, kChains = 24;  // of 32 registers
#elif defined(__AVX__)
constexpr int kBytes = 32, kChains = 12;  // of 16
#elif defined(__aarch64__)
constexpr int kBytes = 16, kChains = 24;
#else
constexpr int kBytes = 16, kChains = 12;
#endif
template <class T> struct RegisterOf;
template <> struct RegisterOf<float> { typedef float type __attribute__((vector_size(kBytes))); };
template <> struct RegisterOf<double> { typedef double type __attribute__((vector_size(kBytes))); };
using V = RegisterOf<float>::type;

// The compiler knows nothing of the value from here on, and has to have it.
template <class R> inline void opaque(R& r) {
#if defined(__aarch64__)
  asm volatile("" : "+w"(r));
#elif defined(__AVX512F__)
  asm volatile("" : "+v"(r));
#else
  asm volatile("" : "+x"(r));
#endif
}

double seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// Runs work(i) on all threads, several times in a row, and returns the seconds of one round: the whole is timed from the
// first start to the last end, so that a thread which waits for its processor counts.
template <class Work> double timed(int threads, int rounds, const Work& work) {
  std::vector<double> begin(threads), end(threads);
  std::vector<std::thread> running;
  for (int i = 0; i < threads; ++i)
    running.emplace_back([&, i] {
      work(i);
      begin[i] = seconds();
      for (int r = 0; r < rounds; ++r) work(i);
      end[i] = seconds();
    });
  for (auto& t : running) t.join();
  double first = begin[0], last = end[0];
  for (int i = 1; i < threads; ++i) {
    first = begin[i] < first ? begin[i] : first;
    last = end[i] > last ? end[i] : last;
  }
  return (last - first) / rounds;
}

template <class T> void multiply_add(int64_t steps) {
  using R = typename RegisterOf<T>::type;
  R chain[kChains], factor = R{} + T(0.999), addend = R{} + T(0.001);
  opaque(factor), opaque(addend);
#pragma GCC unroll 24
  for (auto& c : chain) c = factor;
  for (int64_t i = 0; i < steps; ++i) {
#pragma GCC unroll 24
    for (auto& c : chain) c = c * factor + addend;
#pragma GCC unroll 24
    for (auto& c : chain) opaque(c);
  }
}

inline void stream(V* to, V value) {
#if defined(__AVX512F__)
  _mm512_stream_ps(reinterpret_cast<float*>(to), value);
#elif defined(__AVX__)
  _mm256_stream_ps(reinterpret_cast<float*>(to), value);
#elif defined(__x86_64__)
  _mm_stream_ps(reinterpret_cast<float*>(to), value);
#else
  *to = value;
#endif
}

// Each loop moves `count` registers in all and is about one array of them that is read, two, or two read and one written.
// Reading goes on in `streams` places at once: one keeps too few lines on their way from memory.
template <int streams> void read(const V* a, size_t count) {
  constexpr int step = 8 / streams;
  const size_t part = count / streams;
  V sum[8];
  for (auto& s : sum) s = V{};
  for (size_t i = 0; i + step <= part; i += step) {
#pragma GCC unroll 8
    for (int j = 0; j < 8; ++j) sum[j] += a[j / step * part + i + j % step];
  }
  for (auto& s : sum) opaque(s);
}

template <bool streaming> void copy(V* a, size_t count) {
  const size_t half = count / 2;
  V* to = a + half;
  for (size_t i = 0; i + 4 <= half; i += 4) {
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) {
      V v = a[i + j];
      opaque(v);
      streaming ? stream(to + i + j, v) : void(to[i + j] = v);
    }
  }
}

template <bool streaming> void triad(V* a, size_t count) {
  const size_t third = count / 3;
  V *b = a + third, *to = b + third;
  for (size_t i = 0; i + 4 <= third; i += 4) {
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) {
      const V v = a[i + j] + b[i + j];
      streaming ? stream(to + i + j, v) : void(to[i + j] = v);
    }
  }
}

}  // namespace

// Arithmetic operations a second, best of `tries`; a fused multiply-add is two.
extern "C" double peak_flops(int threads, int is_double, int tries) {
  const int64_t steps = 200000;
  const double lanes = kBytes / (is_double ? 8.0 : 4.0);
  double best = 0;
  for (int t = 0; t < tries; ++t) {
    const double s =
        timed(threads, 8, [&](int) { is_double ? multiply_add<double>(steps) : multiply_add<float>(steps); });
    const double rate = threads * (2.0 * lanes * kChains * static_cast<double>(steps)) / s;
    best = rate > best ? rate : best;
  }
  return best;
}

// Bytes a second that loops over a working set of `bytes` move, best of `tries`. kind 0 reads; kind 1 reads and writes, the
// best of a copy and a sum of two arrays, each with ordinary and with streaming stores.
extern "C" double peak_bandwidth(int threads, int64_t bytes, int kind, int tries) {
  const size_t count = static_cast<size_t>(bytes) / threads / (kBytes * 24) * 24;  // registers a thread
  std::vector<V*> memory(threads);
  for (auto& m : memory) m = static_cast<V*>(std::aligned_alloc(4096, (count * kBytes + 4095) / 4096 * 4096));
  timed(threads, 1, [&](int i) {
    for (size_t j = 0; j < count; ++j) memory[i][j] = V{} + 1.0f;
  });
  const double moved = static_cast<double>(count) * kBytes * threads;
  const int rounds = static_cast<int>(2e8 / moved) + 2;
  double best = 0;
  const auto measure = [&](auto loop) {
    const double rate = moved / timed(threads, rounds, [&](int i) { loop(memory[i], count); });
    best = rate > best ? rate : best;
  };
  for (int t = 0; t < tries; ++t) {
    if (kind == 0) {
      measure([](V* a, size_t n) { read<1>(a, n); });
      measure([](V* a, size_t n) { read<4>(a, n); });
      measure([](V* a, size_t n) { read<8>(a, n); });
    } else {
      measure([](V* a, size_t n) { copy<false>(a, n); });
      measure([](V* a, size_t n) { triad<false>(a, n); });
      if (moved > 4e6) {
        measure([](V* a, size_t n) { copy<true>(a, n); });
        measure([](V* a, size_t n) { triad<true>(a, n); });
      }
    }
  }
  for (auto* m : memory) std::free(m);
  return best;
}
