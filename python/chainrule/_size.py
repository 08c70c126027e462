"""Size: what Tensor.shape and Tensor.size() return."""

from __future__ import annotations

from typing import Any


class Size(tuple[int, ...]):
    """The sizes of a tensor, a tuple of ints."""

    __slots__ = ()

    def numel(self) -> int:
        """The number of elements."""
        n = 1
        for size in self:
            n *= size
        return n

    def __repr__(self) -> str:
        return f"chainrule.Size({list(self)})"

    def __add__(self, other: Any) -> Size:
        return Size(tuple.__add__(self, tuple(other)))

    def __getitem__(self, index: Any) -> Any:
        got = tuple.__getitem__(self, index)
        return Size(got) if isinstance(index, slice) else got


Size.__module__ = "chainrule"
