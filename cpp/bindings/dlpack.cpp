#include "bindings/dlpack.h"

#include <vector>

namespace chainrule::python {
namespace {

struct DLDevice { int32_t type, id; };
struct DLDataType {
  uint8_t code, bits;
  uint16_t lanes;
};
struct DLTensor {
  void* data;
  DLDevice device;
  int32_t ndim;
  DLDataType dtype;
  int64_t* shape;
  int64_t* strides;
  uint64_t byte_offset;
};
struct DLManagedTensor {
  DLTensor tensor;
  void* context;
  void (*deleter)(DLManagedTensor*);
};
constexpr int32_t kCpu = 1;
constexpr uint8_t kInt = 0, kUInt = 1, kFloat = 2, kBool = 6;

DLDataType dl_type(DType t) {
  const auto bits = static_cast<uint8_t>(8 * size_of(t));
  if (t == DType::Bool) return {kBool, bits, 1};
  if (t == DType::UInt8) return {kUInt, bits, 1};
  return {is_floating(t) ? kFloat : kInt, bits, 1};
}
DType from_dl_type(DLDataType d) {
  for (int i = 0; i < kDTypes; ++i) {
    const DLDataType own = dl_type(static_cast<DType>(i));
    if (own.code == d.code && own.bits == d.bits && d.lanes == 1) return static_cast<DType>(i);
  }
  throw TypeError(
      text("from_dlpack: unsupported element type, code ", int{d.code}, " of ", int{d.bits}, " bits"));
}

struct Exported {
  DLManagedTensor managed;
  Tensor tensor;
  Dims sizes, strides;
};

void release_capsule(PyObject* capsule) {
  if (!PyCapsule_IsValid(capsule, "dltensor")) return;  // taken: the consumer deletes it
  auto* m = static_cast<DLManagedTensor*>(PyCapsule_GetPointer(capsule, "dltensor"));
  m->deleter(m);
}

}  // namespace

PyObject* to_dlpack(const Tensor& t) {
  CR_CHECK(t.storage().writable,
           "__dlpack__: the tensor's memory is read-only, which this protocol cannot say");
  auto* e = new Exported{{}, t, t.sizes(), t.strides()};
  e->managed.tensor = {t.bytes(),       {kCpu, 0},         t.dim(), dl_type(t.dtype()),
                       e->sizes.data(), e->strides.data(), 0};
  e->managed.context = e;
  e->managed.deleter = [](DLManagedTensor* m) { delete static_cast<Exported*>(m->context); };
  return PyCapsule_New(&e->managed, "dltensor", release_capsule);
}

Tensor from_dlpack(PyObject* producer) {
  Object capsule = PyCapsule_CheckExact(producer)
                       ? Object::borrow(producer)
                       : Object::steal(PyObject_CallMethod(producer, "__dlpack__", nullptr));
  CR_CHECK_VALUE(
      PyCapsule_IsValid(capsule.get(), "dltensor"),
      "from_dlpack: expected a DLPack capsule that nobody has taken yet (a capsule can be used once)");
  auto* m = static_cast<DLManagedTensor*>(PyCapsule_GetPointer(capsule.get(), "dltensor"));
  const DLTensor& d = m->tensor;
  CR_CHECK(d.device.type == kCpu, "from_dlpack: the tensor is not in CPU memory");
  const DType dtype = from_dl_type(d.dtype);
  const Dims sizes(d.shape, d.ndim);
  const Dims strides = d.strides == nullptr ? contiguous_strides(sizes) : Dims(d.strides, d.ndim);
  for (int i = 0; i < d.ndim; ++i)
    CR_CHECK_VALUE(strides[i] >= 0 || sizes[i] <= 1, "from_dlpack: negative strides are not supported");
  Tensor t =
      wrap_memory(static_cast<char*>(d.data) + d.byte_offset, sizes, strides, dtype, true, m, [](void* p) {
        auto* managed = static_cast<DLManagedTensor*>(p);
        if (managed->deleter == nullptr || !Py_IsInitialized()) return;
        const PyGILState_STATE gil = PyGILState_Ensure();
        managed->deleter(managed);
        PyGILState_Release(gil);
      });
  PyCapsule_SetName(capsule.get(), "used_dltensor");
  return t;
}

}  // namespace chainrule::python
