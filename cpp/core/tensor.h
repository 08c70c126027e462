// What a tensor is: elements of one type in a storage that views share, seen through sizes and strides.
#pragma once
#include "core/dims.h"
#include "core/dtype.h"
#include "core/ref.h"

namespace chainrule {

struct AutogradMeta;  // autograd/meta.h: what only tensors that take part in a graph have

// The memory behind a tensor and all of its views, with the count of writes that catches stale saved tensors.
struct alignas(64) Storage : Counted {
  void* data = nullptr;
  size_t bytes = 0;
  uint32_t version = 0;
  void (*free_owner)(void* owner) = nullptr;  // for memory that belongs to somebody else (a NumPy array)
  void* owner = nullptr;
  bool writable = true;
  // With room for that many bytes, which small ones have right behind them.
  static Ref<Storage> with_room(size_t bytes);
  static void destroy(Storage* s);

 private:
  bool room_is_behind() const { return data == this + 1; }
};
static_assert(sizeof(Storage) == 64);

struct TensorImpl : Counted {
  Ref<Storage> storage;
  char* data = nullptr;  // the first element
  int64_t numel = 0;
  DType dtype = DType::Float32;
  bool contiguous = true;
  bool wrapped_number =
      false;               // came from a Python number: takes part in type promotion only by its category
  bool untracked = false;  // made by .data: writes through it are not counted
  bool inference = false;  // made in inference mode
  Dims sizes, strides;     // strides count elements
  AutogradMeta* autograd = nullptr;
  void* python = nullptr;  // the one Python object of this tensor, if it has been seen there
  static void destroy(TensorImpl* t);
  static void* operator new(size_t bytes);
  static void operator delete(void* p, size_t bytes);
};

// Called when a tensor's last C++ owner goes while its Python object lives on or must die with it (bindings/tensor.cpp).
extern bool (*release_python)(TensorImpl*);

class Tensor {
 public:
  Tensor() = default;
  explicit Tensor(TensorImpl* impl) : impl_(impl) {}

  bool defined() const { return static_cast<bool>(impl_); }
  TensorImpl* impl() const { return impl_.get(); }
  TensorImpl* release() { return impl_.release(); }
  bool same(const Tensor& o) const { return impl_ == o.impl_; }

  DType dtype() const { return impl_->dtype; }
  int dim() const { return impl_->sizes.size(); }
  int64_t numel() const { return impl_->numel; }
  const Dims& sizes() const { return impl_->sizes; }
  const Dims& strides() const { return impl_->strides; }
  // Negative dimensions count from the end.
  int64_t size(int d) const { return impl_->sizes[d < 0 ? d + dim() : d]; }
  int64_t stride(int d) const { return impl_->strides[d < 0 ? d + dim() : d]; }
  bool is_contiguous() const { return impl_->contiguous; }
  bool is_floating() const { return chainrule::is_floating(dtype()); }
  size_t item_bytes() const { return size_of(dtype()); }

  char* bytes() const { return impl_->data; }
  template <class T> T* data() const { return reinterpret_cast<T*>(impl_->data); }
  Storage& storage() const { return *impl_->storage; }
  int64_t storage_offset() const {
    return (impl_->data - static_cast<char*>(impl_->storage->data)) / static_cast<int64_t>(item_bytes());
  }
  uint32_t version() const { return impl_->storage->version; }
  // To be called by whoever writes into an existing tensor.
  void count_write() const {
    if (!impl_->untracked) ++impl_->storage->version;
  }

  bool requires_grad()
      const;  // in autograd/meta.h's terms: a leaf that was asked for its gradient, or a result of one

 private:
  Ref<TensorImpl> impl_;
};

// Uninitialised, contiguous.
Tensor empty(const Dims& sizes, DType dtype);
// Memory that somebody else owns; free_owner(owner) is called when the last view has gone.
Tensor wrap_memory(void* data, const Dims& sizes, const Dims& strides, DType dtype, bool writable,
                   void* owner, void (*free_owner)(void*));
// Another look at t's storage, without any part in the graph. `offset` counts elements from t's first one.
Tensor alias(const Tensor& t, const Dims& sizes, const Dims& strides, int64_t offset = 0);
inline Tensor alias(const Tensor& t) { return alias(t, t.sizes(), t.strides()); }
bool strides_are_contiguous(const Dims& sizes, const Dims& strides);

inline Tensor empty_like(const Tensor& t) { return empty(t.sizes(), t.dtype()); }

}  // namespace chainrule
