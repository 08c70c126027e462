"""Delivery time from distance: one straight line, three ways to descend.

1,000 orders follow y = 8.6 + 7.3 x + noise: 8.6 minutes in the kitchen, 7.3 minutes a kilometre, and a
noise whose standard deviation is 3 minutes. The loss is the mean squared error. Batch descent takes one
step an epoch along the gradient of all orders, stochastic descent one step an order, mini-batch descent one
step for every 20 orders. The learning rate falls along half a cosine, the same for all three: steps that
see few orders stop jumping about only when they become short.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

import chainrule as cr
from chainrule.demo import pictures
from chainrule.demo.support import Refusal, require

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

EPOCHS, LR = 30, 0.02
W, B, NOISE, ORDERS = 7.3, 8.6, 3.0, 1000
NEAREST, FARTHEST = 0.5, 6.0  # kilometres
TABLE_ROWS = 15


@dataclass
class Descent:
    """One way to descend: how many orders a step sees, and where its steps led."""

    name: str
    batch: int
    w: list[float] = field(default_factory=list)  # one entry a step, the start first
    b: list[float] = field(default_factory=list)
    loss: list[float] = field(default_factory=list)  # one entry an epoch, before the first too


@dataclass
class Result:
    """What a run leaves behind."""

    w: float
    b: float
    least_squares: tuple[float, float]
    descents: list[Descent]
    picture: Path


def make_orders() -> tuple[cr.Tensor, cr.Tensor]:
    """Distances in kilometres and times in minutes."""
    x = NEAREST + (FARTHEST - NEAREST) * cr.rand(ORDERS)
    return x, B + W * x + NOISE * cr.randn(ORDERS)


def batches(count: int, size: int) -> Iterator[cr.Tensor]:
    """The orders' numbers in a new random order, `size` at a time."""
    yield from cr.randperm(count).split(size)


def descend(descent: Descent, x: cr.Tensor, y: cr.Tensor, epochs: int, lr: float) -> None:
    """Runs one descent from w = b = 0 and notes every step."""
    w = cr.zeros((), requires_grad=True)
    b = cr.zeros((), requires_grad=True)
    optimizer = cr.optim.SGD([w, b], lr=lr)
    schedule = cr.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)

    def note_epoch() -> None:
        with cr.no_grad():
            descent.loss.append(float((w * x + b - y).square().mean()))

    def note_step() -> None:
        descent.w.append(w.item())
        descent.b.append(b.item())

    note_epoch()
    note_step()
    for epoch in range(1, epochs + 1):
        for chosen in batches(len(x), descent.batch):
            loss = (w * x[chosen] + b - y[chosen]).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            note_step()
        schedule.step()
        note_epoch()
        if not math.isfinite(descent.loss[-1]):
            what = f"the {descent.name} loss became {descent.loss[-1]} in epoch {epoch}"
            raise Refusal(f"chainrule demo: {what}: --lr {lr:g} is too large", status=2)


def print_table(descent: Descent) -> None:
    """An epoch a row; of a long run, rows spread evenly from the first to the last."""
    steps = (len(descent.w) - 1) // (len(descent.loss) - 1)
    orders, per_epoch = f"order{'s' * (descent.batch > 1)}", f"step{'s' * (steps > 1)}"
    print(f"\n{descent.name}: {descent.batch} {orders} a step, {steps} {per_epoch} an epoch")
    print("epoch       loss        w        b")
    epochs = len(descent.loss) - 1
    for epoch in sorted({round(1 + (epochs - 1) * row / (TABLE_ROWS - 1)) for row in range(TABLE_ROWS)}):
        w, b = descent.w[epoch * steps], descent.b[epoch * steps]
        print(f"{epoch:5d} {descent.loss[epoch]:10.3f} {w:8.3f} {b:8.3f}")


def least_squares(x: cr.Tensor, y: cr.Tensor) -> tuple[float, float]:
    """The line with the smallest loss of all: w = cov(x, y) / var(x), b from the means."""
    w = float(((x - x.mean()) * (y - y.mean())).mean() / x.var(correction=0))
    return w, float(y.mean() - w * x.mean())


