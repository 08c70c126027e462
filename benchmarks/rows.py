"""The table of what is measured: a row names its work, how often it should be PyTorch's speed (on AVX2 and on
AVX-512 machines), what the work needs of the machine, and who builds it for each library. `both` builds it from the
interface that chainrule and torch share.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from needs import Needs

Work = Callable[[], Any]
Build = Callable[[Any], Work]


class Missing(Exception):
    """Raised by a builder when the library has not got what the row is about."""


@dataclasses.dataclass(frozen=True)
class Row:
    name: str
    targets: tuple[float, float]  # with AVX2, with AVX-512
    both: Build
    needs: Needs | None
    peers: dict[str, Build]
    against: str  # the library whose speed the target is a multiple of

    def build(self, library: Any) -> Work | None:
        """The work for a library, ready to be called again and again; None when there is none for it."""
        name = library.__name__
        shared = ("chainrule", "torch") if self.against == "torch" else ("chainrule",)
        maker = self.both if name in shared else self.peers.get(name)
        try:
            return None if maker is None else maker(library)
        except Missing:
            return None


ROWS: list[Row] = []


def row(
    name: str,
    target: float | tuple[float, float],
    needs: Needs | None = None,
    against: str = "torch",
    **peers: Build,
) -> Callable[[Build], Build]:
    """Decorates the builder of a row. `peers` are programs for libraries other than PyTorch: numpy=, jax=, python=."""

    def register(both: Build) -> Build:
        pair = target if isinstance(target, tuple) else (target, target)
        ROWS.append(Row(name, pair, both, needs, peers, against))
        return both

    return register


def functional(library: Any) -> Any:
    """torch.nn.functional, or chainrule's."""
    return library.nn.functional
