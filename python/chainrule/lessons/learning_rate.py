"""A learning rate too large, too small and right, plotted.

How long a step may be is decided by the loss's curvature: more than 2 over the largest, and descent climbs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import chainrule as cr
from chainrule.lessons import page

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STEPS = 60


class Measured(NamedTuple):
    """The curvatures, the limit that they set; for each learning rate the losses and the path of (w, b)."""

    curvatures: list[float]
    limit: float
    rates: dict[str, float]
    losses: dict[str, list[float]]
    paths: dict[str, list[list[float]]]


def make_data() -> tuple[cr.Tensor, cr.Tensor]:
    """Forty noisy points along y = 2 x + 1."""
    cr.manual_seed(0)
    x = 3 * cr.rand(40, dtype=cr.float64) - 1
    return x, 2 * x + 1 + 0.3 * cr.randn(40, dtype=cr.float64)


def loss_of(p: cr.Tensor, x: cr.Tensor, y: cr.Tensor) -> cr.Tensor:
    """Mean squared error of the line p[0] x + p[1]."""
    return (p[0] * x + p[1] - y).square().mean()


def curvatures_of(x: cr.Tensor, y: cr.Tensor) -> list[float]:
    """The eigenvalues of the loss's matrix of second derivatives, smallest first."""
    p = cr.zeros(2, dtype=cr.float64, requires_grad=True)
    (gradient,) = cr.autograd.grad(loss_of(p, x, y), p, create_graph=True)
    (ww, wb), (_, bb) = (cr.autograd.grad(gradient[i], p, retain_graph=True)[0].tolist() for i in (0, 1))
    half_trace, root = (ww + bb) / 2, (((ww - bb) / 2) ** 2 + wb * wb) ** 0.5
    return [half_trace - root, half_trace + root]


def descend(x: cr.Tensor, y: cr.Tensor, rate: float) -> tuple[list[float], list[list[float]]]:
    """Losses and places of every step from (0, 0)."""
    p = cr.zeros(2, dtype=cr.float64, requires_grad=True)
    losses, path = [], []
    for _ in range(STEPS + 1):
        loss = loss_of(p, x, y)
        losses.append(loss.item())
        path.append(p.tolist())
        (gradient,) = cr.autograd.grad(loss, p)
        with cr.no_grad():
            p -= rate * gradient
    return losses, path


def run() -> Measured:
    """Prints the lesson."""
    page.say(
        "Forty points, a line, descent along the gradient. Along a direction in which the loss curves by c, "
        "a step with rate lr multiplies the distance to the minimum by 1 - lr c. It shrinks only if lr < 2 "
        "/ c, for the largest c of all."
    )
    x, y = make_data()
    curvatures = curvatures_of(x, y)
    low, high = curvatures
    limit = 2 / high
    page.formula(
        f"curvatures, the eigenvalues of the second derivatives:  {low:.3f}, {high:.3f}",
        f"limit 2 / {high:.3f} = {limit:.3f}",
        f"best for both directions 2 / ({low:.3f} + {high:.3f}) = {2 / (low + high):.3f}",
    )
    rates = {"large": 1.04 * limit, "small": 0.01 * limit, "right": 2 / (low + high)}
    runs = {name: descend(x, y, rate) for name, rate in rates.items()}
    losses = {name: run[0] for name, run in runs.items()}
    paths = {name: run[1] for name, run in runs.items()}
    page.table(
        ("step", *(f"{name}, lr {rate:.3f}" for name, rate in rates.items())),
        [
            (step, *(f"{curve[step]:.5f}" for curve in losses.values()))
            for step in (0, 1, 2, 5, 10, 20, 40, STEPS)
        ],
    )
    page.section("Loss by step")
    page.chart(losses)
    page.say(
        "Too large climbs out of the valley, too small is still on its way, right arrived before step 20."
    )
    return Measured(curvatures, limit, rates, losses, paths)


def draw(measured: Measured) -> Figure:
    """The losses by step, and the first steps over the loss surface."""
    import numpy as np

    from chainrule.demo import pictures

    with pictures.styled():
        figure = pictures.new_figure(11, 4.6)
        left, right = figure.subplots(1, 2, width_ratios=(1, 1.15))
        colours = dict(zip(measured.rates, (pictures.RED, pictures.BLUE, pictures.GREEN), strict=True))
        for name, losses in measured.losses.items():
            left.plot(losses, color=colours[name], label=f"{name}: {measured.rates[name]:.3f}")
        left.set_yscale("log")
        left.set_title("Loss by step")
        left.set_xlabel("step")
        left.legend(title=f"learning rate (limit {measured.limit:.3f})")

        x, y = (data.numpy() for data in make_data())
        w, b = np.meshgrid(np.linspace(-1.2, 5.2, 121), np.linspace(-1.2, 3.2, 121))
        surface = ((w[..., None] * x + b[..., None] - y) ** 2).mean(-1)
        right.contourf(w, b, np.log(surface), levels=16, cmap="Greys", alpha=0.5)
        for name, path in measured.paths.items():
            line = np.array(path)
            right.plot(
                line[:, 0], line[:, 1], "o-", markersize=3.5, linewidth=1.2, color=colours[name], label=name
            )
        right.set_xlim(w.min(), w.max())
        right.set_ylim(b.min(), b.max())
        right.grid(False)
        right.set_title("The steps over the loss surface")
        right.set_xlabel("w")
        right.set_ylabel("b")
        right.legend(loc="lower right")
    return figure
