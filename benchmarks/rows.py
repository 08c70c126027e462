"""The table of what is measured: a row names its work, how often it should be PyTorch's speed (on AVX2 and on AVX-512
machines), and who builds it for each library. `both` builds it from the interface that chainrule and torch share.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

Work = Callable[[], Any]
Build = Callable[[Any], Work]


@dataclasses.dataclass(frozen=True)
class Row:
    name: str
    target: tuple[float, float]
    both: Build
    numpy: Build | None = None
    jax: Build | None = None

    def build(self, library: Any) -> Work | None:
        """The work for a library, ready to be called again and again; None when there is none for it."""
        name = library.__name__
        maker = self.both if name in ("chainrule", "torch") else getattr(self, name)
        return None if maker is None else maker(library)


ROWS: list[Row] = []


def row(
    name: str,
    target: float | tuple[float, float],
    numpy: Build | None = None,
    jax: Build | None = None,
) -> Callable[[Build], Build]:
    """Decorates the builder of a row."""

    def register(both: Build) -> Build:
        pair = target if isinstance(target, tuple) else (target, target)
        ROWS.append(Row(name, pair, both, numpy, jax))
        return both

    return register


def functional(library: Any) -> Any:
    """torch.nn.functional, or chainrule's."""
    return library.nn.functional
