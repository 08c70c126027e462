"""What several families of layers share."""

from __future__ import annotations

from typing import TypeVar

_T = TypeVar("_T")


def pair(value: _T | tuple[_T, ...]) -> tuple[_T, ...]:
    """One value for both spatial dimensions, or two."""
    return tuple(value) if isinstance(value, (tuple, list)) else (value, value)
