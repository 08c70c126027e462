"""A 4-8-1 network written out in NumPy and by graph, the same to 1e-12 over five steps.

Backpropagation is the chain rule with matrices: each layer needs its input, and the gradient of its output.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

import chainrule as cr
from chainrule.lessons import page

Array = npt.NDArray[np.float64]
STEPS, LR, SAMPLES = 5, 0.1, 16


class Measured(NamedTuple):
    """The losses of both, and the largest difference of any gradient or weight after each step."""

    hand_losses: list[float]
    graph_losses: list[float]
    gradient_differences: list[float]
    weight_differences: list[float]


def hand_step(weights: dict[str, Array], x: Array, y: Array) -> tuple[float, dict[str, Array]]:
    """Forwards, keeping what the way back needs; backwards, one line of the chain rule at a time."""
    W1, b1, W2, b2 = weights.values()
    u = x @ W1.T + b1  # (n, 8)
    h = np.tanh(u)  # (n, 8)
    out = h @ W2.T + b2  # (n, 1)
    loss = np.mean((out - y) ** 2)

    d_out = 2 * (out - y) / out.size  # dL/dout
    d_h = d_out @ W2  # through out = h W2' + b2
    d_u = d_h * (1 - h * h)  # through h = tanh(u)
    gradients = {"W1": d_u.T @ x, "b1": d_u.sum(0), "W2": d_out.T @ h, "b2": d_out.sum(0)}
    return float(loss), gradients


def graph_step(weights: dict[str, cr.Tensor], x: cr.Tensor, y: cr.Tensor) -> float:
    """The same function, and backward() for the rest."""
    W1, b1, W2, b2 = weights.values()
    out = (x @ W1.T + b1).tanh() @ W2.T + b2
    loss = ((out - y) ** 2).mean()
    loss.backward()
    return float(loss)


def run() -> Measured:
    """Prints the lesson."""
    page.say("Four inputs, eight hidden neurons, one output; n = 16 samples, one a row.")
    page.formula(
        "forwards                     backwards",
        "u = x W1' + b1               dW1 = du' x      db1 = sum du",
        "h = tanh(u)                  du  = dh * (1 - h**2)",
        "out = h W2' + b2             dW2 = dout' h    db2 = sum dout    dh = dout W2",
        "L = mean (out - y)**2        dout = 2 (out - y) / n",
    )
    random = np.random.default_rng(0)
    x = random.normal(size=(SAMPLES, 4))
    y = np.sin(x.sum(1, keepdims=True))
    shapes = {"W1": (8, 4), "b1": (8,), "W2": (1, 8), "b2": (1,)}
    hand = {name: random.normal(size=shape) * 0.5 for name, shape in shapes.items()}
    graph = {name: cr.tensor(array).requires_grad_() for name, array in hand.items()}
    assert all(weight.dtype == cr.float64 for weight in graph.values())

    result = Measured([], [], [], [])
    for _ in range(STEPS):
        hand_loss, gradients = hand_step(hand, x, y)
        graph_loss = graph_step(graph, cr.from_numpy(x), cr.from_numpy(y))
        gradient_difference = weight_difference = 0.0
        for name, weight in graph.items():
            assert weight.grad is not None
            gradient_difference = max(
                gradient_difference, float(np.abs(weight.grad.numpy() - gradients[name]).max())
            )
            hand[name] = hand[name] - LR * gradients[name]
            with cr.no_grad():
                weight -= LR * weight.grad
            weight.grad = None
            weight_difference = max(
                weight_difference, float(np.abs(weight.detach().numpy() - hand[name]).max())
            )
        result.hand_losses.append(hand_loss)
        result.graph_losses.append(graph_loss)
        result.gradient_differences.append(gradient_difference)
        result.weight_differences.append(weight_difference)

    page.table(
        ("step", "loss by hand", "loss by graph", "gradients differ by", "weights differ by"),
        [
            (step, f"{by_hand:.15f}", f"{by_graph:.15f}", f"{gradient:.1e}", f"{weight:.1e}")
            for step, (by_hand, by_graph, gradient, weight) in enumerate(zip(*result, strict=True), start=1)
        ],
    )
    page.say(
        "What is left is rounding in the last digit: the two add in a different order. By hand, the column "
        "on the right had to be derived, and every transpose got right; the graph needs only the column on "
        "the left."
    )
    return result
