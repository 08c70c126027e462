#include "core/tensor.h"

#include "autograd/meta.h"
#include "autograd/mode.h"
#include "core/alloc.h"
#include "core/pool.h"

namespace chainrule {

bool (*release_python)(TensorImpl*) = nullptr;

void* TensorImpl::operator new(size_t bytes) { return pool_alloc(bytes); }
void TensorImpl::operator delete(void* p, size_t bytes) { pool_free(p, bytes); }

Ref<Storage> Storage::with_room(size_t bytes) {
  const bool behind = sizeof(Storage) + bytes <= kPooled;
  auto* s = new (pool_alloc(behind ? sizeof(Storage) + bytes : sizeof(Storage))) Storage;
  Ref<Storage> owner(s);
  s->bytes = bytes;
  s->data = behind ? s + 1 : cr_alloc(bytes);
  return owner;
}

void Storage::destroy(Storage* s) {
  const size_t size = s->room_is_behind() ? sizeof(Storage) + s->bytes : sizeof(Storage);
  if (s->free_owner != nullptr) {
    s->free_owner(s->owner);
  } else if (!s->room_is_behind()) {
    cr_free(s->data);
  }
  s->~Storage();
  pool_free(s, size);
}

void TensorImpl::destroy(TensorImpl* t) {
  if (t->python != nullptr && release_python(t)) return;  // the Python object keeps it
  if (t->autograd != nullptr) destroy_meta(t);
  delete t;
}

bool Tensor::requires_grad() const {
  const AutogradMeta* m = impl_->autograd;
  return m != nullptr && (m->requires_grad || (m->view && view_requires_grad(*this)));
}

bool strides_are_contiguous(const Dims& sizes, const Dims& strides) {
  int64_t step = 1;
  for (int i = sizes.size() - 1; i >= 0; --i) {
    if (sizes[i] == 0) return true;
    if (sizes[i] == 1) continue;
    if (strides[i] != step) return false;
    step *= sizes[i];
  }
  return true;
}

Tensor empty(const Dims& sizes, DType dtype) {
  const int64_t n = numel_of(sizes);
  Ref<Storage> storage = Storage::with_room(static_cast<size_t>(n) * size_of(dtype));
  auto* t = new TensorImpl;
  Tensor result(t);
  t->data = static_cast<char*>(storage->data);
  t->storage = std::move(storage);
  t->numel = n;
  t->dtype = dtype;
  t->inference = inference_mode;
  t->sizes = sizes;
  t->strides.set_contiguous(sizes);
  return result;
}

Tensor wrap_memory(void* data, const Dims& sizes, const Dims& strides, DType dtype, bool writable,
                   void* owner, void (*free_owner)(void*)) {
  Ref<Storage> storage(new (pool_alloc(sizeof(Storage))) Storage);
  int64_t last = 0;
  for (int i = 0; i < sizes.size(); ++i) last += (sizes[i] - 1) * strides[i];
  const int64_t n = numel_of(sizes);
  storage->data = data;
  storage->bytes = n == 0 ? 0 : static_cast<size_t>(last + 1) * size_of(dtype);
  storage->writable = writable;
  storage->owner = owner;
  storage->free_owner = free_owner;
  auto* t = new TensorImpl;
  Tensor result(t);
  t->storage = std::move(storage);
  t->data = static_cast<char*>(data);
  t->numel = n;
  t->dtype = dtype;
  t->sizes = sizes;
  t->strides = strides;
  t->contiguous = strides_are_contiguous(sizes, strides);
  return result;
}

Tensor alias(const Tensor& t, const Dims& sizes, const Dims& strides, int64_t offset) {
  auto* a = new TensorImpl;
  Tensor result(a);
  a->storage = t.impl()->storage;
  a->data = t.bytes() + offset * static_cast<int64_t>(t.item_bytes());
  a->numel = numel_of(sizes);
  a->dtype = t.dtype();
  a->sizes = sizes;
  a->strides = strides;
  a->contiguous = strides_are_contiguous(sizes, strides);
  a->untracked = t.impl()->untracked;
  a->inference = t.impl()->inference;
  return result;
}

}  // namespace chainrule
