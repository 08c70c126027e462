"""What a row of the registry is: an operation, its reference, and the samples it is tried on."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

FLOATS = ("float32", "float64")
INTS = ("uint8", "int32", "int64")
REALS = (*FLOATS, *INTS)
ALL = (*REALS, "bool")

EVERYWHERE = ("", "Tensor", "nn.functional")
FUNCTIONAL = ("nn.functional",)
METHOD = ("Tensor",)


@dataclass(frozen=True)
class T:
    """A tensor argument: `shape` filled with numbers of `domain` (the row's, if None), or the given values.

    Without a dtype it takes the one under test. `grad=False` keeps it out of the gradient tests.
    """

    shape: tuple[int, ...]
    domain: tuple[float, float] | None = None
    dtype: str | None = None
    values: Any = None
    grad: bool = True

    def draw(self, rng: np.random.Generator, domain: tuple[float, float], dtype: str) -> np.ndarray:
        dtype = self.dtype or dtype
        low, high = self.domain or domain
        if self.values is not None:
            return np.array(self.values, dtype)
        if dtype == "bool":
            return rng.integers(0, 2, self.shape).astype(bool)
        if dtype in FLOATS:
            return np.asarray(rng.uniform(low, high, self.shape), dtype)
        low, high = (math.ceil(low), math.floor(high)) if self.domain else (max(math.ceil(low), 1), 6)
        return np.asarray(rng.integers(low, high + 1, self.shape), dtype)


def V(values: Any, dtype: str | None = None, grad: bool = False) -> T:
    """These very values."""
    return T(np.shape(values), values=values, dtype=dtype, grad=grad)


def I(shape: tuple[int, ...], high: int, low: int = 0) -> T:  # noqa: E743
    """Indices from low to high - 1."""
    return T(shape, (low, high - 1), "int64", grad=False)


def B(shape: tuple[int, ...]) -> T:
    """A mask."""
    return T(shape, dtype="bool", grad=False)


class A:
    """Arguments of one call. A tuple is a tensor of that shape, alone or in a list; all else is itself.

    `layout` says how the tensors lie in memory: None (contiguous), "transposed", "sliced" or "expanded".
    """

    def __init__(self, *args: Any, layout: str | None = None, **kwargs: Any) -> None:
        def specs(value: Any) -> Any:
            if isinstance(value, list):
                return [specs(each) for each in value]
            return T(value) if isinstance(value, tuple) else value

        self.args = tuple(specs(each) for each in args)
        self.kwargs = kwargs
        self.layout = layout

    def __repr__(self) -> str:
        parts = [*map(str, self.args), *(f"{k}={v}" for k, v in self.kwargs.items())]
        return f"A({', '.join(parts)}, layout={self.layout})"

    def draw(self, row: Op, dtype: str) -> tuple[list[Any], dict[str, Any]]:
        """The arguments with NumPy arrays for tensors: the same ones every time."""
        rng = np.random.default_rng(zlib.crc32(f"{row.label} {row.domain} {self}".encode()))

        def fill(value: Any) -> Any:
            if isinstance(value, list):
                return [fill(each) for each in value]
            return lay(value.draw(rng, row.domain, dtype), self.layout) if isinstance(value, T) else value

        return [fill(each) for each in self.args], {key: fill(each) for key, each in self.kwargs.items()}

    def differentiable(self) -> list[bool]:
        """For each tensor in the order of `draw`: do gradients flow to it?"""

        def walk(value: Any) -> list[bool]:
            if isinstance(value, list):
                return [flag for each in value for flag in walk(each)]
            return [value.grad and value.dtype is None] if isinstance(value, T) else []

        return walk([*self.args, *self.kwargs.values()])


class E(A):
    """A call that must fail with this exception, say `says` (a pattern; the name of the op by default),
    and change nothing."""

    def __init__(self, *args: Any, type: Any = RuntimeError, says: str = "", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.type, self.says = type, says


def lay(array: np.ndarray, layout: str | None) -> np.ndarray:
    if layout == "transposed":
        return np.ascontiguousarray(array.T).T
    if layout == "sliced" and array.ndim:
        return np.repeat(array, 2, axis=-1)[..., ::2]
    if layout == "expanded" and array.ndim and array.shape[0]:
        return np.broadcast_to(array[:1], array.shape)
    return array


@dataclass
class Op:
    """One operation and what it promises.

    where       the namespaces that have it: "" (the package), "Tensor", "nn.functional"
    call        makes the function from the library, where a name does not do
    dtypes      what it takes
    result      the dtype it gives: "same", "promoted" (of all arguments), "float" (integers become the
                default dtype), "sum" (integers become int64), or the name of a dtype
    orders      how many times it can be differentiated
    ulp         bound in units of the last place, for functions of single elements; otherwise
    rtol        float32 bound relative to the largest element (float64 is held to 1e-12)
    domain      where sample values lie
    jumps       has jumps, or chooses among elements: differences make sense on small samples only
    special     NaN, infinities and extreme numbers are tried: "all", "normal" (a subnormal result may become
                zero) or "finite" (nothing huge)
    inplace     has a form `name_`
    out         takes `out=`
    view        shares memory with its first argument
    """

    name: str
    reference: Callable[..., Any]
    samples: list[A]
    dtypes: tuple[str, ...] = FLOATS
    result: str = "same"
    where: tuple[str, ...] = ("", "Tensor")
    call: Callable[[Any], Callable[..., Any]] | None = None
    variant: str = ""
    orders: int = 2
    ulp: float | None = None
    rtol: float = 2e-6
    domain: tuple[float, float] = (-2.0, 2.0)
    jumps: bool = False
    special: str = ""
    inplace: bool = False
    out: bool = False
    view: bool = False
    errors: list[E] = field(default_factory=list)

    @property
    def label(self) -> str:
        return f"{self.name}-{self.variant}" if self.variant else self.name

    def forms(self, lib: Any) -> list[Callable[..., Any]]:
        """Every way to call it that the library has."""
        if self.call:
            return [self.call(lib)]
        places = [
            lib.nn.functional if w == "nn.functional" else getattr(lib, w) if w else lib for w in self.where
        ]
        found = [getattr(place, self.name) for place in places if hasattr(place, self.name)]
        assert found, f"{self.name} is nowhere in {self.where}"
        return found
