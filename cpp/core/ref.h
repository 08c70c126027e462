// Ref<T>: an owning pointer to an object that counts its owners.
#pragma once
#include <atomic>
#include <cstdint>
#include <utility>

namespace chainrule {

// Counts change under the interpreter's lock, so one thread needs no atomic addition, which costs more than all else
// that an owner does. From the second thread that makes tensors on they are atomic: a kernel that runs without the lock
// may take hold of a tensor.
inline bool counts_are_shared = false;

// T derives from Counted and has `static void destroy(T*)`, called when the last owner has gone.
struct Counted {
  uint32_t owners() const { return count_.load(std::memory_order_relaxed); }
  void add_owner() {
    if (counts_are_shared) [[unlikely]] {
      count_.fetch_add(1, std::memory_order_relaxed);
    } else {
      count_.store(owners() + 1, std::memory_order_relaxed);
    }
  }
  // How many are left.
  uint32_t remove_owner() {
    if (counts_are_shared) [[unlikely]]
      return count_.fetch_sub(1, std::memory_order_acq_rel) - 1;
    const uint32_t left = owners() - 1;
    count_.store(left, std::memory_order_relaxed);
    return left;
  }

 private:
  std::atomic<uint32_t> count_{0};
};

template <class T> class Ref {
 public:
  Ref() = default;
  explicit Ref(T* p) : p_(p) {
    if (p_ != nullptr) p_->add_owner();
  }
  Ref(const Ref& o) : Ref(o.p_) {}
  Ref(Ref&& o) noexcept : p_(std::exchange(o.p_, nullptr)) {}
  Ref& operator=(Ref o) noexcept {
    std::swap(p_, o.p_);
    return *this;
  }
  ~Ref() {
    if (p_ != nullptr && p_->remove_owner() == 0) T::destroy(p_);
  }
  T* get() const { return p_; }
  T* operator->() const { return p_; }
  T& operator*() const { return *p_; }
  explicit operator bool() const { return p_ != nullptr; }
  bool operator==(const Ref& o) const { return p_ == o.p_; }
  // Gives the pointer and its count away.
  T* release() { return std::exchange(p_, nullptr); }

 private:
  T* p_ = nullptr;
};

}  // namespace chainrule
