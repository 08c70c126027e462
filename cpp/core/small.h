// Small<T, N>: a vector whose first N elements need no allocation.
#pragma once
#include <memory>
#include <utility>
#include <vector>

namespace chainrule {

template <class T, int N> class Small {
 public:
  Small() = default;
  explicit Small(int count) { resize(count); }
  void resize(int count) {
    if (count > N) {
      many_.resize(count);
      for (int i = 0; i < count_ && count_ <= N; ++i) many_[i] = std::move(few_[i]);
    }
    count_ = count;
  }
  void clear() {
    for (int i = 0; i < count_ && i < N; ++i) few_[i] = T();
    many_.clear();
    count_ = 0;
  }
  void push_back(T v) {
    resize(count_ + 1);
    (*this)[count_ - 1] = std::move(v);
  }
  int size() const { return count_; }
  bool empty() const { return count_ == 0; }
  T* data() { return count_ > N ? many_.data() : few_; }
  const T* data() const { return count_ > N ? many_.data() : few_; }
  T& operator[](int i) { return data()[i]; }
  const T& operator[](int i) const { return data()[i]; }
  T* begin() { return data(); }
  T* end() { return data() + count_; }
  const T* begin() const { return data(); }
  const T* end() const { return data() + count_; }

 private:
  T few_[N]{};
  std::vector<T> many_;
  int count_ = 0;
};

}  // namespace chainrule
