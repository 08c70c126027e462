// Random numbers: PyTorch's CPU generator, a Mersenne twister, and its ways of drawing from it. After the
// same seed a program prints the same numbers on both libraries. Every fill runs in the stream's order, on
// one thread.
#pragma once
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <optional>

#include "core/dtype.h"

namespace chainrule {

class Generator {
 public:
  // Of a Generator that nobody seeded; PyTorch's.
  static constexpr uint64_t kDefaultSeed = 67280421310721;
  static constexpr size_t kStateBytes = 5056;

  explicit Generator(uint64_t seed = kDefaultSeed) { manual_seed(seed); }

  void manual_seed(uint64_t seed);
  uint64_t seed();  // seeds from the machine's entropy and returns the seed
  uint64_t initial_seed() const { return seed_; }

  uint32_t random();
  uint64_t random64();                    // the first draw is the high half
  void random(uint32_t* out, int64_t n);  // the next n draws
  double uniform();                       // [0, 1) in steps of 2^-53

  // PyTorch's byte layout. set_state returns false, and changes nothing, when the bytes are not a state.
  void get_state(uint8_t* out) const;
  bool set_state(const uint8_t* in);

  // The second half of the last normal pair, waiting for the next call (the one in single precision is part
  // of the state's layout only).
  std::optional<double> next_normal;
  std::optional<float> next_float_normal;

  // Held by every function below while it draws.
  mutable std::mutex mutex;

 private:
  static constexpr int kWords = 624;
  void refill();

  uint64_t seed_;
  uint32_t words_[kWords];
  int left_;  // draws until the next refill; the refill happens when it would reach 0
  int next_;
};

// The generator of every call that names none; seeded from the machine's entropy when the library is loaded.
Generator& default_generator();

// Each fills n elements of `out`, which holds elements of the given type, in the order of memory.
void fill_uniform(Generator&, DType, void* out, int64_t n, double from, double to);  // floating types
// From 16 elements on, normals come in blocks of 16; PyTorch does so for contiguous tensors only.
void fill_normal(Generator&, DType, void* out, int64_t n, double mean, double std, bool contiguous = true);
void fill_exponential(Generator&, DType, void* out, int64_t n, double lambda);
void fill_bernoulli(Generator&, DType, void* out, int64_t n, double p);
// One probability an element; `p` holds floating elements of type p_type. The caller has checked their range.
void fill_bernoulli(Generator&, DType, void* out, int64_t n, DType p_type, const void* p);
// Integers base + [0, range); a range of 0 stands for all 2^64, whatever base is.
void fill_integers(Generator&, DType, void* out, int64_t n, uint64_t range, int64_t base);
// All the integers that the type can tell apart: 0 to its maximum, for floating types to 2^24 or 2^53.
void fill_integers(Generator&, DType, void* out, int64_t n);
void fill_permutation(Generator&, DType, void* out, int64_t n);
// The factors of dropout: 1 / (1 - p) with probability 1 - p, else 0. Floating types, p < 1.
void fill_dropout(Generator&, DType, void* out, int64_t n, double p);

// For each of `rows` rows of `categories` weights, `samples` indices. Without replacement samples <=
// categories. The caller has checked that weights are finite, not negative and not all zero.
void draw_multinomial(Generator&, DType, const void* weights, int64_t* out, int64_t rows, int64_t categories,
                      int64_t samples, bool replacement);

}  // namespace chainrule
