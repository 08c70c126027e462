"""Clipping a gradient by its norm: shorter, in the same direction.

Where the loss is a cliff, one step along the raw gradient throws the weights away.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import chainrule as cr
from chainrule import nn
from chainrule.lessons import page

REPEATS, LR, STEPS = 30, 0.001, 400


class Measured(NamedTuple):
    """Norms and angles of the example; weights and norms of the two descents."""

    norm: float
    norm_after: float
    angle: float
    angle_by_value: float
    raw: list[float]
    clipped: list[float]
    largest_norm: float


def angle_between(a: cr.Tensor, b: cr.Tensor) -> float:
    """In degrees, from sum and difference of the unit vectors, which keeps the digits of tiny angles."""
    a, b = a / a.norm(), b / b.norm()
    return math.degrees(2 * math.atan2(float((a - b).norm()), float((a + b).norm())))


def parameters_with(*gradients: list[float]) -> list[nn.Parameter]:
    """A parameter for each gradient."""
    parameters = []
    for numbers in gradients:
        parameter = nn.Parameter(cr.zeros(len(numbers), dtype=cr.float64))
        parameter.grad = cr.tensor(numbers, dtype=cr.float64)
        parameters.append(parameter)
    return parameters


def gradient_of(parameters: list[nn.Parameter]) -> cr.Tensor:
    """All gradients as one vector."""
    return cr.cat([parameter.grad for parameter in parameters if parameter.grad is not None])


def descend(clip: bool) -> tuple[list[float], float]:
    """w by step, for the loss (w**30 - 1)**2 from w = 1.25, and the largest gradient norm before clipping."""
    w = nn.Parameter(cr.tensor([1.25], dtype=cr.float64))
    optimizer = cr.optim.SGD([w], lr=LR)
    path, largest = [w.item()], 0.0
    for _ in range(STEPS):
        optimizer.zero_grad()
        state = cr.ones(1, dtype=cr.float64)
        for _ in range(REPEATS):
            state = state * w
        (state - 1).square().sum().backward()
        assert w.grad is not None
        largest = max(largest, w.grad.abs().item())
        if clip:
            nn.utils.clip_grad_norm_([w], max_norm=1.0)
        optimizer.step()
        path.append(w.item())
        if not math.isfinite(path[-1]):
            break
    return path, largest


def run() -> Measured:
    """Prints the lesson."""
    page.section("By norm and by value")
    page.say(
        "All gradients of a model make one vector. Clipping by norm scales it down as a whole when it is "
        "longer than the limit. Clipping by value cuts each number on its own, and bends the direction."
    )
    page.formula(
        "by norm:   g <- g * min(1, max_norm / |g|)",
        "by value:  g <- max(-limit, min(limit, g)), number by number",
    )
    numbers = ([3.0, -4.0], [12.0, 0.5, -0.1])
    before = gradient_of(parameters_with(*numbers)).clone()
    by_norm, by_value = parameters_with(*numbers), parameters_with(*numbers)
    norm = float(nn.utils.clip_grad_norm_(by_norm, max_norm=1.0))
    nn.utils.clip_grad_value_(by_value, clip_value=1.0)
    vectors = {
        "before": before,
        "by norm, to 1": gradient_of(by_norm),
        "by value, to 1": gradient_of(by_value),
    }
    page.table(
        ("gradient", "as one vector", "norm", "turned by"),
        [
            (
                name,
                " ".join(f"{number:+8.4f}" for number in vector.tolist()),
                f"{float(vector.norm()):.4f}",
                f"{angle_between(before, vector):.4f} degrees",
            )
            for name, vector in vectors.items()
        ],
    )

    page.section("A cliff")
    page.say(
        f"A state multiplied by w {REPEATS} times, as in a recurrent network: L = (w**{REPEATS} - 1)**2, "
        f"lowest at w = 1. We start at w = 1.25 with a learning rate of {LR} and {STEPS} steps."
    )
    raw, largest = descend(clip=False)
    clipped, largest_clipped = descend(clip=True)
    page.table(
        ("step", "w, raw gradient", "w, clipped to norm 1"),
        [
            (step, f"{raw[step]:.6g}" if step < len(raw) else "", f"{clipped[step]:.6f}")
            for step in (0, 1, 2, 3, 100, 200, 300, STEPS)
        ],
    )
    print(f"  gradient at the start: {largest_clipped:.2e}; largest on the raw path: {largest:.2e}")
    page.say(
        "One step over the cliff ends the raw run. The clipped one walks down at 0.001 a step and settles "
        "at 1."
    )
    return Measured(
        norm,
        float(vectors["by norm, to 1"].norm()),
        angle_between(before, vectors["by norm, to 1"]),
        angle_between(before, vectors["by value, to 1"]),
        raw,
        clipped,
        largest,
    )
