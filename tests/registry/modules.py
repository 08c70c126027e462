"""Layers and losses as modules: how they are built, what they are given, what they compute."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import reference as ref

from .row import A, I, T


@dataclass
class Layer:
    """A module of nn. `reference(p, *inputs)` computes it from its parameters and buffers by name, and from
    p["training"]."""

    name: str
    reference: Callable[..., Any]
    inputs: A
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)
    domain: tuple[float, float] = (-2.0, 2.0)

    @property
    def label(self) -> str:
        options = [*map(str, self.args), *(f"{k}={v}" for k, v in self.kwargs.items())]
        return f"{self.name}({', '.join(options)})"


def layer(name, inputs, reference, *args, **kwargs):
    return Layer(name, reference, inputs, args, kwargs)


def activation(name, function, *args, **kwargs):
    """A module without parameters, of one argument."""
    return Layer(name, lambda p, x: function(x, *args, **kwargs), A((3, 5)), args, kwargs)


def loss(name, function, inputs, domain=(-2.0, 2.0), **kwargs):
    return Layer(name, lambda p, *x: function(*x, **kwargs), inputs, (), kwargs, domain)


def conv2d(p, x, **options):
    return ref.conv2d(x, p["weight"], p.get("bias"), **options)


def batch_norm(p, x, **options):
    running = (p.get("running_mean"), p.get("running_var"))
    training = p["training"] or running[0] is None
    return ref.batch_norm(x, *running, p.get("weight"), p.get("bias"), training, **options)


def layer_norm(p, x, shape=(5,), **options):
    return ref.layer_norm(x, shape, p.get("weight"), p.get("bias"), **options)


IMAGE = A((2, 4, 6, 5))
CLASSES = A((4, 5), I((4,), 5))
UNIT = (0.05, 0.95)
SHARES = T((4, 3), UNIT, grad=False)

ROWS = [
    layer("Linear", A((3, 4)), lambda p, x: ref.linear(x, p["weight"], p["bias"]), 4, 5),
    layer("Linear", A((2, 3, 4)), lambda p, x: ref.linear(x, p["weight"]), 4, 5, bias=False),
    layer("Conv2d", IMAGE, conv2d, 4, 3, 3),
    layer("Conv2d", IMAGE, lambda p, x: conv2d(p, x, stride=2, padding=1, groups=2), 4, 6, 3, 2, 1, groups=2),
    layer(
        "Conv2d", IMAGE, lambda p, x: conv2d(p, x, padding="same"), 4, 3, (3, 2), padding="same", bias=False
    ),
    layer("Conv2d", IMAGE, lambda p, x: conv2d(p, x, dilation=2), 4, 3, 2, dilation=2),
    layer("MaxPool2d", IMAGE, lambda p, x: ref.max_pool2d(x, 2), 2),
    layer(
        "MaxPool2d", IMAGE, lambda p, x: ref.max_pool2d(x, 3, 2, 1, ceil_mode=True), 3, 2, 1, ceil_mode=True
    ),
    layer("AvgPool2d", IMAGE, lambda p, x: ref.avg_pool2d(x, 2), 2),
    layer(
        "AvgPool2d",
        IMAGE,
        lambda p, x: ref.avg_pool2d(x, 3, 2, 1, False, False),
        3,
        2,
        1,
        count_include_pad=False,
    ),
    layer("AdaptiveAvgPool2d", IMAGE, lambda p, x: ref.adaptive_avg_pool2d(x, (3, 2)), (3, 2)),
    layer("BatchNorm1d", A((6, 4)), batch_norm, 4),
    layer("BatchNorm1d", A((3, 4, 5)), lambda p, x: batch_norm(p, x, eps=1e-3), 4, eps=1e-3, momentum=0.3),
    layer("BatchNorm2d", IMAGE, batch_norm, 4),
    layer("BatchNorm2d", IMAGE, batch_norm, 4, affine=False, track_running_stats=False),
    layer("LayerNorm", A((3, 5)), layer_norm, 5),
    layer("LayerNorm", A((2, 3, 5)), lambda p, x: layer_norm(p, x, (3, 5)), (3, 5), elementwise_affine=False),
    layer("LayerNorm", A((3, 5)), layer_norm, 5, bias=False),
    layer("GroupNorm", IMAGE, lambda p, x: ref.group_norm(x, 2, p["weight"], p["bias"]), 2, 4),
    layer("RMSNorm", A((3, 5)), lambda p, x: ref.rms_norm(x, (5,), p["weight"]), 5),
    layer(
        "RMSNorm",
        A((3, 5)),
        lambda p, x: ref.rms_norm(x, (5,), eps=0.1),
        5,
        eps=0.1,
        elementwise_affine=False,
    ),
    layer("Embedding", A(I((2, 3), 7)), lambda p, x: ref.embedding(x, p["weight"]), 7, 4),
    layer("Flatten", IMAGE, lambda p, x: ref.flatten(x, 1)),
    layer("Flatten", IMAGE, lambda p, x: ref.flatten(x, 0, 1), 0, 1),
    layer("Unflatten", A((2, 6)), lambda p, x: ref.unflatten(x, 1, (2, 3)), 1, (2, 3)),
    layer("Identity", A((3, 5)), lambda p, x: x),
    layer("Dropout", A((3, 5)), lambda p, x: x, 0.0),
    activation("ReLU", ref.relu),
    activation("LeakyReLU", ref.leaky_relu, 0.2),
    activation("ELU", ref.elu, alpha=0.7),
    activation("GELU", ref.gelu),
    activation("GELU", ref.gelu, approximate="tanh"),
    activation("SiLU", ref.silu),
    activation("Mish", ref.mish),
    activation("Softplus", ref.softplus, beta=2.0, threshold=1.0),
    activation("Sigmoid", ref.sigmoid),
    activation("Tanh", ref.tanh),
    activation("Softmax", ref.softmax, dim=-1),
    activation("LogSoftmax", ref.log_softmax, dim=0),
    loss("MSELoss", ref.mse_loss, A((4, 3), (4, 3))),
    loss("MSELoss", ref.mse_loss, A((4, 3), (4, 3)), reduction="none"),
    loss("L1Loss", ref.l1_loss, A((4, 3), (4, 3)), reduction="sum"),
    loss("SmoothL1Loss", ref.smooth_l1_loss, A((4, 3), (4, 3)), beta=0.5),
    loss("CrossEntropyLoss", ref.cross_entropy, CLASSES),
    loss(
        "CrossEntropyLoss", ref.cross_entropy, CLASSES, label_smoothing=0.1, ignore_index=2, reduction="sum"
    ),
    loss("NLLLoss", ref.nll_loss, CLASSES),
    loss("BCELoss", ref.binary_cross_entropy, A((4, 3), SHARES), UNIT),
    loss("BCEWithLogitsLoss", ref.binary_cross_entropy_with_logits, A((4, 3), SHARES)),
]

# Weights of losses are tensors, so a function makes the arguments from the library's `tensor`.
WEIGHTED = {
    "CrossEntropyLoss": (ref.cross_entropy, CLASSES, {"weight": (5,)}),
    "NLLLoss": (ref.nll_loss, CLASSES, {"weight": (5,)}),
    "BCELoss": (ref.binary_cross_entropy, A((4, 3), SHARES), {"weight": (3,)}),
    "BCEWithLogitsLoss": (
        ref.binary_cross_entropy_with_logits,
        A((4, 3), SHARES),
        {"pos_weight": (3,), "weight": (4, 3)},
    ),
}
