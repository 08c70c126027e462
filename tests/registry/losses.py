"""Losses with every reduction and option."""

import reference as ref

from .row import FUNCTIONAL, A, E, I, Op, T, V


def loss(name, samples, errors=(), **options):
    return Op(name, getattr(ref, name), samples, where=FUNCTIONAL, errors=list(errors), rtol=5e-6, **options)


def reductions(*args, **kwargs):
    return [A(*args, reduction=r, **kwargs) for r in ("mean", "sum", "none")]


UNIT = (0.05, 0.95)
TARGET = T((4, 3), UNIT, grad=False)
BAD = E((4, 3), (4, 3), reduction="median", type=ValueError, says="median")
LARGE = (400, 130)
WEIGHTS = T((4, 3), (0.5, 2.0), grad=False)
UNLIKE = E((4, 3), (4, 3), weight=T((3,)), type=ValueError)
WEIGHT = T((5,), (0.5, 2.0), grad=False)

ROWS = [
    loss(
        "mse_loss",
        [
            *reductions((4, 3), (4, 3)),
            *reductions((4, 3), (4, 3), weight=WEIGHTS),
            A(LARGE, LARGE),
            A((0, 3), (0, 3), reduction="sum"),
        ],
        [BAD, UNLIKE],
    ),
    loss(
        "l1_loss",
        [*reductions((4, 3), (4, 3)), *reductions((4, 3), (4, 3), weight=WEIGHTS), A(LARGE, LARGE)],
        [BAD, UNLIKE],
    ),
    loss(
        "smooth_l1_loss",
        [
            *reductions((4, 3), (4, 3)),
            A((4, 3), (4, 3), beta=0.5),
            A((4, 3), (4, 3), beta=0.0),
            A(LARGE, LARGE),
        ],
        [BAD, E((4, 3), (4, 3), beta=-1.0, says="beta")],
    ),
    loss(
        "nll_loss",
        [
            *reductions((4, 5), I((4,), 5)),
            *reductions((4, 5), V([0, 2, 3, 2], "int64"), weight=WEIGHT, ignore_index=2),
            A((5,), I((), 5)),
            A((2, 5, 3), I((2, 3), 5)),
            A((2, 5, 3, 2), I((2, 3, 2), 5), weight=WEIGHT),
            A((600, 50), I((600,), 50)),
        ],
        [
            E((4, 5), V([0, 1, 2, 5], "int64"), type=IndexError, says="nll_loss|arget"),
            E((4, 5), I((3,), 5), type=ValueError, says="nll_loss|atch"),
            E((4, 5), I((4,), 5), weight=T((4,)), says="nll_loss|weight"),
            E((4, 5), V([0, 1, 2, -1], "int64"), type=IndexError, says="nll_loss|arget"),
        ],
    ),
    loss(
        "cross_entropy",
        [
            *reductions((4, 5), I((4,), 5)),
            *reductions((4, 5), V([0, 2, 3, 2], "int64"), weight=WEIGHT, ignore_index=2, label_smoothing=0.1),
            A((5,), I((), 5)),
            A((2, 5, 3), I((2, 3), 5)),
            A((2, 5, 3), I((2, 3), 5), weight=WEIGHT, label_smoothing=0.2),
            A((3, 70), I((3,), 70), label_smoothing=0.2),
            *reductions((4, 5), T((4, 5), (0.0, 0.4), grad=False)),
            A((4, 5), T((4, 5), (0.0, 0.4), grad=False), weight=WEIGHT, label_smoothing=0.1),
            A((2, 5, 3), T((2, 5, 3), (0.0, 0.4), grad=False)),
            A((4, 5), I((4,), 5), layout="transposed"),
            A((600, 50), I((600,), 50)),
        ],
        [
            E((4, 5), V([0, 1, 2, 5], "int64"), type=IndexError, says="cross_entropy|arget"),
            E((4, 5), I((3,), 5), type=ValueError, says="cross_entropy|atch"),
            E((4, 5), (4, 4), says="cross_entropy|shape|size"),
            E((4, 5), I((4,), 5), label_smoothing=1.5, says="label_smoothing"),
        ],
    ),
    loss(
        "binary_cross_entropy",
        [
            *reductions((4, 3), TARGET),
            A((4, 3), TARGET, weight=T((4, 3), UNIT, grad=False)),
            A((4, 3), TARGET, weight=T((3,), UNIT, grad=False), reduction="sum"),
            A(LARGE, T(LARGE, UNIT, grad=False)),
        ],
        [E((4, 3), (4, 2), type=ValueError, says="shape|size"), E(T((4, 3), (1.5, 2.0)), TARGET, says="")],
        domain=UNIT,
    ),
    loss(
        "binary_cross_entropy_with_logits",
        [
            *reductions((4, 3), TARGET),
            A((4, 3), TARGET, weight=T((4, 3), UNIT, grad=False)),
            A((4, 3), TARGET, pos_weight=T((3,), (0.5, 2.0), grad=False)),
            A((4, 3), T((4, 3), UNIT)),
            A(LARGE, T(LARGE, UNIT, grad=False)),
        ],
        [E((4, 3), (4, 2), type=ValueError, says="shape|size")],
    ),
]
