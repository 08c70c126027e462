"""Gradients of several tensors at once."""

from __future__ import annotations

from collections.abc import Sequence

from chainrule import _core
from chainrule._core import Tensor

Tensors = Tensor | Sequence[Tensor]


def backward(
    tensors: Tensors,
    grad_tensors: Tensor | Sequence[Tensor | None] | None = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    inputs: Tensors | None = None,
) -> None:
    """Adds the gradients of ``tensors``, weighted by ``grad_tensors``, to the ``.grad`` of the leaves.

    ``grad_tensors`` has the shapes of ``tensors``; None stands for one, for tensors of a single element. With
    ``inputs`` only their ``.grad`` is touched. RuntimeError when a graph has been freed or there is none.
    """
    _core._backward(tensors, grad_tensors, retain_graph, create_graph, inputs)


def grad(
    outputs: Tensors,
    inputs: Tensors,
    grad_outputs: Tensor | Sequence[Tensor | None] | None = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    allow_unused: bool | None = None,
    is_grads_batched: bool = False,
    materialize_grads: bool = False,
) -> tuple[Tensor, ...]:
    """The gradients of ``outputs``, weighted by ``grad_outputs``, with respect to ``inputs``, as a tuple.

    An input that the outputs do not depend on raises RuntimeError; with ``allow_unused`` its gradient is None, with
    ``materialize_grads`` zero.
    """
    if is_grads_batched:
        rows = _rows(grad_outputs)
        parts = [
            grad(outputs, inputs, row, True, create_graph, allow_unused, False, materialize_grads)
            for row in rows
        ]
        return tuple(_core.stack(list(column)) for column in zip(*parts, strict=True))
    if materialize_grads and allow_unused is False:
        raise ValueError("grad: materialize_grads=True needs allow_unused to be True or left out")
    unused = materialize_grads if allow_unused is None else allow_unused
    found: tuple[Tensor, ...] = _core._grad(outputs, inputs, grad_outputs, retain_graph, create_graph, unused)
    if materialize_grads:
        wanted = [inputs] if isinstance(inputs, Tensor) else inputs
        found = tuple(_core.zeros_like(x) if g is None else g for g, x in zip(found, wanted, strict=True))
    return found


def _rows(grad_outputs: Tensor | Sequence[Tensor | None] | None) -> list[list[Tensor]]:
    if grad_outputs is None:
        raise ValueError("grad: is_grads_batched=True needs grad_outputs")
    batched = (
        [grad_outputs] if isinstance(grad_outputs, Tensor) else [g for g in grad_outputs if g is not None]
    )
    return [list(row) for row in zip(*(g.unbind(0) for g in batched), strict=True)]
