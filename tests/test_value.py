"""The scalar engine: micrograd's class and programs, its graphs, its limits."""

from __future__ import annotations

import copy
import gc
import itertools
import math
import pickle
import random
import weakref
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from chainrule import Value
from lib import TELLS_MEMORY, run

UNARY: dict[str, tuple[Callable[[float], float], list[float]]] = {
    "exp": (math.exp, [-2.0, 0.0, 1.5]),
    "log": (math.log, [0.3, 1.0, 7.0]),
    "tanh": (math.tanh, [-1.0, 0.0, 0.4]),
    "relu": (lambda x: max(x, 0.0), [-1.0, 2.0]),
    "sigmoid": (lambda x: 1 / (1 + math.exp(-x)), [-3.0, 0.0, 2.0]),
    "sin": (math.sin, [-1.0, 0.0, 2.0]),
    "cos": (math.cos, [-1.0, 0.3, 2.0]),
    "sqrt": (math.sqrt, [0.2, 1.0, 9.0]),
}


def slope(f: Callable[[float], float], x: float) -> float:
    h = 1e-6
    return (f(x + h) - f(x - h)) / (2 * h)


@pytest.mark.parametrize("name", UNARY)
def test_functions_of_one_value(name: str) -> None:
    function, points = UNARY[name]
    for x in points:
        v = Value(x)
        y = getattr(v, name)()
        assert y.data == pytest.approx(function(x), rel=1e-14)
        assert y._op == ("ReLU" if name == "relu" else name)
        assert y._prev == {v}
        y.backward()
        assert v.grad == pytest.approx(slope(function, x), rel=1e-7, abs=1e-9)


OPERATORS: list[Callable[..., object]] = [
    lambda a, b: a + b,
    lambda a, b: a - b,
    lambda a, b: a * b,
    lambda a, b: a / b,
    lambda a, b: a**b,
]


@pytest.mark.parametrize("f", OPERATORS)
@pytest.mark.parametrize("x, y", [(1.3, -0.7), (2.5, 3.0), (0.4, 1.0)])
def test_operators_on_values_and_numbers(f: Callable[..., Value], x: float, y: float) -> None:
    a, b = Value(x), Value(y)
    result = f(a, b)
    assert result.data == pytest.approx(f(x, y), rel=1e-14)
    result.backward()
    assert a.grad == pytest.approx(slope(lambda t: f(t, y), x), rel=1e-7)
    assert b.grad == pytest.approx(slope(lambda t: f(x, t), y), rel=1e-7)
    # A number on either side.
    c, d = Value(x), Value(y)
    left, right = f(c, y), f(x, d)
    assert left.data == pytest.approx(result.data, rel=1e-14)
    assert right.data == pytest.approx(result.data, rel=1e-14)
    left.backward()
    right.backward()
    assert c.grad == pytest.approx(a.grad, rel=1e-14)
    assert d.grad == pytest.approx(b.grad, rel=1e-14)


def test_the_expression_of_micrograds_readme() -> None:
    a, b = Value(-4.0), Value(2.0)
    c = a + b
    d = a * b + b**3
    c += c + 1
    c += 1 + c + (-a)
    d += d * 2 + (b + a).relu()
    d += 3 * d + (b - a).relu()
    e = c - d
    f = e**2
    g = f / 2.0
    g += 10.0 / f
    assert f"{g.data:.4f}" == "24.7041"
    g.backward()
    assert f"{a.grad:.4f}" == "138.8338"
    assert f"{b.grad:.4f}" == "645.5773"


def test_graphs_are_microgradlike() -> None:
    a, b = Value(3.0, label="a"), Value(2.0, label="b")
    assert (a._op, a._prev, a.label) == ("", set(), "a")
    assert (a + b)._op == "+" and (a + b)._prev == {a, b}
    assert (a * b)._op == "*" and (a + a)._prev == {a}
    assert [(a**2)._op, (a**-1)._op, (a**0.5)._op, (a**2.0)._op] == ["**2", "**-1", "**0.5", "**2.0"]
    assert (a**2)._prev == {a}
    power = a**b
    assert power._op == "**" and power._prev == {a, b}
    # A difference is a sum with a product with -1, a quotient a product with a power.
    (minus,) = (a - b)._prev - {a}
    assert (a - b)._op == "+" and minus._op == "*" and b in minus._prev
    assert {v.data for v in minus._prev} == {2.0, -1.0}
    (inverse,) = (a / b)._prev - {a}
    assert (a / b)._op == "*" and inverse._op == "**-1" and inverse._prev == {b}
    assert (-a)._op == "*" and (2 / a)._op == "*"
    (constant,) = (a + 1)._prev - {a}
    assert constant.data == 1.0 and constant._op == ""
    (scaled,) = (a / 4)._prev - {a}
    assert scaled.data == 0.25


