"""The gradient of a linear regression, by hand and by graph.

By hand: write the loss, differentiate it on paper, type the result. By graph: write the loss, call
backward().
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

import chainrule as cr
from chainrule.lessons import page

X = np.array([0.5, 1.0, 2.0, 3.0, 4.5])
Y = np.array([12.0, 16.5, 22.0, 31.5, 41.0])
STEPS, LR = 400, 0.1


class Measured(NamedTuple):
    """Gradients at the start, weights at the end, (w, b) each, and the largest difference on the way."""

    hand: tuple[float, float]
    graph: tuple[float, float]
    end: tuple[float, float]
    least_squares: tuple[float, float]
    difference: float


def gradient_by_hand(w: float, b: float) -> tuple[float, float]:
    """(2/n sum (w x + b - y) x, 2/n sum (w x + b - y))."""
    error = w * X + b - Y
    return float(2 * np.mean(error * X)), float(2 * np.mean(error))


def gradient_by_graph(w: cr.Tensor, b: cr.Tensor) -> tuple[float, float]:
    """Fills w.grad and b.grad anew."""
    w.grad = b.grad = None
    loss = (w * cr.from_numpy(X) + b - cr.from_numpy(Y)).square().mean()
    loss.backward()
    assert w.grad is not None and b.grad is not None
    return w.grad.item(), b.grad.item()


def run() -> Measured:
    """Prints the lesson."""
    page.say(
        "Five deliveries: distance x in kilometres, time y in minutes. The line w x + b should pass near "
        "them."
    )
    page.formula(
        "L     = 1/n sum (w x + b - y)**2",
        "dL/dw = 2/n sum (w x + b - y) x",
        "dL/db = 2/n sum (w x + b - y)",
    )
    w = cr.tensor(5.0, dtype=cr.float64, requires_grad=True)
    b = cr.tensor(5.0, dtype=cr.float64, requires_grad=True)

    page.section("At w = 5, b = 5")
    error = 5 * X + 5 - Y
    page.table(
        ("x", "y", "w x + b", "error", "error * x"),
        [tuple(map(float, row)) for row in zip(X, Y, 5 * X + 5, error, error * X, strict=True)],
    )
    hand, graph = gradient_by_hand(5.0, 5.0), gradient_by_graph(w, b)
    page.table(
        ("gradient", "by hand", "by graph"),
        [
            (f"dL/d{name}", f"{mine:.12f}", f"{its:.12f}")
            for name, mine, its in zip("wb", hand, graph, strict=True)
        ],
    )

    page.section(f"{STEPS} steps of descent, w <- w - {LR} dL/dw, twice")
    hand_w, hand_b = 5.0, 5.0
    difference = 0.0
    rows = []
    for step in range(STEPS + 1):
        if step in (0, 1, 2, 10, 50, 100, 200, STEPS):
            rows.append((step, hand_w, hand_b, w.item(), b.item()))
        difference = max(difference, abs(hand_w - w.item()), abs(hand_b - b.item()))
        hand_dw, hand_db = gradient_by_hand(hand_w, hand_b)
        dw, db = gradient_by_graph(w, b)
        if step < STEPS:
            hand_w, hand_b = hand_w - LR * hand_dw, hand_b - LR * hand_db
            with cr.no_grad():  # a step is no part of the function that we differentiate
                w -= LR * dw
                b -= LR * db
    page.table(("step", "w by hand", "b by hand", "w by graph", "b by graph"), rows)
    slope, intercept = np.polyfit(X, Y, 1)
    print(f"  largest difference in {STEPS} steps: {difference:.1e}")
    print(f"  least squares, solved directly: w = {slope:.4f}, b = {intercept:.4f}")
    return Measured(hand, graph, (w.item(), b.item()), (float(slope), float(intercept)), difference)
