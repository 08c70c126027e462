"""What a Tensor does in Python alone: printing, pickling, copying."""

from __future__ import annotations

import copy
from typing import Any

from chainrule import _core
from chainrule._core import Tensor
from chainrule._tensor_str import tensor_repr


def rebuild_tensor(kind: type[Tensor], array: Any, requires_grad: bool, state: dict[str, Any]) -> Tensor:
    """The tensor that was pickled."""
    data = _core.from_numpy(array)
    if kind is not Tensor:
        data = _core._make_subclass(kind, data, requires_grad)
    data.__dict__.update(state)
    return data.requires_grad_(requires_grad) if data.requires_grad != requires_grad else data


def reduce_ex(self: Tensor, protocol: Any) -> tuple[Any, ...]:
    """Pickles elements, type, requires_grad and attributes; not the graph."""
    array = self.detach().contiguous().clone().numpy()
    return rebuild_tensor, (type(self), array, self.requires_grad, dict(self.__dict__))


def deepcopy(self: Tensor, memo: dict[int, Any]) -> Tensor:
    """A leaf with its own memory, gradient and attributes. RuntimeError for results of recorded operations."""
    if not self.is_leaf:
        raise RuntimeError(
            "Only Tensors created explicitly by the user (graph leaves) support the deepcopy protocol at the moment"
        )
    if id(self) in memo:
        found: Tensor = memo[id(self)]
        return found
    data = self.detach().clone()
    made = data if type(self) is Tensor else _core._make_subclass(type(self), data, self.requires_grad)
    if made.requires_grad != self.requires_grad:
        made.requires_grad_(self.requires_grad)
    memo[id(self)] = made
    if self.grad is not None:
        made.grad = copy.deepcopy(self.grad, memo)
    made.__dict__.update(copy.deepcopy(self.__dict__, memo))
    return made


def shallow_copy(self: Tensor) -> Tensor:
    """Another tensor over the same memory."""
    data = self.detach()
    made = data if type(self) is Tensor else _core._make_subclass(type(self), data, self.requires_grad)
    if made.requires_grad != self.requires_grad:
        made.requires_grad_(self.requires_grad)
    made.__dict__.update(self.__dict__)
    return made


def array_wrap(self: Tensor, array: Any, context: Any = None, return_scalar: bool = False) -> Any:
    """The result of a NumPy function of tensors as a tensor, where it is of a type that tensors have."""
    try:
        return _core.as_tensor(array)
    except TypeError:
        return array


def tensor_format(self: Tensor, spec: str) -> str:
    """``f"{loss:.3f}"`` for a tensor of no dimensions."""
    return (
        format(self.item(), spec)
        if self.dim() == 0 and type(self) is Tensor
        else object.__format__(self, spec)
    )


def tensor_dir(self: Tensor) -> list[str]:
    """Attributes and methods."""
    return sorted({*dir(type(self)), *self.__dict__})


def install() -> None:
    """Puts these onto the compiled type."""
    methods: dict[str, Any] = {
        "__repr__": tensor_repr,
        "__reduce_ex__": reduce_ex,
        "__deepcopy__": deepcopy,
        "__copy__": shallow_copy,
        "__array_wrap__": array_wrap,
        "__format__": tensor_format,
        "__dir__": tensor_dir,
        "__array_priority__": 1000,
    }
    for name, value in methods.items():
        setattr(Tensor, name, value)
