"""SGD: stochastic gradient descent."""

from __future__ import annotations

from typing import Any

from .._core import _optim
from .optimizer import Closure, Optimizer, Params, check_not_negative, check_plain_step


class SGD(Optimizer):
    """p -= lr * g, with momentum: v = momentum * v + (1 - dampening) * g, p -= lr * v.

    g is the gradient plus weight_decay * p; the first v is g itself. nesterov: p -= lr * (g + momentum * v).
    maximize: upwards. ``foreach`` and ``fused`` change nothing: a step is always one call for a whole group.
    Raises ValueError for a negative lr, momentum or weight_decay, and for Nesterov without momentum or with
    dampening.
    """

    def __init__(
        self,
        params: Params,
        lr: float = 1e-3,
        momentum: float = 0,
        dampening: float = 0,
        weight_decay: float = 0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        check_plain_step(differentiable)
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "dampening": dampening,
            "weight_decay": weight_decay,
            "nesterov": nesterov,
            "maximize": maximize,
            "foreach": foreach,
            "differentiable": differentiable,
            "fused": fused,
        }
        super().__init__(params, defaults)
        self._opt_called = False

    def _check_group(self, group: dict[str, Any]) -> None:
        check_not_negative("learning rate", group["lr"])
        check_not_negative("momentum value", group["momentum"])
        check_not_negative("weight_decay value", group["weight_decay"])
        if group["nesterov"] and (group["momentum"] <= 0 or group["dampening"] != 0):
            raise ValueError("Nesterov momentum requires a momentum and zero dampening")

    def step(self, closure: Closure | None = None) -> Any:
        """Changes the parameters that have a gradient. closure: see ``Optimizer.step``."""
        loss = None if closure is None else self._evaluate(closure)
        self._opt_called = True
        for group in self.param_groups:
            _optim.sgd_(
                group["params"],
                self.state,
                lr=group["lr"],
                momentum=group["momentum"],
                dampening=group["dampening"],
                weight_decay=group["weight_decay"],
                nesterov=group["nesterov"],
                maximize=group["maximize"],
            )
        return loss