def test_attributes() -> None:
    v = Value(1, label="x")
    assert repr(v) == "Value(data=1.0, grad=0.0)"
    v.data = 5
    v.grad = 0.5
    v.label = "y"
    assert (v.data, v.grad, v.label) == (5.0, 0.5, "y")
    v.data += -0.1 * v.grad
    assert v.data == pytest.approx(4.95)
    assert Value(np.float32(0.5)).data == 0.5 and Value(2.0, "name").label == "name"
    assert v._op == "" and callable(v._backward)
    v._backward()
    with pytest.raises(AttributeError):
        v._op = "+"  # type: ignore[misc]


def test_order_is_by_data_and_equality_by_identity() -> None:
    a, b, c = Value(1.0), Value(2.0), Value(1.0)
    assert a < b and b > a and a <= c and a >= c and a < 1.5 and 0 < a and not a > 1
    assert a != c and a == a and a != 1.0
    assert len({a, b, c, a}) == 3
    assert max([a, b, c]) is b and sorted([b, a])[0] is a
    with pytest.raises(TypeError):
        a < "1"  # type: ignore[operator]  # noqa: B015


def test_gradients_accumulate() -> None:
    a = Value(3.0)
    b = a * a + a
    b.backward()
    assert a.grad == 7.0 and b.grad == 1.0
    (a * 2).backward()
    assert a.grad == 9.0
    b.zero_grad()
    assert a.grad == 0.0 and b.grad == 0.0


def test_gradients_reach_shared_parts_once() -> None:
    a = Value(1.1)
    x = a
    for _ in range(40):  # 2^40 paths
        x = (x + x) * 0.5
    x.backward()
    assert a.grad == pytest.approx(1.0)


def test_a_million_operations_deep() -> None:
    a = Value(1.0)
    x = a
    for _ in range(500_000):
        x = x * 1.0 + 0.0
    x.backward()
    assert a.grad == 1.0
    del x
    x = a
    for _ in range(1_000_000):
        x = x.tanh()
    x.zero_grad()
    del x


def test_numpy_scalars_and_arrays() -> None:
    a = Value(3.0)
    for product in (np.float64(2) * a, a * np.float32(2), a * np.int64(2)):
        assert isinstance(product, Value) and product.data == 6.0
    row = a * np.array([1.0, 2.0])
    assert row.dtype == object and [v.data for v in row] == [3.0, 6.0]
    row.sum().backward()
    assert a.grad == 3.0
    assert sum([a, a, 1]).data == 7.0  # type: ignore[union-attr]


def test_infinities_and_nan_follow_ieee() -> None:
    assert Value(0.0) ** -1 > 1e308
    assert math.isinf((Value(1.0) / 0).data)
    assert math.isnan(Value(-1.0).log().data) and math.isnan(Value(-1.0).sqrt().data)
    assert math.isinf(Value(1000.0).exp().data)


@pytest.mark.parametrize(
    "bad, says",
    [
        (lambda a: Value("1"), r"Value\(data\): data is a number, not str"),  # type: ignore[arg-type]
        (lambda a: Value(None), "not NoneType"),  # type: ignore[arg-type]
        (lambda a: Value(1.0, (2.0,)), "_children are Values, not float"),  # type: ignore[arg-type]
        (lambda a: a + "x", "unsupported operand"),
        (lambda a: [1] - a, "unsupported operand"),
        (lambda a: a ** "x", "unsupported operand"),
        (lambda a: pow(a, 2, 3), "modulo"),
        (lambda a: setattr(a, "data", "x"), "Value.data is a number, not str"),
        (lambda a: setattr(a, "grad", None), "Value.grad is a number, not NoneType"),
        (lambda a: setattr(a, "_backward", 3), "_backward is a function"),
    ],
)
def test_errors(bad: Callable[[Value], object], says: str) -> None:
    a = Value(1.5)
    with pytest.raises(TypeError, match=says):
        bad(a)
    assert (a.data, a.grad) == (1.5, 0.0)


def square(x: Value) -> Value:
    """An operation defined as the lectures define one: children, a name and a closure."""
    out = Value(x.data**2, (x,), "square")

    def _backward() -> None:
        x.grad += 2 * x.data * out.grad

    out._backward = _backward
    return out


def test_operations_defined_in_python() -> None:
    x = Value(3.0)
    y = square(x)
    assert y._op == "square" and y._prev == {x}
    (y * 2).backward()
    assert x.grad == 12.0
    # A rule replaced keeps the graph.
    z = x + 1
    z._backward = lambda: None
    x.grad = 0.0
    z.backward()
    assert x.grad == 0.0 and z._op == "+" and x in z._prev

    def broken() -> None:
        raise ValueError("broken rule")

    z._backward = broken
    with pytest.raises(ValueError, match="broken rule"):
        (z * 2).backward()


def ordered(root: Value) -> list[Value]:
    """Every value below, each after what it was made of, as micrograd finds them."""
    found: list[Value] = []
    seen: set[Value] = set()

    def visit(v: Value) -> None:
        if v not in seen:
            seen.add(v)
            for child in v._prev:
                visit(child)
            found.append(v)

    visit(root)
    return found


