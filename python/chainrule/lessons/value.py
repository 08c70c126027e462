"""Value: a number that remembers where it came from.

The whole idea of the library in one scalar: data, grad, the operation that made it and what it was made of.
"""

from __future__ import annotations

import random
from typing import NamedTuple

import chainrule as cr
from chainrule.lessons import page


class Measured(NamedTuple):
    """Gradients of the first expression, by graph and measured; XOR before and after training."""

    gradients: dict[str, tuple[float, float]]
    losses: list[float]
    outputs: dict[tuple[int, int], float]


def expression(x: float, w: float, b: float) -> dict[str, cr.Value]:
    """y = tanh(w x + b) + w**2 and everything on the way, by label."""
    inputs = [cr.Value(x, label="x"), cr.Value(w, label="w"), cr.Value(b, label="b")]
    vx, vw, vb = inputs
    product = vw * vx
    total = product + vb
    squashed = total.tanh()
    square = vw**2
    y = squashed + square
    for node, label in ((product, "w x"), (total, "w x + b"), (squashed, "tanh"), (square, "w**2"), (y, "y")):
        node.label = label
    return {node.label: node for node in (*inputs, product, total, squashed, square, y)}


def show(node: cr.Value, depth: int = 0) -> None:
    """The graph under a node as a tree; what is used twice stands there twice."""
    name = "    " * depth + node.label
    operation = f"made by {node._op}" if node._op else "input"
    print(f"  {name:<24} data {node.data:+.4f}   grad {node.grad:+.4f}   {operation}")
    for child in sorted(node._prev, key=lambda child: child.label, reverse=True):
        show(child, depth + 1)


class Neuron:
    """tanh(w . x + b) of Values."""

    def __init__(self, inputs: int, generator: random.Random) -> None:
        self.w = [cr.Value(generator.uniform(-1, 1)) for _ in range(inputs)]
        self.b = cr.Value(0.0)

    def __call__(self, x: list[cr.Value]) -> cr.Value:
        total = self.b
        for weight, value in zip(self.w, x, strict=True):
            total = total + weight * value
        return total.tanh()

    def parameters(self) -> list[cr.Value]:
        """Everything that learns."""
        return [*self.w, self.b]


def run() -> Measured:
    """Prints the lesson."""
    page.section("An expression is a graph")
    page.say(
        "y = tanh(w x + b) + w**2. Each arithmetic operation returns a new Value that points to its "
        "arguments. y.backward() starts with dy/dy = 1 and walks the graph from the result to the inputs; "
        "where a Value is used twice, as w is, the two contributions are added."
    )
    nodes = expression(0.5, 1.2, -0.3)
    nodes["y"].backward()
    print()
    show(nodes["y"])

    page.section("Is it right? Move each input a little and look")
    h = 1e-6
    start = {"x": 0.5, "w": 1.2, "b": -0.3}
    gradients: dict[str, tuple[float, float]] = {}
    for label in start:
        up = expression(**{**start, label: start[label] + h})["y"].data
        down = expression(**{**start, label: start[label] - h})["y"].data
        gradients[label] = nodes[label].grad, (up - down) / (2 * h)
    page.table(
        ("gradient", "by graph", "measured"),
        [(f"dy/d{label}", *(f"{number:.8f}" for number in pair)) for label, pair in gradients.items()],
    )

    page.section("Thirteen Values learn XOR")
    page.say(
        "Three hidden neurons and one output neuron, 4 samples, squared error. Zero the gradients, run "
        "forwards, run backwards, step: nothing more is needed to train a network."
    )
    generator = random.Random(1)
    hidden, output = [Neuron(2, generator) for _ in range(3)], Neuron(3, generator)
    parameters = [parameter for neuron in (*hidden, output) for parameter in neuron.parameters()]
    samples = {(0, 0): -1.0, (0, 1): 1.0, (1, 0): 1.0, (1, 1): -1.0}

    def network(x: tuple[int, int]) -> cr.Value:
        inputs = [cr.Value(float(number)) for number in x]
        return output([neuron(inputs) for neuron in hidden])

    losses: list[float] = []
    rows = []
    for step in range(301):
        loss = cr.Value(0.0)
        for x, target in samples.items():
            loss = loss + (network(x) - target) ** 2
        losses.append(loss.data)
        if step % 50 == 0:
            rows.append((step, f"{loss.data:.6f}"))
        for parameter in parameters:
            parameter.zero_grad()
        loss.backward()
        for parameter in parameters:
            parameter.data -= 0.1 * parameter.grad
    page.table(("step", "loss"), rows)
    outputs = {x: network(x).data for x in samples}
    page.table(
        ("inputs", "wanted", "output"),
        [(str(x), f"{samples[x]:+.0f}", f"{out:+.4f}") for x, out in outputs.items()],
    )
    return Measured(gradients, losses, outputs)
