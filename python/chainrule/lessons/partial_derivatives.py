"""A loss of two weights: one partial derivative for each, and the gradient that they make.

A partial derivative moves one weight and holds the others. The gradient, all partial derivatives as one
vector, points where the loss rises fastest.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import chainrule as cr
from chainrule.lessons import page


class Measured(NamedTuple):
    """At each point, for both weights, (by formula, by graph, measured); slopes by angle; losses by step."""

    partials: dict[tuple[float, float], list[tuple[float, float, float]]]
    slopes: dict[int, float]
    steepest: float
    losses: list[float]


def loss(w: cr.Tensor) -> cr.Tensor:
    """(w1 - 3)**2 + w1 w2 + 2 w2**2."""
    return (w[0] - 3) ** 2 + w[0] * w[1] + 2 * w[1] ** 2


def value(w1: float, w2: float) -> float:
    """The loss as a number."""
    return float(loss(cr.tensor([w1, w2], dtype=cr.float64)))


def by_graph(w1: float, w2: float) -> tuple[float, float]:
    """Both partial derivatives from one backward pass."""
    w = cr.tensor([w1, w2], dtype=cr.float64, requires_grad=True)
    loss(w).backward()
    assert w.grad is not None
    first, second = w.grad.tolist()
    return first, second


def run() -> Measured:
    """Prints the lesson."""
    page.section("Move one, hold the other")
    page.say("To differentiate in w1, treat w2 as a constant, and the other way round:")
    page.formula(
        "L       = (w1 - 3)**2 + w1 w2 + 2 w2**2",
        "dL/dw1  = 2 (w1 - 3) + w2",
        "dL/dw2  = w1 + 4 w2",
    )
    h = 1e-5
    partials: dict[tuple[float, float], list[tuple[float, float, float]]] = {}
    rows = []
    for w1, w2 in ((0.0, 0.0), (1.0, 2.0), (-2.0, 1.5), (24 / 7, -6 / 7)):
        graph = by_graph(w1, w2)
        formula = 2 * (w1 - 3) + w2, w1 + 4 * w2
        measured = (
            (value(w1 + h, w2) - value(w1 - h, w2)) / (2 * h),
            (value(w1, w2 + h) - value(w1, w2 - h)) / (2 * h),
        )
        partials[w1, w2] = list(zip(formula, graph, measured, strict=True))
        for name, triple in zip(("dL/dw1", "dL/dw2"), partials[w1, w2], strict=True):
            rows.append(
                (f"({w1:.3f}, {w2:.3f})", name, *(f"{round(number, 6) + 0.0:+.6f}" for number in triple))
            )
    page.table(("(w1, w2)", "", "by formula", "by graph", "measured"), rows)
    page.say("In the last point both vanish: the ground of the valley.")

    page.section("The gradient points uphill")
    page.say(
        "From (1, 2), measure the slope in twelve directions. It is the gradient's part along the "
        "direction: largest along the gradient, zero across it, most negative straight against it. So "
        "descent goes against it."
    )
    gradient = by_graph(1.0, 2.0)
    steepest = math.degrees(math.atan2(gradient[1], gradient[0]))
    slopes: dict[int, float] = {}
    for angle in range(0, 360, 30):
        cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
        slopes[angle] = (value(1 + h * cos, 2 + h * sin) - value(1 - h * cos, 2 - h * sin)) / (2 * h)
    page.table(
        ("direction", "slope, measured", ""),
        [
            (f"{angle:>3} degrees", f"{slope:+.3f}".rjust(15), "#" * round(max(slope, 0) * 3))
            for angle, slope in slopes.items()
        ],
    )
    length = math.hypot(*gradient)
    print(
        f"  gradient ({gradient[0]:.0f}, {gradient[1]:.0f}): direction {steepest:.1f} degrees, length "
        f"{length:.3f}"
    )

    page.section("Ten steps downhill")
    page.formula("w  <-  w - 0.2 * gradient")
    w = cr.tensor([1.0, 2.0], dtype=cr.float64)
    losses = []
    steps = []
    for step in range(11):
        w1, w2 = w.tolist()
        losses.append(value(w1, w2))
        steps.append((step, w1, w2, losses[-1]))
        w = w - 0.2 * cr.tensor(by_graph(w1, w2), dtype=cr.float64)
    page.table(("step", "w1", "w2", "loss"), steps)
    return Measured(partials, slopes, steepest, losses)
