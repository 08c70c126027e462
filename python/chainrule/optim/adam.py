"""Adam and AdamW."""

from __future__ import annotations

from typing import Any

from .._core import _optim
from .optimizer import Closure, Optimizer, Params, check_not_negative, check_plain_step


class Adam(Optimizer):
    """m = b1 m + (1 - b1) g, v = b2 v + (1 - b2) g**2, p -= lr * m̂ / (sqrt(v̂) + eps); Kingma and Ba, 2015.

    m̂ = m / (1 - b1**t), v̂ = v / (1 - b2**t) for the parameter's t-th step; g is the gradient plus
    weight_decay * p.
    amsgrad: the largest v so far in place of v. decoupled_weight_decay: p *= 1 - lr * weight_decay instead,
    as AdamW.
    maximize: upwards. ``foreach`` and ``fused`` change nothing: a step is always one call for a whole group.
    The state of a parameter: 'step', an int, 'exp_avg' (m), 'exp_avg_sq' (v), 'max_exp_avg_sq'.
    Raises ValueError for a negative lr, eps or weight_decay, and for betas outside [0, 1).
    """

    def __init__(
        self,
        params: Params,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        amsgrad: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        decoupled_weight_decay: bool = False,
    ) -> None:
        check_plain_step(differentiable, capturable)
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "amsgrad": amsgrad,
            "maximize": maximize,
            "foreach": foreach,
            "capturable": capturable,
            "differentiable": differentiable,
            "fused": fused,
            "decoupled_weight_decay": decoupled_weight_decay,
        }
        super().__init__(params, defaults)
        self._opt_called = False

    def _check_group(self, group: dict[str, Any]) -> None:
        check_not_negative("learning rate", group["lr"])
        check_not_negative("epsilon value", group["eps"])
        for i, beta in enumerate(group["betas"]):
            if not 0.0 <= beta < 1.0:
                raise ValueError(f"Invalid beta parameter at index {i}: {beta}")
        check_not_negative("weight_decay value", group["weight_decay"])

    def step(self, closure: Closure | None = None) -> Any:
        """Changes the parameters that have a gradient. closure: see ``Optimizer.step``."""
        loss = None if closure is None else self._evaluate(closure)
        self._opt_called = True
        for group in self.param_groups:
            beta1, beta2 = group["betas"]
            _optim.adam_(
                group["params"],
                self.state,
                lr=group["lr"],
                beta1=beta1,
                beta2=beta2,
                eps=group["eps"],
                weight_decay=group["weight_decay"],
                amsgrad=group["amsgrad"],
                maximize=group["maximize"],
                decoupled=group["decoupled_weight_decay"],
            )
        return loss


class AdamW(Adam):
    """Adam with p *= 1 - lr * weight_decay, not a term in the gradient; Loshchilov and Hutter, 2019."""

    def __init__(
        self,
        params: Params,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        super().__init__(
            params,
            lr,
            betas,
            eps,
            weight_decay,
            amsgrad,
            foreach=foreach,
            maximize=maximize,
            capturable=capturable,
            differentiable=differentiable,
            fused=fused,
            decoupled_weight_decay=True,
        )