def test_backward_by_hand() -> None:
    """The loop of micrograd's backward(), written by the user over `_prev` and `_backward`."""
    a, b = Value(2.0, label="a"), Value(-3.0, label="b")
    loss = ((a * b + 10).tanh() * -2 + b**2 / a).relu()
    loss.backward()
    wanted = [a.grad, b.grad]
    values = ordered(loss)
    assert len({id(v) for v in values}) == len(values) == len(ordered(loss))
    assert sorted(v._op for v in values if v._op) == ["*", "*", "*", "**-1", "**2", "+", "+", "ReLU", "tanh"]
    assert {v.label for v in values} >= {"a", "b"}
    for v in values:
        v.grad = 0
    loss.grad = 1
    for v in reversed(values):
        v._backward()
    assert [a.grad, b.grad] == pytest.approx(wanted, rel=1e-14) and wanted[0] != 0


class Named(Value):
    """A subclass with attributes of its own."""


def test_subclasses_and_cycles() -> None:
    n = Named(2.0, label="n")
    n.note = "kept"  # type: ignore[attr-defined]
    (n * n).backward()
    assert n.grad == 4.0 and n.note == "kept"  # type: ignore[attr-defined]
    gc.collect()
    alive = weakref.ref(n)
    n.result = square(n)  # type: ignore[attr-defined]
    del n
    gc.collect()
    assert alive() is None


def test_copies_are_leaves() -> None:
    v = Value(2.0, label="v") * 3
    v.label = "w"
    v.backward()
    for twin in (copy.copy(v), copy.deepcopy(v), pickle.loads(pickle.dumps(v))):
        assert (twin.data, twin.grad, twin.label, twin._prev) == (6.0, 1.0, "w", set())
        assert twin is not v


# ---- A program in micrograd's style ----


class Module:
    def zero_grad(self) -> None:
        for p in self.parameters():
            p.grad = 0

    def parameters(self) -> list[Value]:
        return []


class Neuron(Module):
    def __init__(self, inputs: int, nonlinear: bool, rng: random.Random) -> None:
        self.w = [Value(rng.uniform(-1, 1)) for _ in range(inputs)]
        self.b = Value(0)
        self.nonlinear = nonlinear

    def __call__(self, x: list[Value]) -> Value:
        total = sum((wi * xi for wi, xi in zip(self.w, x, strict=True)), self.b)
        return total.relu() if self.nonlinear else total

    def parameters(self) -> list[Value]:
        return [*self.w, self.b]


class Layer(Module):
    def __init__(self, inputs: int, outputs: int, nonlinear: bool, rng: random.Random) -> None:
        self.neurons = [Neuron(inputs, nonlinear, rng) for _ in range(outputs)]

    def __call__(self, x: list[Value]) -> list[Value]:
        return [n(x) for n in self.neurons]

    def parameters(self) -> list[Value]:
        return [p for n in self.neurons for p in n.parameters()]


class MLP(Module):
    def __init__(self, sizes: list[int], rng: random.Random) -> None:
        last = len(sizes) - 2
        self.layers = [Layer(a, b, i != last, rng) for i, (a, b) in enumerate(itertools.pairwise(sizes))]

    def __call__(self, x: list[Value]) -> Value:
        for layer in self.layers:
            x = layer(x)
        return x[0]

    def parameters(self) -> list[Value]:
        return [p for layer in self.layers for p in layer.parameters()]


def moons(n: int, rng: random.Random) -> Iterator[tuple[list[Value], int]]:
    for i in range(n):
        angle, noise = rng.uniform(0, math.pi), (rng.gauss(0, 0.05), rng.gauss(0, 0.05))
        x, y = math.cos(angle), math.sin(angle)
        if i % 2:
            x, y = 1 - x, 0.5 - y
        yield [Value(x + noise[0]), Value(y + noise[1])], 1 if i % 2 else -1


def test_moons() -> None:
    rng = random.Random(1337)
    model, data = MLP([2, 16, 16, 1], rng), list(moons(60, rng))
    assert len(model.parameters()) == 337
    right = 0
    for k in range(60):
        scores = [model(x) for x, _ in data]
        losses = [(1 + -t * s).relu() for (_, t), s in zip(data, scores, strict=True)]
        data_loss = sum(losses) * (1.0 / len(losses))
        loss = data_loss + 1e-4 * sum(p * p for p in model.parameters())
        model.zero_grad()
        loss.backward()
        for p in model.parameters():
            p.data -= (1.0 - 0.9 * k / 100) * 0.5 * p.grad
        right = sum((s.data > 0) == (t > 0) for (_, t), s in zip(data, scores, strict=True))
    assert loss.data < 0.1 and right >= 59


@pytest.mark.skipif(not TELLS_MEMORY, reason="see lib.py")
def test_memory_is_flat() -> None:
    program = """
        import resource
        a = cr.Value(0.5)
        def work(times):
            for _ in range(times):
                x = a
                for _ in range(100):
                    x = (x * a + 1.0).tanh() - a / 3
                (x * x).backward()
        work(50)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        work(1000)
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1000)
    """
    assert run(program) == "True"
