// Ref<T>: an owning pointer to an object that counts its owners.
#pragma once
#include <atomic>
#include <cstdint>
#include <utility>

namespace chainrule {

// T derives from Counted and has `static void destroy(T*)`, called when the last owner has gone.
struct Counted { std::atomic<uint32_t> owners{0}; };

template <class T> class Ref {
 public:
  Ref() = default;
  explicit Ref(T* p) : p_(p) { retain(); }
  Ref(const Ref& o) : p_(o.p_) { retain(); }
  Ref(Ref&& o) noexcept : p_(std::exchange(o.p_, nullptr)) {}
  Ref& operator=(Ref o) noexcept {
    std::swap(p_, o.p_);
    return *this;
  }
  ~Ref() {
    if (p_ != nullptr && p_->owners.fetch_sub(1, std::memory_order_acq_rel) == 1) T::destroy(p_);
  }
  T* get() const { return p_; }
  T* operator->() const { return p_; }
  T& operator*() const { return *p_; }
  explicit operator bool() const { return p_ != nullptr; }
  bool operator==(const Ref& o) const { return p_ == o.p_; }
  // Gives the pointer and its count away.
  T* release() { return std::exchange(p_, nullptr); }

 private:
  void retain() {
    if (p_ != nullptr) p_->owners.fetch_add(1, std::memory_order_relaxed);
  }
  T* p_ = nullptr;
};

}  // namespace chainrule
