// Shapes: methods and functions that show the same elements otherwise.
#include "ops/views.h"
#include "bindings/topics.h"
#include "ops/join.h"

namespace chainrule::python {
void bind_views(Bind& bind) {
  bind.op("reshape(Tensor self, *int[] shape) -> Tensor",
          [](Args& a) { return wrap(reshape(a.tensor(0), a.dims(1))); });
  bind.op(
      "view(Tensor self, *int[] size) -> Tensor", [](Args& a) { return wrap(view(a.tensor(0), a.dims(1))); },
      Where::Method);
  bind.op(
      "view_as(Tensor self, Tensor other) -> Tensor",
      [](Args& a) { return wrap(view(a.tensor(0), a.tensor(1).sizes())); }, Where::Method);
  bind.op(
      "reshape_as(Tensor self, Tensor other) -> Tensor",
      [](Args& a) { return wrap(reshape(a.tensor(0), a.tensor(1).sizes())); }, Where::Method);
  bind.op("transpose(Tensor self, int dim0, int dim1) -> Tensor",
          [](Args& a) { return wrap(transpose(a.tensor(0), a.integer(1), a.integer(2))); });
  bind.alias("swapaxes", "transpose");
  bind.alias("swapdims", "transpose");
  bind.op("t(Tensor self) -> Tensor", [](Args& a) { return wrap(t(a.tensor(0))); });
  bind.op("permute(Tensor self, *int[] dims) -> Tensor",
          [](Args& a) { return wrap(permute(a.tensor(0), a.dims(1))); });
  bind.op("squeeze(Tensor self, int[]? dim=None) -> Tensor",
          [](Args& a) { return wrap(a.has(1) ? squeeze(a.tensor(0), a.dims(1)) : squeeze(a.tensor(0))); });
  bind.op("unsqueeze(Tensor self, int dim) -> Tensor",
          [](Args& a) { return wrap(unsqueeze(a.tensor(0), a.integer(1))); });
  bind.op(
      "expand(Tensor self, *int[] size) -> Tensor",
      [](Args& a) { return wrap(expand(a.tensor(0), a.dims(1))); }, Where::Method);
  bind.op(
      "expand_as(Tensor self, Tensor other) -> Tensor",
      [](Args& a) { return wrap(expand(a.tensor(0), a.tensor(1).sizes())); }, Where::Method);
  bind.op("broadcast_to(Tensor self, *int[] size) -> Tensor",
          [](Args& a) { return wrap(expand(a.tensor(0), a.dims(1))); });
  bind.op(
      "broadcast_tensors(*Tensor[] tensors) -> Tensor[]",
      [](Args& a) {
        TensorList tensors = a.tensors(0);
        Dims shape;
        for (const Tensor& t : tensors) shape = broadcast_shapes("broadcast_tensors", shape, t.sizes());
        for (Tensor& t : tensors) t = expand(t, shape);
        return wrap(tensors);
      },
      Where::Function);
  bind.op("flatten(Tensor self, int start_dim=0, int end_dim=-1) -> Tensor",
          [](Args& a) { return wrap(flatten(a.tensor(0), a.integer(1), a.integer(2))); });
  bind.op("ravel(Tensor self) -> Tensor", [](Args& a) { return wrap(reshape(a.tensor(0), {-1})); });
  bind.op("unflatten(Tensor self, int dim, int[] sizes) -> Tensor",
          [](Args& a) { return wrap(unflatten(a.tensor(0), a.integer(1), a.dims(2))); });
  bind.op("movedim(Tensor self, int[] source, int[] destination) -> Tensor",
          [](Args& a) { return wrap(movedim(a.tensor(0), a.dims(1), a.dims(2))); });
  bind.alias("moveaxis", "movedim");
  bind.op("select(Tensor self, int dim, int index) -> Tensor",
          [](Args& a) { return wrap(select(a.tensor(0), a.integer(1), a.integer(2))); });
  bind.op("narrow(Tensor self, int dim, int start, int length) -> Tensor",
          [](Args& a) { return wrap(narrow(a.tensor(0), a.integer(1), a.integer(2), a.integer(3))); });
  bind.op("diagonal(Tensor self, int offset=0, int dim1=0, int dim2=1) -> Tensor",
          [](Args& a) { return wrap(diagonal(a.tensor(0), a.integer(1), a.integer(2), a.integer(3))); });
  bind.op("split(Tensor self, int[] split_size, int dim=0) -> Tensor[]", [](Args& a) {
    if (PyIndex_Check(a.object(1))) return wrap(split(a.tensor(0), a.integer(1), a.integer(2)));
    return wrap(split_list("split", a.tensor(0), a.integers(1), a.integer(2)));
  });
  bind.op("chunk(Tensor self, int chunks, int dim=0) -> Tensor[]",
          [](Args& a) { return wrap(chunk(a.tensor(0), a.integer(1), a.integer(2))); });
  bind.op("unbind(Tensor self, int dim=0) -> Tensor[]",
          [](Args& a) { return wrap(unbind(a.tensor(0), a.integer(1))); });
  bind.op("as_strided(Tensor self, int[] size, int[] stride, int? storage_offset=None) -> Tensor",
          [](Args& a) {
            const Tensor x = a.tensor(0);
            return wrap(as_strided(x, a.dims(1), a.dims(2), a.has(3) ? a.integer(3) : x.storage_offset()));
          });
  bind.op(
      "cat(Tensor[] tensors, int dim=0, *, Tensor? out=None) -> Tensor",
      [](Args& a) { return a.result(cat(a.tensors(0), a.integer(1)), 2); }, Where::Function);
  bind.alias("concat", "cat");
  bind.alias("concatenate", "cat");
  bind.op(
      "stack(Tensor[] tensors, int dim=0, *, Tensor? out=None) -> Tensor",
      [](Args& a) { return a.result(stack(a.tensors(0), a.integer(1)), 2); }, Where::Function);
}

}  // namespace chainrule::python
