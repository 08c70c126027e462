"""The chain rule over u = wx + b, a = ReLU(u), L = (a - y)**2, every factor printed.

A derivative through a chain of functions is the product of the derivatives along it. The graph does nothing
else: each operation multiplies what comes from above with its own factor and hands it down.
"""

from __future__ import annotations

from typing import NamedTuple

import chainrule as cr
from chainrule.lessons import page


class Factors(NamedTuple):
    """The factors along the chain, and the gradients by product, by graph and measured."""

    u: float
    a: float
    loss: float
    dL_da: float
    da_du: float
    du_dw: float
    du_db: float
    product: tuple[float, float]
    graph: tuple[float, float]
    measured: tuple[float, float]


class Measured(NamedTuple):
    """An active neuron, and one that ReLU shuts off."""

    active: Factors
    dead: Factors


def loss_of(w: float, x: float, b: float, y: float) -> float:
    """The loss with nothing but Python."""
    return (max(w * x + b, 0.0) - y) ** 2


def differentiate(w_value: float, x: float, b_value: float, y: float) -> Factors:
    """One forward pass and every derivative along it."""
    w = cr.tensor(w_value, dtype=cr.float64, requires_grad=True)
    b = cr.tensor(b_value, dtype=cr.float64, requires_grad=True)
    u = w * x + b
    a = u.relu()
    loss = (a - y) ** 2

    # Each factor alone: the derivative of one operation in its own argument.
    (dL_da,) = cr.autograd.grad(loss, a, retain_graph=True)
    (da_du,) = cr.autograd.grad(a, u, retain_graph=True)
    du_dw, du_db = cr.autograd.grad(u, (w, b), retain_graph=True)
    # And the whole chain at once.
    loss.backward()
    assert w.grad is not None and b.grad is not None

    upstream = dL_da.item() * da_du.item()
    h = 1e-6
    return Factors(
        u=u.item(),
        a=a.item(),
        loss=loss.item(),
        dL_da=dL_da.item(),
        da_du=da_du.item(),
        du_dw=du_dw.item(),
        du_db=du_db.item(),
        product=(upstream * du_dw.item(), upstream * du_db.item()),
        graph=(w.grad.item(), b.grad.item()),
        measured=(
            (loss_of(w_value + h, x, b_value, y) - loss_of(w_value - h, x, b_value, y)) / (2 * h),
            (loss_of(w_value, x, b_value + h, y) - loss_of(w_value, x, b_value - h, y)) / (2 * h),
        ),
    )


def show(w: float, x: float, b: float, y: float) -> Factors:
    """Prints one case: forwards, factors, products."""
    page.section(f"w = {w:g}, x = {x:g}, b = {b:g}, y = {y:g}")
    f = differentiate(w, x, b, y)
    page.table(
        ("step", "value", "factor", "is", "value"),
        [
            ("u = w x + b", f"{f.u:g}", "du/dw", "x", f"{f.du_dw:g}"),
            ("", "", "du/db", "1", f"{f.du_db:g}"),
            ("a = ReLU(u)", f"{f.a:g}", "da/du", "1 if u > 0 else 0", f"{f.da_du:g}"),
            ("L = (a - y)**2", f"{f.loss:g}", "dL/da", "2 (a - y)", f"{f.dL_da:g}"),
        ],
    )
    page.table(
        ("gradient", "product of the factors", "by graph", "measured"),
        [
            (
                f"dL/d{name}",
                f"{f.dL_da:g} * {f.da_du:g} * {last:g} = {product + 0:g}",
                f"{graph + 0:g}",
                f"{measured + 0:.6f}",
            )
            for name, last, product, graph, measured in zip(
                "wb", (f.du_dw, f.du_db), f.product, f.graph, f.measured, strict=True
            )
        ],
    )
    return f


def run() -> Measured:
    """Prints the lesson."""
    page.say("One neuron and its loss, three functions one after the other, so three factors:")
    page.formula(
        "dL/dw = dL/da * da/du * du/dw",
        "dL/db = dL/da * da/du * du/db",
    )
    page.say("The first two factors are the same for both weights: the graph computes them once.")
    active = show(w=2.0, x=3.0, b=-1.0, y=4.0)
    page.say("Both gradients are positive: less w or less b would bring a = 5 nearer to y = 4.")
    dead = show(w=-2.0, x=3.0, b=1.0, y=4.0)
    page.say(
        "Here u is negative, ReLU is flat, its factor is 0, and so is every product that contains it: "
        "the neuron is wrong by 4 and learns nothing from it."
    )
    return Measured(active, dead)
