#include "core/random.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "kernels/random.h"

namespace chainrule {
namespace {

constexpr int64_t kChunk = 1024;  // words drawn at a time: they stay in the first-level cache

uint64_t join(uint32_t high, uint32_t low) { return uint64_t{high} << 32 | low; }

// The 5056 bytes that PyTorch reads and writes.
struct State {
  uint64_t seed;
  int32_t left;
  int32_t seeded;
  uint64_t next;
  uint64_t words[624];
  double normal_x;
  double normal_y;
  double normal_rho;
  int32_t normal_is_valid;
  int32_t padding;
  float float_normal;
  uint8_t float_normal_is_valid;
  uint8_t padding_end[3];
};
static_assert(sizeof(State) == Generator::kStateBytes);

// Calls f(begin, count, words) for pieces of [0, n), with words_each draws an element.
template <class F> void by_chunks(Generator& g, int64_t n, int64_t words_each, F&& f) {
  uint32_t words[kChunk];
  const int64_t step = kChunk / words_each;
  for (int64_t begin = 0; begin < n; begin += step) {
    const int64_t count = std::min(step, n - begin);
    g.random(words, count * words_each);
    f(begin, count, static_cast<const uint32_t*>(words));
  }
}

template <class T> constexpr int64_t words_each() { return sizeof(T) == 8 ? 2 : 1; }

template <class T> void uniform(Generator& g, T* out, int64_t n, double from, double to) {
  by_chunks(g, n, words_each<T>(), [&](int64_t begin, int64_t count, const uint32_t* words) {
    kernels::uniform({words, out + begin, count, from, to, dtype_of<T>});
  });
}

// Pairs by Box and Muller in double precision, the second of each pair waiting its turn.
template <class T> void normal_one_by_one(Generator& g, T* out, int64_t n, double mean, double std) {
  int64_t i = 0;
  auto put = [&](double z) { out[i++] = static_cast<T>(std::fma(z, std, mean)); };
  if (n > 0 && g.next_normal) {
    put(*g.next_normal);
    g.next_normal.reset();
  }
  double u[kChunk / 2], z[kChunk / 2];
  while (i < n) {
    const int64_t wanted = std::min<int64_t>(n - i, kChunk / 2), drawn = wanted + wanted % 2;
    uniform(g, u, drawn, 0, 1);
    kernels::normal_pairs({u, z, drawn / 2});
    for (int64_t k = 0; k < wanted; ++k) put(z[k]);
    if (drawn > wanted) g.next_normal = z[wanted];
  }
}

// Blocks of 16; an incomplete last block overwrites the last 16 elements with draws of its own.
template <class T> void normal_in_blocks(Generator& g, T* out, int64_t n, double mean, double std) {
  uniform(g, out, n, 0, 1);
  kernels::normal_blocks({out, n / 16, mean, std, dtype_of<T>});
  if (n % 16 == 0) return;
  T* tail = out + n - 16;
  uniform(g, tail, 16, 0, 1);
  kernels::normal_blocks({tail, 1, mean, std, dtype_of<T>});
}

// The exponential distribution is drawn in double precision, whatever the type.
template <class T> void exponential(Generator& g, T* out, int64_t n, double lambda) {
  double u[kChunk / 2];
  for (int64_t begin = 0; begin < n; begin += kChunk / 2) {
    const int64_t count = std::min(n - begin, kChunk / 2);
    uniform(g, u, count, 0, 1);
    kernels::exponential({u, count, lambda});
    for (int64_t k = 0; k < count; ++k) out[begin + k] = static_cast<T>(u[k]);
  }
}

// `yes` with probability p, else 0. A draw of 53 bits v counts as v / 2^53 < p, here v < ceil(p * 2^53).
void choose(Generator& g, DType type, void* out, int64_t n, double p, double yes) {
  const auto limit = static_cast<uint64_t>(std::ceil(p * 0x1p53));
  by_chunks(g, n, 2, [&](int64_t begin, int64_t count, const uint32_t* words) {
    void* to = static_cast<char*>(out) + begin * static_cast<int64_t>(size_of(type));
    kernels::choose({words, to, count, limit, yes, type});
  });
}

template <class T> void integers(Generator& g, T* out, int64_t n, uint64_t range, int64_t base) {
  auto put = [&](int64_t i, uint64_t x) {
    out[i] = static_cast<T>(static_cast<int64_t>(x + static_cast<uint64_t>(base)));
  };
  if (range != 0 && range < (uint64_t{1} << 28)) {  // so far 32 bits are near enough to uniform
    const auto r = static_cast<uint32_t>(range);
    by_chunks(g, n, 1, [&](int64_t begin, int64_t count, const uint32_t* words) {
      for (int64_t k = 0; k < count; ++k) put(begin + k, words[k] % r);
    });
  } else {
    by_chunks(g, n, 2, [&](int64_t begin, int64_t count, const uint32_t* words) {
      for (int64_t k = 0; k < count; ++k) {
        const uint64_t v = join(words[2 * k], words[2 * k + 1]);
        put(begin + k, range == 0 ? v - static_cast<uint64_t>(base) : v % range);
      }
    });
  }
}

template <class T> void all_integers(Generator& g, T* out, int64_t n) {
  by_chunks(g, n, words_each<T>(), [&](int64_t begin, int64_t count, const uint32_t* words) {
    for (int64_t k = 0; k < count; ++k) {
      const uint64_t v = sizeof(T) == 8 ? join(words[2 * k], words[2 * k + 1]) : words[k];
      if constexpr (std::is_same_v<T, bool>)
        out[begin + k] = v & 1;
      else if constexpr (std::is_floating_point_v<T>)
        out[begin + k] = static_cast<T>(v % ((uint64_t{1} << std::numeric_limits<T>::digits) + 1));
      else
        out[begin + k] = static_cast<T>(v & static_cast<uint64_t>(std::numeric_limits<T>::max()));
    }
  });
}

template <class T> void permutation(Generator& g, T* out, int64_t n) {
  if (n < std::numeric_limits<uint32_t>::max() / 20) {
    for (int64_t i = 0; i < n; ++i) out[i] = static_cast<T>(i);
    by_chunks(g, n - 1, 1, [&](int64_t begin, int64_t count, const uint32_t* words) {
      for (int64_t k = 0; k < count; ++k) {
        const int64_t i = begin + k;
        std::swap(out[i], out[i + words[k] % static_cast<uint32_t>(n - i)]);
      }
    });
  } else {  // 32 bits would be visibly uneven: 64, and the shuffle that grows from inside
    by_chunks(g, n, 2, [&](int64_t begin, int64_t count, const uint32_t* words) {
      for (int64_t k = 0; k < count; ++k) {
        const int64_t i = begin + k;
        const auto z =
            static_cast<int64_t>(join(words[2 * k], words[2 * k + 1]) % static_cast<uint64_t>(i + 1));
        out[i] = static_cast<T>(i);
        out[i] = out[z];
        out[z] = static_cast<T>(i);
      }
    });
  }
}

// Each sample inverts the cumulative distribution, summed and scaled in the weights' own precision.
template <class T>
void with_replacement(Generator& g, const T* weights, int64_t* out, int64_t categories, int64_t samples,
                      std::vector<T>& cumulative) {
  T sum = 0;
  for (int64_t j = 0; j < categories; ++j) cumulative[j] = sum += weights[j];
  for (int64_t j = 0; j < categories; ++j) cumulative[j] /= sum;
  cumulative[categories - 1] = 1;
  for (int64_t i = 0; i < samples; ++i) {
    const double u = g.uniform();
    out[i] = std::lower_bound(cumulative.begin(), cumulative.end(), u, [](T c, double x) { return c < x; }) -
             cumulative.begin();
  }
}

// A race of exponential clocks, one a category: the categories with the largest weight / clock win, in that
// order.
template <class T>
void without_replacement(const T* weights, const T* clocks, int64_t* out, int64_t categories, int64_t samples,
                         std::vector<T>& score, std::vector<int64_t>& order) {
  for (int64_t j = 0; j < categories; ++j) {
    score[j] = weights[j] / clocks[j];
    order[j] = j;
  }
  std::partial_sort(order.begin(), order.begin() + samples, order.end(), [&](int64_t a, int64_t b) {
    return score[a] > score[b] || (score[a] == score[b] && a < b);
  });
  std::copy_n(order.begin(), samples, out);
}

}  // namespace

void Generator::manual_seed(uint64_t seed) {
  seed_ = seed;
  words_[0] = static_cast<uint32_t>(seed);
  for (uint32_t j = 1; j < kWords; ++j) words_[j] = 1812433253u * (words_[j - 1] ^ (words_[j - 1] >> 30)) + j;
  left_ = 1;
  next_ = 0;
  next_normal.reset();
  next_float_normal.reset();
}

uint64_t Generator::seed() {
  std::random_device entropy;
  const uint64_t seed = join(entropy(), entropy()) & ((uint64_t{1} << 53) - 1);  // a double can hold it
  manual_seed(seed);
  return seed;
}

void Generator::refill() {
  kernels::twister_refill({words_});
  left_ = kWords;
  next_ = 0;
}

uint32_t Generator::random() {
  if (--left_ == 0) refill();
  uint32_t draw;
  kernels::twister_temper({words_ + next_++, &draw, 1});
  return draw;
}

uint64_t Generator::random64() {
  const uint32_t high = random();
  return join(high, random());
}

void Generator::random(uint32_t* out, int64_t n) {
  while (n > 0) {
    if (left_ == 1) {
      *out++ = random();  // refills
      --n;
      continue;
    }
    const int count = static_cast<int>(std::min<int64_t>(n, left_ - 1));
    kernels::twister_temper({words_ + next_, out, count});
    left_ -= count;
    next_ += count;
    out += count;
    n -= count;
  }
}

double Generator::uniform() { return static_cast<double>(random64() & ((uint64_t{1} << 53) - 1)) * 0x1p-53; }

void Generator::get_state(uint8_t* out) const {
  State s{};
  s.seed = seed_;
  s.left = left_;
  s.seeded = 1;
  s.next = static_cast<uint64_t>(next_);
  std::copy_n(words_, kWords, s.words);
  s.normal_is_valid = next_normal.has_value();
  s.normal_y = next_normal.value_or(0);
  s.float_normal_is_valid = next_float_normal.has_value();
  s.float_normal = next_float_normal.value_or(0);
  std::memcpy(out, &s, sizeof s);
}

bool Generator::set_state(const uint8_t* in) {
  State s;
  std::memcpy(&s, in, sizeof s);
  if (s.seeded != 1 || s.left < 1 || s.left > kWords || s.next > kWords) return false;
  // Together they must stay within the words, or a draw would read past their end.
  if (s.left > 1 && s.next + static_cast<uint64_t>(s.left) - 1 > kWords) return false;
  seed_ = s.seed;
  left_ = s.left;
  next_ = static_cast<int>(s.next);
  for (int j = 0; j < kWords; ++j) words_[j] = static_cast<uint32_t>(s.words[j]);
  next_normal = s.normal_is_valid ? std::optional(s.normal_y) : std::nullopt;
  next_float_normal = s.float_normal_is_valid ? std::optional(s.float_normal) : std::nullopt;
  return true;
}

Generator& default_generator() {
  static Generator& g = *[] {
    auto* made = new Generator;  // never destroyed: threads may draw while the process ends
    made->seed();
    return made;
  }();
  return g;
}

void fill_uniform(Generator& g, DType type, void* out, int64_t n, double from, double to) {
  std::lock_guard lock(g.mutex);
  visit_floating(type, [&](auto t) { uniform(g, static_cast<decltype(t)*>(out), n, from, to); });
}

void fill_normal(Generator& g, DType type, void* out, int64_t n, double mean, double std, bool contiguous) {
  std::lock_guard lock(g.mutex);
  visit_floating(type, [&](auto t) {
    auto* p = static_cast<decltype(t)*>(out);
    if (n >= 16 && contiguous)
      normal_in_blocks(g, p, n, mean, std);
    else
      normal_one_by_one(g, p, n, mean, std);
  });
}

void fill_exponential(Generator& g, DType type, void* out, int64_t n, double lambda) {
  std::lock_guard lock(g.mutex);
  visit_floating(type, [&](auto t) { exponential(g, static_cast<decltype(t)*>(out), n, lambda); });
}

void fill_bernoulli(Generator& g, DType type, void* out, int64_t n, double p) {
  std::lock_guard lock(g.mutex);
  choose(g, type, out, n, p, 1);
}

void fill_bernoulli(Generator& g, DType type, void* out, int64_t n, DType p_type, const void* p) {
  std::lock_guard lock(g.mutex);
  visit_dtype(type, [&](auto t) {
    using T = decltype(t);
    visit_floating(p_type, [&](auto probability) {
      using P = decltype(probability);
      P u[kChunk / 2];
      for (int64_t begin = 0; begin < n; begin += kChunk / 2) {
        const int64_t count = std::min(n - begin, kChunk / 2);
        uniform(g, u, count, 0, 1);
        const P* limit = static_cast<const P*>(p) + begin;
        T* to = static_cast<T*>(out) + begin;
        for (int64_t k = 0; k < count; ++k) to[k] = static_cast<T>(u[k] < limit[k]);
      }
    });
  });
}

void fill_integers(Generator& g, DType type, void* out, int64_t n, uint64_t range, int64_t base) {
  std::lock_guard lock(g.mutex);
  visit_dtype(type, [&](auto t) { integers(g, static_cast<decltype(t)*>(out), n, range, base); });
}

void fill_integers(Generator& g, DType type, void* out, int64_t n) {
  std::lock_guard lock(g.mutex);
  visit_dtype(type, [&](auto t) { all_integers(g, static_cast<decltype(t)*>(out), n); });
}

void fill_permutation(Generator& g, DType type, void* out, int64_t n) {
  std::lock_guard lock(g.mutex);
  visit_dtype(type, [&](auto t) { permutation(g, static_cast<decltype(t)*>(out), n); });
}

void fill_dropout(Generator& g, DType type, void* out, int64_t n, double p) {
  std::lock_guard lock(g.mutex);
  visit_floating(type, [&](auto t) {
    using T = decltype(t);
    choose(g, type, out, n, 1 - p, T(1) / static_cast<T>(1 - p));
  });
}

void draw_multinomial(Generator& g, DType type, const void* weights, int64_t* out, int64_t rows,
                      int64_t categories, int64_t samples, bool replacement) {
  std::lock_guard lock(g.mutex);
  visit_floating(type, [&](auto t) {
    using T = decltype(t);
    const T* w = static_cast<const T*>(weights);
    if (replacement && samples > 1) {
      std::vector<T> cumulative(categories);
      for (int64_t i = 0; i < rows; ++i)
        with_replacement(g, w + i * categories, out + i * samples, categories, samples, cumulative);
      return;
    }
    std::vector<T> clocks(categories), score(categories);
    std::vector<int64_t> order(categories);
    for (int64_t i = 0; i < rows; ++i) {
      exponential(g, clocks.data(), categories, 1);
      without_replacement(w + i * categories, clocks.data(), out + i * samples, categories, samples, score,
                          order);
    }
  });
}

}  // namespace chainrule
