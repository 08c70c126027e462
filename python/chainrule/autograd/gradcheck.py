"""Exact derivatives against differences."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from chainrule import _core
from chainrule._core import Tensor
from chainrule.autograd.gradients import grad


class GradcheckError(RuntimeError):
    """A derivative that does not agree with differences."""


def _as_tuple(x: Any) -> tuple[Any, ...]:
    return tuple(x) if isinstance(x, (tuple, list)) else (x,)


def _outputs(function: Callable[..., Any], inputs: Sequence[Any]) -> tuple[Tensor, ...]:
    return tuple(y for y in _as_tuple(function(*inputs)) if isinstance(y, Tensor) and y.is_floating_point())


def _numerical_column(
    function: Callable[..., Any], inputs: Sequence[Any], element: Tensor, eps: float
) -> list[Tensor]:
    """The central difference of every output in one element of an input."""
    before = element.clone()
    element.copy_(before + eps)
    above = [y.detach().clone() for y in _outputs(function, inputs)]
    element.copy_(before - eps)
    below = [y.detach().clone() for y in _outputs(function, inputs)]
    element.copy_(before)
    return [(a - b) / (2 * eps) for a, b in zip(above, below, strict=True)]


def gradcheck(
    func: Callable[..., Any],
    inputs: Tensor | Sequence[Any],
    *,
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
    raise_exception: bool = True,
    nondet_tol: float = 0.0,
    check_undefined_grad: bool = True,
    check_grad_dtypes: bool = False,
    fast_mode: bool = False,
) -> bool:
    """Compares the gradients of ``func(*inputs)`` with central differences.

    Every element of every float64 input that requires grad is moved by ``eps``. Returns True, or raises GradcheckError
    (returns False without ``raise_exception``) naming the output and input whose Jacobians differ by more than
    ``atol + rtol * |numerical|``. ``nondet_tol`` bounds how much two backward runs may differ;
    ``check_grad_dtypes`` asks for gradients in the dtypes of their inputs. Each row of a Jacobian is found with the
    gradients of the other outputs undefined, and always all of it: ``check_undefined_grad`` and ``fast_mode``, as
    PyTorch has them, change nothing.
    """
    try:
        _check(func, _as_tuple(inputs), eps, atol, rtol, nondet_tol, check_grad_dtypes)
    except GradcheckError:
        if raise_exception:
            raise
        return False
    return True


def _check(
    func: Callable[..., Any],
    inputs: tuple[Any, ...],
    eps: float,
    atol: float,
    rtol: float,
    nondet_tol: float,
    check_grad_dtypes: bool,
) -> None:
    wanted = [x for x in inputs if isinstance(x, Tensor) and x.requires_grad]
    if not wanted:
        raise ValueError(
            "gradcheck expects at least one input tensor to require gradient, but none of them do"
        )
    outputs = _outputs(func, inputs)
    for number, y in enumerate(outputs):
        rows: list[list[Tensor]] = [[] for _ in wanted]
        for k in range(y.numel()):
            seed = _core.zeros_like(y.detach()).reshape(-1)
            seed[k] = 1
            seed = seed.reshape(y.shape)
            found = _row(y, wanted, seed)
            for again, first in zip(_row(y, wanted, seed), found, strict=True):
                if first.numel() and float((again - first).abs().max()) > nondet_tol:
                    raise GradcheckError(f"gradcheck: two backward runs of output {number} differ")
            for column, g, x in zip(rows, found, wanted, strict=True):
                if check_grad_dtypes and g.dtype != x.dtype:
                    raise GradcheckError(f"gradcheck: a gradient of {x.dtype} has {g.dtype}")
                column.append(g.detach().reshape(-1))
        for place, x in enumerate(wanted):
            flat = x.data  # shares memory, and its writes do not make saved tensors stale
            numerical = _numerical(func, inputs, flat, number, y.numel(), eps)
            analytical = _core.stack(rows[place]) if rows[place] else numerical
            if not _core.allclose(analytical, numerical, rtol=rtol, atol=atol):
                raise GradcheckError(
                    f"Jacobian mismatch for output {number} with respect to input {place},\n"
                    f"numerical:{numerical}\nanalytical:{analytical}\n"
                )


def _row(y: Tensor, wanted: list[Tensor], seed: Tensor) -> tuple[Tensor, ...]:
    if not y.requires_grad:
        return tuple(_core.zeros_like(x.detach()) for x in wanted)
    return grad(y, wanted, seed, retain_graph=True, materialize_grads=True)


def _numerical(
    func: Callable[..., Any], inputs: tuple[Any, ...], x: Tensor, number: int, outputs: int, eps: float
) -> Tensor:
    columns = []
    for index in _indices(x.shape):
        element = x
        for i in index:
            element = element.select(0, i)
        columns.append(_numerical_column(func, inputs, element, eps)[number].reshape(-1))
    if not columns:
        return _core.zeros(outputs, 0, dtype=x.dtype)
    return _core.stack(columns, 1)


def _indices(shape: Sequence[int]) -> list[tuple[int, ...]]:
    found: list[tuple[int, ...]] = [()]
    for size in shape:
        found = [(*index, i) for index in found for i in range(size)]
    return found


def gradgradcheck(
    func: Callable[..., Any],
    inputs: Tensor | Sequence[Any],
    grad_outputs: Tensor | Sequence[Tensor] | None = None,
    *,
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
    raise_exception: bool = True,
    nondet_tol: float = 0.0,
    check_undefined_grad: bool = True,
    check_grad_dtypes: bool = False,
    fast_mode: bool = False,
) -> bool:
    """gradcheck of the gradients themselves, in ``inputs`` and in ``grad_outputs`` (random ones when left out)."""
    given = _as_tuple(inputs)
    if grad_outputs is None:
        seeds = tuple(_core.randn_like(y.detach()).requires_grad_() for y in _outputs(func, given))
    else:
        seeds = _as_tuple(grad_outputs)
    count = len(given)

    def gradients(*args: Any) -> tuple[Tensor, ...]:
        xs, gs = args[:count], args[count:]
        wanted = [x for x in xs if isinstance(x, Tensor) and x.requires_grad]
        return grad(_outputs(func, xs), wanted, list(gs), create_graph=True, materialize_grads=True)

    return gradcheck(
        gradients,
        (*given, *seeds),
        eps=eps,
        atol=atol,
        rtol=rtol,
        raise_exception=raise_exception,
        nondet_tol=nondet_tol,
        check_grad_dtypes=check_grad_dtypes,
    )
