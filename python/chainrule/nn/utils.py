"""Gradient clipping, and parameters as one vector."""

from __future__ import annotations

from collections.abc import Iterable

import chainrule as cr

from .._core import Tensor, _optim

__all__ = ["clip_grad_norm_", "clip_grad_value_", "parameters_to_vector", "vector_to_parameters"]


def _listed(parameters: Tensor | Iterable[Tensor]) -> list[Tensor]:
    return [parameters] if isinstance(parameters, Tensor) else list(parameters)


def clip_grad_norm_(
    parameters: Tensor | Iterable[Tensor],
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Tensor:
    """Scales all gradients in place by one factor, so that their common norm is at most ``max_norm``.

    The direction is kept. Returns the norm before clipping. norm_type: the p of the norm, or infinity.
    Raises RuntimeError, with ``error_if_nonfinite``, when that norm is not finite. ``foreach`` changes
    nothing: all gradients are always clipped in one call.
    """
    return _optim.clip_grad_norm_(_listed(parameters), float(max_norm), float(norm_type), error_if_nonfinite)


def clip_grad_value_(
    parameters: Tensor | Iterable[Tensor], clip_value: float, foreach: bool | None = None
) -> None:
    """Clamps every element of all gradients in place to [-clip_value, clip_value]."""
    _optim.clip_grad_value_(_listed(parameters), float(clip_value))


def parameters_to_vector(parameters: Iterable[Tensor]) -> Tensor:
    """All parameters, flattened and joined: a differentiable vector."""
    return cr.cat([p.reshape(-1) for p in parameters])


def vector_to_parameters(vec: Tensor, parameters: Iterable[Tensor]) -> None:
    """Takes a vector apart again: each parameter's memory becomes its slice of the vector.

    Raises TypeError when ``vec`` is no tensor and ValueError, before anything changes, when its length is not
    the parameters' number of elements.
    """
    if not isinstance(vec, Tensor):
        raise TypeError(f"expected chainrule.Tensor, but got: {type(vec).__name__}")
    listed = list(parameters)
    sizes = [p.numel() for p in listed]
    if vec.dim() != 1 or vec.numel() != sum(sizes):
        raise ValueError(
            f"vector_to_parameters: the parameters have {sum(sizes)} elements, "
            f"the vector has shape {tuple(vec.shape)}"
        )
    for p, part in zip(listed, vec.detach().split(sizes)):
        p.data = part.view(p.shape)
