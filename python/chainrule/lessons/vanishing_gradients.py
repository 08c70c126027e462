"""Ten layers of sigmoid against ReLU, the gradient of each layer, and three cures.

A gradient passes every layer on its way down and is multiplied each time. Ten factors of a quarter are a
millionth.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import chainrule as cr
from chainrule import nn
from chainrule.lessons import page

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DEPTH, WIDTH, SAMPLES, STEPS, LR = 10, 32, 128, 300, 0.03
Initialiser = Callable[[cr.Tensor], cr.Tensor]


class Variant(NamedTuple):
    """One way to build the ten layers."""

    name: str
    activation: Callable[[cr.Tensor], cr.Tensor]
    init: Initialiser | None = None  # None: the layer's own
    residual: bool = False
    norm: bool = False


def xavier(weight: cr.Tensor) -> cr.Tensor:
    """Keeps the variance where the activation is like the identity, as tanh is near 0."""
    return nn.init.xavier_normal_(weight)


def he(weight: cr.Tensor) -> cr.Tensor:
    """Keeps the mean square although ReLU drops half of it."""
    return nn.init.kaiming_normal_(weight, nonlinearity="relu")


VARIANTS = (
    Variant("sigmoid", cr.sigmoid),
    Variant("ReLU", cr.relu),
    Variant("sigmoid, Xavier", cr.sigmoid, init=xavier),
    Variant("tanh, Xavier", cr.tanh, init=xavier),
    Variant("ReLU, He", cr.relu, init=he),
    Variant("sigmoid, residual", cr.sigmoid, residual=True),
    Variant("sigmoid, BatchNorm", cr.sigmoid, norm=True),
)


class Deep(nn.Module):
    """2 inputs, ten hidden layers of 32, 1 output."""

    def __init__(self, variant: Variant) -> None:
        super().__init__()
        self.variant = variant
        self.first = nn.Linear(2, WIDTH)
        self.layers = nn.ModuleList([nn.Linear(WIDTH, WIDTH) for _ in range(DEPTH)])
        self.norms = nn.ModuleList(
            [nn.BatchNorm1d(WIDTH) if variant.norm else nn.Identity() for _ in range(DEPTH)]
        )
        self.last = nn.Linear(WIDTH, 1)
        if variant.init is not None:
            for layer in self.layers:
                variant.init(layer.weight)
                nn.init.zeros_(layer.bias)

    def forward(self, x: cr.Tensor) -> cr.Tensor:
        x = self.first(x)
        for layer, norm in zip(self.layers, self.norms, strict=True):
            out = self.variant.activation(norm(layer(x)))
            x = x + out if self.variant.residual else out
        score: cr.Tensor = self.last(x)
        return score.squeeze(1)


class Outcome(NamedTuple):
    """The norm of each layer's weight gradient before the first step; loss and accuracy after the last."""

    norms: list[float]
    loss: float
    accuracy: float


class Measured(NamedTuple):
    """An outcome for each variant."""

    outcomes: dict[str, Outcome]


def make_data() -> tuple[cr.Tensor, cr.Tensor]:
    """Points in the plane; 1 inside the circle of radius 1.2, which half of them are, else 0."""
    cr.manual_seed(1)
    x = cr.randn(SAMPLES, 2)
    return x, (x.square().sum(1) < 1.2**2).to(cr.float32)


def measure(variant: Variant) -> Outcome:
    """One backward pass for the norms, then training by plain SGD with momentum."""
    x, y = make_data()
    cr.manual_seed(0)
    model = Deep(variant)
    optimizer = cr.optim.SGD(model.parameters(), lr=LR, momentum=0.9)
    norms: list[float] = []
    for step in range(STEPS):
        optimizer.zero_grad()
        loss = nn.functional.binary_cross_entropy_with_logits(model(x), y)
        loss.backward()
        if step == 0:
            norms = [float(layer.weight.grad.norm()) for layer in model.layers]
        optimizer.step()
    with cr.no_grad():
        scores = model(x)
        loss = nn.functional.binary_cross_entropy_with_logits(scores, y)
        accuracy = float(((scores > 0) == (y > 0)).to(cr.float32).mean())
    return Outcome(norms, loss.item(), accuracy)


def run() -> Measured:
    """Prints the lesson."""
    page.say(
        "The gradient of layer k contains one factor W' * activation'(u) for each layer above it. The "
        "sigmoid's derivative is at most 1/4, ReLU's is 1 or 0. Measured: the norm of each weight matrix's "
        f"gradient before the first step, and what {STEPS} steps of SGD make of it (is a point inside a "
        "circle?)."
    )
    outcomes = {variant.name: measure(variant) for variant in VARIANTS}

    def compare(title: str, *names: str) -> None:
        page.section(title)
        chosen = [outcomes[name] for name in names]
        page.table(
            ("layer", *names),
            [
                *(
                    (f"{layer + 1:5d}", *(f"{outcome.norms[layer]:.1e}" for outcome in chosen))
                    for layer in range(DEPTH)
                ),
                ("1st/10th", *(f"{outcome.norms[0] / outcome.norms[-1]:.1e}" for outcome in chosen)),
                ("loss", *(f"{outcome.loss:.3f}" for outcome in chosen)),
                ("accuracy", *(f"{outcome.accuracy:.1%}" for outcome in chosen)),
            ],
        )

    compare("Sigmoid against ReLU", "sigmoid", "ReLU")
    page.say(
        "Through sigmoids next to nothing reaches the first layer, and the network never learns more than "
        "which answer is the more frequent. ReLU loses far less, but with the layer's own small initial "
        f"weights still too much to learn anything in {STEPS} steps."
    )
    compare("Cure 1: initial weights that keep the size", "sigmoid, Xavier", "tanh, Xavier", "ReLU, He")
    page.formula("Xavier: var(W) = 2 / (fan_in + fan_out)        He: var(W) = 2 / fan_in")
    page.say(
        "They are made for tanh and ReLU. For the sigmoid, flat everywhere, larger weights alone are not "
        "enough."
    )
    compare("Cures 2 and 3: a path around, and normalisation", "sigmoid, residual", "sigmoid, BatchNorm")
    page.formula(
        "residual: x + f(x), with derivative 1 + f'(x): the 1 passes whatever f does",
        "normalisation: (u - mean) / deviation keeps u where the sigmoid is steep, whatever the size of W",
    )
    return Measured(outcomes)


def draw(measured: Measured) -> Figure:
    """The gradient norms by layer, a line a variant."""
    from chainrule.demo import pictures

    with pictures.styled():
        figure = pictures.new_figure(9, 5)
        axes = figure.subplots()
        colours = (
            pictures.RED,
            pictures.BLUE,
            pictures.RED,
            pictures.SKY,
            pictures.BLUE,
            pictures.GREEN,
            pictures.ORANGE,
        )
        dashes = ("-", "-", "--", "-", "--", "-", "-")
        layers = range(1, DEPTH + 1)
        for (name, outcome), colour, dash in zip(measured.outcomes.items(), colours, dashes, strict=True):
            label = f"{name}: {outcome.accuracy:.0%}"
            axes.plot(layers, outcome.norms, dash, marker="o", markersize=4, color=colour, label=label)
        axes.set_yscale("log")
        axes.set_xticks(layers)
        axes.set_title("Gradient norm of each layer before the first step")
        axes.set_xlabel("layer (1 is nearest to the input)")
        axes.legend(title=f"accuracy after {STEPS} steps", loc="center left", bbox_to_anchor=(1, 0.5))
    return figure
