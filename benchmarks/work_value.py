"""The row of the scalar engine: micrograd's two-moons network, against micrograd's own way of it in plain Python."""

from __future__ import annotations

import itertools
import random
import sys
from typing import Any

from rows import Work, row


class PlainValue:
    """A Python closure and a recursive sort a node, as tutorials write it: what Value is measured against."""

    def __init__(self, data: float, children: tuple[Any, ...] = ()) -> None:
        self.data, self.grad = data, 0.0
        self._prev, self._backward = set(children), lambda: None

    def __add__(self, other: Any) -> PlainValue:
        other = other if isinstance(other, PlainValue) else PlainValue(other)
        out = PlainValue(self.data + other.data, (self, other))

        def _backward() -> None:
            self.grad += out.grad
            other.grad += out.grad

        out._backward = _backward
        return out

    def __mul__(self, other: Any) -> PlainValue:
        other = other if isinstance(other, PlainValue) else PlainValue(other)
        out = PlainValue(self.data * other.data, (self, other))

        def _backward() -> None:
            self.grad += other.data * out.grad
            other.grad += self.data * out.grad

        out._backward = _backward
        return out

    def relu(self) -> PlainValue:
        out = PlainValue(max(self.data, 0.0), (self,))

        def _backward() -> None:
            self.grad += (out.data > 0) * out.grad

        out._backward = _backward
        return out

    __radd__, __rmul__ = __add__, __mul__

    def backward(self) -> None:
        order: list[PlainValue] = []
        seen: set[PlainValue] = set()

        def visit(v: PlainValue) -> None:
            if v not in seen:
                seen.add(v)
                for child in v._prev:
                    visit(child)
                order.append(v)

        visit(self)
        self.grad = 1.0
        for v in reversed(order):
            v._backward()


def moons_step(Value: Any, samples: int = 100) -> Work:
    """Forward and backward of the hinge loss of a 2-16-16-1 network over all samples."""
    rng = random.Random(0)
    sizes = [2, 16, 16, 1]
    layers = [
        [([Value(rng.uniform(-1, 1)) for _ in range(n)], Value(0.0)) for _ in range(m)]
        for n, m in itertools.pairwise(sizes)
    ]
    data = [([rng.uniform(-1, 2), rng.uniform(-1, 1)], rng.choice([-1.0, 1.0])) for _ in range(samples)]

    def work() -> float:
        total = Value(0.0)
        for x, y in data:
            values: list[Any] = [Value(v) for v in x]
            for i, layer in enumerate(layers):
                sums = [sum((w * v for w, v in zip(ws, values, strict=True)), b) for ws, b in layer]
                values = [s.relu() for s in sums] if i < 2 else sums
            total = total + (values[0] * -y + 1.0).relu()
        total.backward()
        return float(total.data)

    return work


def plain(python: Any) -> Work:
    sys.setrecursionlimit(100_000)
    return moons_step(PlainValue)


@row("scalar Value: micrograd's moons MLP, 100 samples", 15, against="python", python=plain)
def moons(lib: Any) -> Work:
    return moons_step(lib.Value)
