"""requires_grad, backward, accumulation, grad.zero_, no_grad and detach.

What is recorded, what is not, and where the gradients go.
"""

from __future__ import annotations

from typing import NamedTuple

import chainrule as cr
from chainrule.lessons import page


class Measured(NamedTuple):
    """What the lesson observed, in its order."""

    gradient: list[float]
    grad_fn: str
    accumulated: list[list[float]]
    after_zero: list[float]
    recorded_under_no_grad: bool
    leaf_error: str
    detached_gradient: float
    second_backward_error: str


def run() -> Measured:
    """Prints the lesson."""
    page.section("requires_grad: what we want derivatives for")
    w = cr.tensor([1.0, 2.0, 3.0], requires_grad=True)
    x = cr.tensor([10.0, 20.0, 30.0])
    y = (w * x).sum()
    assert y.grad_fn is not None
    grad_fn = y.grad_fn.name()
    page.table(
        ("tensor", "requires_grad", "is_leaf", "grad_fn"),
        [
            (
                name,
                str(t.requires_grad),
                str(t.is_leaf),
                "None" if t.grad_fn is None else t.grad_fn.name(),
            )
            for name, t in (("w", w), ("x", x), ("w * x", w * x), ("y = (w * x).sum()", y))
        ],
    )
    page.say("We asked for w; whatever is computed from it is recorded. Tensors that we made are leaves.")

    page.section("backward: gradients arrive in the leaves")
    y.backward()
    assert w.grad is not None
    gradient = w.grad.tolist()
    print(f"  y.backward()    w.grad = {gradient}    the derivative of sum(w x) in w is x")

    page.section("Gradients add up until they are cleared")
    accumulated = [w.grad.tolist()]
    for _ in range(2):
        (w * x).sum().backward()
        accumulated.append(w.grad.tolist())
    for count, numbers in enumerate(accumulated, start=1):
        print(f"  after backward number {count}    w.grad = {numbers}")
    w.grad.zero_()
    after_zero = w.grad.tolist()
    print(f"  after w.grad.zero_()       w.grad = {after_zero}")
    page.say(
        "That is what sums the gradients of several losses, and what a training loop has to undo at each "
        "step."
    )

    page.section("no_grad: compute without recording")
    with cr.no_grad():
        quiet = (w * x).sum()
        w -= 0.1  # a step of descent changes the weights and is not part of the function
    print(f"  inside no_grad    (w * x).sum().requires_grad = {quiet.requires_grad}")
    print(f"  inside no_grad    w -= 0.1 gives w = {[round(number, 4) for number in w.tolist()]}")
    leaf_error = ""
    try:
        w -= 0.1
    except RuntimeError as error:
        leaf_error = str(error)
    print("  outside it        w -= 0.1 is refused:")
    page.say(f"RuntimeError: {leaf_error}")

    page.section("detach: treat a result as a constant")
    v = cr.tensor(3.0, requires_grad=True)
    (v * v.detach()).backward()
    assert v.grad is not None
    detached_gradient = v.grad.item()
    page.table(
        ("function", "derivative at v = 3"),
        [
            ("v * v", "6: both factors move"),
            ("v * v.detach()", f"{detached_gradient:g}: the second is a constant"),
        ],
    )

    page.section("A graph serves once")
    page.say(
        "backward frees what the graph has saved. A second call is an error, unless the first kept the graph:"
    )
    z = (v * v).exp()
    z.backward()
    second_backward_error = ""
    try:
        z.backward()
    except RuntimeError as error:
        second_backward_error = str(error).partition(". ")[0]
    page.say(f"RuntimeError: {second_backward_error}.")
    page.formula("z.backward(retain_graph=True)    keeps the graph")
    return Measured(
        gradient,
        grad_fn,
        accumulated,
        after_zero,
        quiet.requires_grad,
        leaf_error,
        detached_gradient,
        second_backward_error,
    )
