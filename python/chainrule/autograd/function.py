"""Function: an operation with a derivative of the user's own."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from chainrule import _core
from chainrule._core import Tensor
from chainrule.autograd.grad_mode import no_grad


class FunctionCtx:
    """What ``forward`` hands to ``backward``; also the ``grad_fn`` of the results."""

    _function: type[Function]
    needs_input_grad: tuple[bool, ...]

    def __init__(self) -> None:
        self._node: Any = None
        self._to_save: tuple[Tensor | None, ...] = ()
        self._dirty: tuple[Tensor, ...] = ()
        self._non_differentiable: tuple[Tensor, ...] = ()
        self._materialize = True
        self._is_tensor: list[bool] = []  # which results of forward are

    def save_for_backward(self, *tensors: Tensor | None) -> None:
        """Keeps inputs, results or intermediate tensors; writes to them are detected. To be called once."""
        self._to_save = tensors

    @property
    def saved_tensors(self) -> tuple[Tensor, ...]:
        """What save_for_backward kept. RuntimeError when one was written since, or the graph has been freed."""
        if self._node is None:
            return self._to_save  # type: ignore[return-value]
        return tuple(_core._function_saved(self))

    def mark_dirty(self, *args: Tensor) -> None:
        """Names inputs that forward has written in place; they must be returned."""
        self._dirty = args

    def mark_non_differentiable(self, *args: Tensor) -> None:
        """Names results without a gradient."""
        self._non_differentiable = args

    def set_materialize_grads(self, value: bool) -> None:
        """Whether backward sees zeros (True) or None (False) for results that nothing depends on."""
        self._materialize = value

    def name(self) -> str:
        """The name of the operation."""
        return type(self).__name__

    @property
    def next_functions(self) -> tuple[tuple[Any, int], ...]:
        """The operations that made the arguments."""
        edges: tuple[tuple[Any, int], ...] = _core._function_edges(self)
        return edges

    def _run_backward(self, *grads: Tensor | None) -> Any:
        given = iter(grads)  # one for each tensor; the other results have None
        return self._function.backward(self, *[next(given) if tensor else None for tensor in self._is_tensor])

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"


class Function:
    """Base of operations with their own derivative.

    A subclass defines ``forward(ctx, *args)`` (or ``forward(*args)`` and ``setup_context(ctx, inputs, output)``) and
    ``backward(ctx, *grads)``, which returns one gradient an argument, None for arguments that have none. It is called
    through ``apply``.
    """

    @staticmethod
    def forward(*args: Any, **kwargs: Any) -> Any:
        """The value; not recorded."""
        raise NotImplementedError("a subclass of autograd.Function must define forward")

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        """The gradients of the arguments from those of the results."""
        raise NotImplementedError(
            "You must implement either the backward or vjp method for your custom autograd.Function to use it with "
            "backward mode AD."
        )

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        """Fills ctx when forward takes no ctx itself."""
        raise NotImplementedError("setup_context is not defined")

    @classmethod
    @functools.cache
    def _context_class(cls) -> type[FunctionCtx]:
        return type(f"{cls.__name__}Backward", (FunctionCtx,), {"_function": cls})

    @classmethod
    def apply(cls, *args: Any) -> Any:
        """Runs forward and records backward."""
        ctx = cls._context_class()()
        ctx.needs_input_grad = tuple(isinstance(a, Tensor) and a.requires_grad for a in args)
        with no_grad():
            if cls.setup_context is not Function.setup_context:
                output = cls.forward(*args)
                cls.setup_context(ctx, args, output)
            else:
                output = cls.forward(ctx, *args)
        several = isinstance(output, (tuple, list))
        results = list(output) if several else [output]
        tensors = [r for r in results if isinstance(r, Tensor)]
        ctx._is_tensor = [isinstance(r, Tensor) for r in results]
        recorded = list(
            _core._record_function(
                ctx,
                ctx.name(),
                args,
                tensors,
                ctx._to_save,
                ctx._dirty,
                ctx._non_differentiable,
                ctx._materialize,
            )
        )
        ctx._to_save = () if ctx._node is not None else ctx._to_save
        ctx._dirty = ctx._non_differentiable = ()
        filled = tuple(recorded.pop(0) if isinstance(r, Tensor) else r for r in results)
        return filled if several else filled[0]


class _Once(Function):
    """Passes its first ``count`` tensors and refuses to be differentiated, in them or in the others."""

    @staticmethod
    def forward(ctx: Any, count: int, *tensors: Tensor) -> tuple[Tensor, ...]:
        return tuple(t.detach() for t in tensors[:count])

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        raise RuntimeError(
            "trying to differentiate twice a function that was marked with @once_differentiable"
        )


def once_differentiable(backward: Callable[..., Any]) -> Callable[..., Any]:
    """Decorates a ``backward`` that is not differentiable itself; a second derivative raises RuntimeError."""

    @functools.wraps(backward)
    def wrapped(ctx: Any, *grads: Any) -> Any:
        with no_grad():
            outputs = backward(ctx, *grads)
        if not _core.is_grad_enabled():
            return outputs
        depends_on = [t for t in (*grads, *ctx.saved_tensors) if isinstance(t, Tensor) and t.requires_grad]
        if not depends_on:
            return outputs
        several = isinstance(outputs, tuple)
        results = outputs if several else (outputs,)
        tensors = [r for r in results if isinstance(r, Tensor)]
        marked = iter(_Once.apply(len(tensors), *tensors, *depends_on))
        filled = tuple(next(marked) if isinstance(r, Tensor) else r for r in results)
        return filled if several else filled[0]

    return wrapped