def run(seed: int, epochs: int, lr: float, out: Path) -> Result:
    """Runs the three descents and writes `delivery.png` into the folder `out`."""
    require("chainrule demo delivery", "matplotlib")
    cr.manual_seed(seed)
    x, y = make_orders()
    best = least_squares(x, y)
    print(f"{ORDERS} orders, time = {B} + {W} distance + noise of {NOISE:g} minutes, seed {seed}")
    print(f"learning rate from {lr:g} down to 0 along half a cosine")
    print(f"no line fits them better than w = {best[0]:.2f}, b = {best[1]:.2f}")
    descents = [Descent("batch", ORDERS), Descent("stochastic", 1), Descent("mini-batch", 20)]
    for descent in descents:
        descend(descent, x, y, epochs, lr)
        print_table(descent)

    picture = out / "delivery.png"
    pictures.save(draw(descents, x, y, best), picture)
    print(f"\npicture: {picture}")
    mini = descents[-1]
    print(f"w = {mini.w[-1]:.2f}, b = {mini.b[-1]:.2f}")
    return Result(mini.w[-1], mini.b[-1], best, descents, picture)


def draw(descents: list[Descent], x: cr.Tensor, y: cr.Tensor, best: tuple[float, float]) -> Figure:
    """The three paths over the loss surface, and the three losses by epoch below them."""
    from matplotlib.ticker import MaxNLocator

    with pictures.styled():
        figure = pictures.new_figure(12, 7.2)
        top, bottom = figure.subfigures(2, 1, squeeze=False, height_ratios=(1.5, 1)).flat
        surfaces = top.subplots(1, len(descents), sharex=True, sharey=True)
        for axes, descent, colour in zip(surfaces, descents, pictures.COLOURS, strict=False):
            draw_path(axes, descent, colour, x, y, best)
        surfaces[0].set_ylabel("b (minutes)")

        axes = bottom.subplots()
        for descent, colour in zip(descents, pictures.COLOURS, strict=False):
            axes.plot(descent.loss, color=colour, label=descent.name)
        axes.axhline(
            NOISE**2, color=pictures.GREY, linewidth=1, linestyle="--", label="variance of the noise"
        )
        axes.set_yscale("log")
        axes.set_title("Loss over all orders (mean squared error)")
        axes.set_xlabel("epoch")
        axes.set_xlim(0, len(descents[0].loss) - 1)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.legend()
    return figure


def loss_surface(
    w: npt.NDArray[np.float64], b: npt.NDArray[np.float64], x: cr.Tensor, y: cr.Tensor
) -> npt.NDArray[np.float64]:
    """The loss at every pair of b (rows) and w (columns), from the five moments of the orders."""
    w, b = np.meshgrid(w, b)
    xx, xy, yy = (float(product.mean()) for product in (x * x, x * y, y * y))
    mx, my = float(x.mean()), float(y.mean())
    surface: npt.NDArray[np.float64] = w * w * xx + 2 * w * b * mx + b * b - 2 * w * xy - 2 * b * my + yy
    return surface


def draw_path(
    axes: Axes, descent: Descent, colour: str, x: cr.Tensor, y: cr.Tensor, best: tuple[float, float]
) -> None:
    """One descent as a line over the contours of the loss, evenly spaced in the logarithm."""
    w, b = np.linspace(-0.5, 12.5, 131), np.linspace(-1.0, 14.0, 151)
    surface = loss_surface(w, b, x, y)
    lowest = surface.min()
    levels = lowest + np.geomspace(0.3, surface.max() - lowest, 14)
    axes.contourf(
        w,
        b,
        surface - lowest + 0.1,
        levels=levels - lowest + 0.1,
        cmap="Greys",
        norm="log",
        alpha=0.5,
        extend="min",
    )
    axes.contour(w, b, surface, levels=levels, colors="white", linewidths=0.7)
    few = len(descent.w) < 100
    axes.plot(
        descent.w,
        descent.b,
        "o-" if few else "-",
        markersize=3.5,
        linewidth=1.4 if few else 0.7,
        color=colour,
    )
    axes.plot(0, 0, "o", color="black", markersize=6)
    axes.annotate("start", (0, 0), (6, -3), textcoords="offset points", va="top", fontsize=9)
    axes.plot(*best, "*", color="white", markeredgecolor="black", markersize=14, label="least squares")
    axes.set_xlim(w[0], w[-1])
    axes.set_ylim(b[0], b[-1])
    axes.grid(False)
    axes.set_title(f"{descent.name}: {len(descent.w) - 1:,} steps")
    axes.set_xlabel("w (minutes a kilometre)")
    axes.legend(loc="upper right")
