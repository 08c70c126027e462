"""Parameter: a tensor that a module owns and an optimizer changes."""

from __future__ import annotations

from typing import Any, cast

from .._core import Tensor, _make_subclass, empty


class Parameter(Tensor):
    """A tensor that becomes one of the module's parameters when it is assigned to an attribute of a module.

    data: a tensor, whose memory is shared; an empty one when missing.
    requires_grad: a parameter is differentiated unless this says otherwise.
    """

    def __new__(cls, data: Tensor | None = None, requires_grad: bool = True) -> Parameter:
        if data is None:
            data = empty(0)
        return cast(Parameter, _make_subclass(cls, data, requires_grad))

    def __repr__(self) -> str:
        return "Parameter containing:\n" + super().__repr__()

    def __deepcopy__(self, memo: dict[int, Any]) -> Parameter:
        known = memo.get(id(self))
        if known is None:
            known = memo[id(self)] = type(self)(self.detach().clone(), self.requires_grad)
        return cast(Parameter, known)

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.detach(), self.requires_grad)


def _rebuild(cls: type[Parameter], data: Tensor, requires_grad: bool) -> Parameter:
    return cls(data, requires_grad)
