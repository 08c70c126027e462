"""zero_grad, backward, step: the loop that trains everything, and what happens without each.

A model, a loss, an optimizer, and three calls a step.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import chainrule as cr
from chainrule import nn
from chainrule.lessons import page

STEPS, LR = 500, 0.1


class Measured(NamedTuple):
    """Losses of the right loop, of the loops with one call missing, and how far SGD is from its formula."""

    losses: list[float]
    without_zero_grad: list[float]
    without_step: list[float]
    without_backward: list[float]
    difference: float


def make_model() -> nn.Sequential:
    """One number in, one out, 16 hidden neurons; the same weights at each call."""
    cr.manual_seed(0)
    return nn.Sequential(nn.Linear(1, 16), nn.Tanh(), nn.Linear(16, 1))


def make_data() -> tuple[cr.Tensor, cr.Tensor]:
    """One period of the sine."""
    x = cr.linspace(-math.pi, math.pi, 64).unsqueeze(1)
    return x, x.sin()


def train(zero_grad: bool = True, backward: bool = True, step: bool = True) -> list[float]:
    """The loop, with the calls that are asked for; returns the loss before each step."""
    x, y = make_data()
    model = make_model()
    optimizer = cr.optim.SGD(model.parameters(), lr=LR)
    losses = []
    for _ in range(STEPS):
        loss = nn.functional.mse_loss(model(x), y)
        if zero_grad:
            optimizer.zero_grad()
        if backward:
            loss.backward()
        if step:
            optimizer.step()
        losses.append(loss.item())
    return losses


def sgd_by_hand() -> float:
    """A hundred steps of the optimizer beside p <- p - lr grad; the largest difference of any parameter."""
    x, y = make_data()
    by_optimizer, by_hand = make_model(), make_model()
    optimizer = cr.optim.SGD(by_optimizer.parameters(), lr=LR)
    for _ in range(100):
        optimizer.zero_grad()
        nn.functional.mse_loss(by_optimizer(x), y).backward()
        optimizer.step()

        by_hand.zero_grad()
        nn.functional.mse_loss(by_hand(x), y).backward()
        with cr.no_grad():
            for parameter in by_hand.parameters():
                assert parameter.grad is not None
                parameter -= LR * parameter.grad
    with cr.no_grad():
        pairs = zip(by_optimizer.parameters(), by_hand.parameters(), strict=True)
        return max(float((a - b).abs().max()) for a, b in pairs)


def run() -> Measured:
    """Prints the lesson."""
    page.say("A network with 16 hidden neurons learns the sine from 64 points.")
    page.formula(
        "for _ in range(500):",
        "    loss = mse_loss(model(x), y)    # forwards: what is wrong now",
        "    optimizer.zero_grad()           # forget the gradients of the last step",
        "    loss.backward()                 # backwards: d loss / d parameter, for each parameter",
        "    optimizer.step()                # p <- p - lr * p.grad",
    )
    losses = train()
    without_zero_grad, without_step = train(zero_grad=False), train(step=False)
    without_backward = train(backward=False)
    page.table(
        ("step", "the loop", "no zero_grad", "no backward", "no step"),
        [
            (
                i + 1,
                *(f"{curve[i]:.5f}" for curve in (losses, without_zero_grad, without_backward, without_step)),
            )
            for i in (0, 1, 2, 4, 9, 24, 49, 99, 249, 499)
        ],
    )
    page.say(
        "Without zero_grad each step goes along the sum of all gradients so far, and swings past the goal. "
        "Without backward there is no gradient to follow, without step nobody follows it: the loss stays "
        "where it was."
    )

    page.section("What step() does")
    difference = sgd_by_hand()
    page.say("SGD is one line. A hundred steps of the optimizer, and of that line by hand:")
    page.formula("p <- p - lr * p.grad", f"largest difference of any parameter: {difference:.1e}")
    return Measured(losses, without_zero_grad, without_step, without_backward, difference)
