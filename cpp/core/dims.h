// Dims: sizes, strides or dimension numbers, in place and without an allocation.
#pragma once
#include <cstdint>
#include <initializer_list>
#include <ostream>

#include "core/error.h"

namespace chainrule {

inline constexpr int kMaxDims = 16;

class Dims {
 public:
  Dims() { clear_few(); }
  Dims(const Dims& o) : count_(o.count_) { copy(o); }
  Dims& operator=(const Dims& o) {
    count_ = o.count_;
    copy(o);
    return *this;
  }
  Dims(std::initializer_list<int64_t> values) : Dims() {
    for (int64_t v : values) push_back(v);
  }
  Dims(const int64_t* first, int count) : Dims() {
    check_count(count);
    for (int i = 0; i < count; ++i) values_[i] = first[i];
    count_ = count;
  }
  static Dims filled(int count, int64_t value) {
    check_count(count);
    Dims d;
    for (int i = 0; i < count; ++i) d.push_back(value);
    return d;
  }

  int size() const { return count_; }
  bool empty() const { return count_ == 0; }
  int64_t& operator[](int i) { return values_[i]; }
  int64_t operator[](int i) const { return values_[i]; }
  int64_t* data() { return values_; }
  const int64_t* data() const { return values_; }
  int64_t* begin() { return values_; }
  int64_t* end() { return values_ + count_; }
  const int64_t* begin() const { return values_; }
  const int64_t* end() const { return values_ + count_; }
  int64_t back() const { return values_[count_ - 1]; }

  void push_back(int64_t v) {
    check_count(count_ + 1);
    values_[count_++] = v;
  }
  void pop_back() { --count_; }
  // The strides of memory without gaps.
  void set_contiguous(const Dims& sizes) {
    count_ = sizes.count_;
    int64_t step = 1;
    for (int i = count_ - 1; i >= 0; --i) {
      values_[i] = step;
      if (sizes.values_[i] > 1) step *= sizes.values_[i];
    }
  }
  void insert(int at, int64_t v) {
    push_back(0);
    for (int i = count_ - 1; i > at; --i) values_[i] = values_[i - 1];
    values_[at] = v;
  }
  void erase(int at) {
    for (int i = at; i + 1 < count_; ++i) values_[i] = values_[i + 1];
    --count_;
  }
  bool contains(int64_t v) const {
    for (int64_t x : *this)
      if (x == v) return true;
    return false;
  }
  bool operator==(const Dims& other) const {
    if (count_ != other.count_) return false;
    for (int i = 0; i < count_; ++i)
      if (values_[i] != other.values_[i]) return false;
    return true;
  }

 private:
  static void check_count(int count) {
    CR_CHECK(count <= kMaxDims, "a tensor has at most ", kMaxDims, " dimensions, this needs ", count);
  }
  static constexpr int kFew = 4;
  // The first few without asking how many there are; the rest is seldom there. One by one: what is copied was mostly
  // written by number just before, and a load wider than the stores that it reads from waits for them to reach the cache.
  void copy(const Dims& o) {
    for (int i = 0; i < kFew; ++i) {
      int64_t v = o.values_[i];
      asm("" : "+r"(v));  // keeps the compiler from joining two of them
      values_[i] = v;
    }
    for (int i = kFew; i < count_; ++i) values_[i] = o.values_[i];
  }
  void clear_few() {
    for (int i = 0; i < kFew; ++i) values_[i] = 0;
  }
  int count_ = 0;
  int64_t values_[kMaxDims];
};

// [2, 3], as Python prints a list.
inline std::ostream& operator<<(std::ostream& out, const Dims& d) {
  out << '[';
  for (int i = 0; i < d.size(); ++i) out << (i ? ", " : "") << d[i];
  return out << ']';
}

[[noreturn]] void throw_bad_sizes(const Dims& sizes);
// The number of elements; throws when a size is negative or the product does not fit.
inline int64_t numel_of(const Dims& sizes) {
  int64_t n = 1;
  for (int64_t s : sizes)
    if (s < 0 || __builtin_mul_overflow(n, s, &n) || n > INT64_MAX / 16) [[unlikely]]
      throw_bad_sizes(sizes);
  return n;
}
inline Dims contiguous_strides(const Dims& sizes) {
  Dims strides;
  strides.set_contiguous(sizes);
  return strides;
}
// The shape that both broadcast to; `op` names the operation in the error.
Dims broadcast_shapes(const char* op, const Dims& a, const Dims& b);
// A dimension number in [-dim, dim) made non-negative; IndexError otherwise. A zero-dimensional tensor counts as one.
int check_dim(const char* op, int64_t dim, int ndim);

}  // namespace chainrule
