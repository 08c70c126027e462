"""The derivative of w**2 measured and exact, and the table of rules.

A derivative is a slope: how much the result moves for a small move of the argument. It can be measured with
two calls of the function, or known exactly from a rule. The library knows rules.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import chainrule as cr
from chainrule.lessons import page


class Measured(NamedTuple):
    """Errors of the measured slopes of w**2, by step; the largest disagreement over the table of rules."""

    forward_errors: dict[float, float]
    central_errors: dict[float, float]
    rules: dict[str, tuple[float, float, float]]  # by formula, by graph, measured


class Rule(NamedTuple):
    """One line of the table: a function, its derivative in words, and the same derivative to compute."""

    name: str
    function: str
    derivative: str
    f: Callable[[cr.Tensor], cr.Tensor]
    slope: Callable[[float], float]


def sigmoid(w: float) -> float:
    """1 / (1 + exp(-w))."""
    return 1 / (1 + math.exp(-w))


RULES = (
    Rule("constant", "5", "0", lambda w: 0 * w + 5, lambda w: 0.0),
    Rule("identity", "w", "1", lambda w: w, lambda w: 1.0),
    Rule("square", "w**2", "2 w", lambda w: w**2, lambda w: 2 * w),
    Rule("power", "w**5", "5 w**4", lambda w: w**5, lambda w: 5 * w**4),
    Rule("exp", "exp(w)", "exp(w)", lambda w: w.exp(), math.exp),
    Rule("log", "log(w)", "1 / w", lambda w: w.log(), lambda w: 1 / w),
    Rule("ReLU", "max(w, 0)", "1 if w > 0 else 0", lambda w: w.relu(), lambda w: float(w > 0)),
    Rule(
        "sigmoid", "s(w)", "s(w) (1 - s(w))", lambda w: w.sigmoid(), lambda w: sigmoid(w) * (1 - sigmoid(w))
    ),
)


def number(value: float) -> cr.Tensor:
    """A float64 scalar."""
    return cr.tensor(value, dtype=cr.float64)


def by_graph(f: Callable[[cr.Tensor], cr.Tensor], at: float) -> float:
    """The derivative that the library finds."""
    w = number(at).requires_grad_()
    f(w).backward()
    assert w.grad is not None
    return float(w.grad)


def measure(f: Callable[[cr.Tensor], cr.Tensor], at: float, step: float = 1e-6) -> float:
    """The central difference: a step to either side."""
    return float(f(number(at + step)) - f(number(at - step))) / (2 * step)


def run() -> Measured:
    """Prints the lesson."""
    page.section("One slope, measured")
    page.say(
        "For f(w) = w**2 at w = 3 the rule says 2 w = 6. Two ways to measure it: one step forward, or one "
        "step to either side. The first is wrong by h, the second, for a square, by nothing but rounding. "
        "But with a tiny h the difference of two nearly equal numbers loses its digits, and both get worse: "
        "measuring has a floor, a rule has none."
    )
    page.formula("forward: (f(w + h) - f(w)) / h        central: (f(w + h) - f(w - h)) / 2h")
    w = 3.0
    exact = by_graph(lambda w: w**2, w)
    forward_errors: dict[float, float] = {}
    central_errors: dict[float, float] = {}
    rows = []
    for step in (1e-1, 1e-2, 1e-4, 1e-6, 1e-8, 1e-10, 1e-12):
        forward = ((w + step) ** 2 - w**2) / step
        central = ((w + step) ** 2 - (w - step) ** 2) / (2 * step)
        forward_errors[step], central_errors[step] = abs(forward - exact), abs(central - exact)
        rows.append(
            (
                f"{step:.0e}",
                f"{forward:.10f}",
                f"{forward_errors[step]:.1e}",
                f"{central:.10f}",
                f"{central_errors[step]:.1e}",
            )
        )
    page.table(("h", "forward", "error", "central", "error"), rows)
    print(f"  by the graph: {exact}")

    page.section("The table of rules")
    page.say(
        "Every function that the library differentiates has such a line. At w = 1.5, and for ReLU on its "
        "flat side, at -1.5, too:"
    )
    rules: dict[str, tuple[float, float, float]] = {}
    for rule, at in [*((rule, 1.5) for rule in RULES), (RULES[-2], -1.5)]:
        name = rule.name if at > 0 else f"{rule.name}, left"
        rules[name] = rule.slope(at), by_graph(rule.f, at), measure(rule.f, at)
    page.table(
        ("rule", "f(w)", "f'(w)", "by formula", "by graph", "measured"),
        [
            (name, rule.function, rule.derivative, *(f"{value:.8f}" for value in rules[name]))
            for name, rule in zip(rules, [*RULES, RULES[-2]], strict=True)
        ],
    )
    return Measured(forward_errors, central_errors, rules)
