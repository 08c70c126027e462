"""Hooks of modules: registering and calling them, and the taps that show a module its gradients."""

from __future__ import annotations

import warnings
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

from .._core import Tensor
from .._core._nn import ModuleBase
from ..autograd import Function


class RemovableHandle:
    """What a registration returns: ``remove()``, or leaving it as a context, takes the hook out again."""

    _next_id = 0

    def __init__(self, hooks: OrderedDict[int, Any]) -> None:
        self.id = RemovableHandle._next_id
        RemovableHandle._next_id += 1
        self._hooks = weakref.ref(hooks)

    def remove(self) -> None:
        hooks = self._hooks()
        if hooks is not None:
            hooks.pop(self.id, None)

    def __enter__(self) -> RemovableHandle:
        return self

    def __exit__(self, *exc: object) -> None:
        self.remove()


def register(hooks: OrderedDict[int, Any], hook: Any, prepend: bool) -> RemovableHandle:
    """Adds a hook at the end, or in front of all others, and returns its handle."""
    handle = RemovableHandle(hooks)
    hooks[handle.id] = hook
    if prepend:
        hooks.move_to_end(handle.id, last=False)
    return handle


Gradients = tuple[Tensor | None, ...]


class _Tap(Function):
    """The identity, whose backward pass lets a callback see and replace the gradients that flow through."""

    @staticmethod
    def forward(ctx: Any, callback: Callable[[Gradients], Gradients], *tensors: Tensor) -> Any:
        ctx.callback = callback
        ctx.set_materialize_grads(False)
        # Not views: what writes into one of them in place must not find its way past the tap.
        return tuple(t.clone() for t in tensors)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> Any:
        return None, *ctx.callback(grads)


class BackwardTaps:
    """One call of a module that has backward hooks: a tap before its inputs and one behind its outputs."""

    def __init__(self, module: Any, hooks: Iterable[Any], pre_hooks: Iterable[Any]) -> None:
        self.module = module
        self.hooks = list(hooks)
        self.pre_hooks = list(pre_hooks)
        self.inputs: list[int] = []
        self.input_count = 0
        self.outputs: list[int] = []
        self.output_count = 0
        self.grad_output: Gradients = ()

    def tap_inputs(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        self.input_count = len(args)
        args, self.inputs = _tapped(args, self._inputs_arrived)
        return args

    def tap_outputs(self, result: Any) -> Any:
        values = result if isinstance(result, tuple) else (result,)
        if not all(isinstance(v, Tensor) for v in values):
            warnings.warn(
                "For backward hooks to be called, module output should be a Tensor or a tuple of Tensors"
                f" but received {type(result)}",
                stacklevel=4,
            )
            return result
        self.output_count = len(values)
        values, self.outputs = _tapped(values, self._outputs_arrived)
        return values if isinstance(result, tuple) else values[0]

    def _outputs_arrived(self, grads: Gradients) -> Gradients:
        grad_output = _spread(grads, self.outputs, self.output_count)
        for hook in self.pre_hooks:
            replaced = hook(self.module, grad_output)
            if replaced is not None:
                grad_output = _as_gradients(replaced, self.output_count, "Backward pre hook")
        self.grad_output = grad_output
        if not self.inputs:
            # Nothing before the module asks for a gradient, so this is the only moment to call its hooks.
            for hook in self.hooks:
                replaced = hook(self.module, (None,) * self.input_count, grad_output)
                if replaced is not None and any(g is not None for g in replaced):
                    raise RuntimeError(
                        "Backward hook for Modules where no input requires gradient should always return "
                        "None or None for all gradients."
                    )
        return tuple(grad_output[i] for i in self.outputs)

    def _inputs_arrived(self, grads: Gradients) -> Gradients:
        grad_input = _spread(grads, self.inputs, self.input_count)
        for hook in self.hooks:
            replaced = hook(self.module, grad_input, self.grad_output)
            if replaced is not None:
                grad_input = _as_gradients(replaced, self.input_count, "Backward hook")
        self.grad_output = ()
        return tuple(grad_input[i] for i in self.inputs)


def _tapped(
    values: tuple[Any, ...], callback: Callable[[Gradients], Gradients]
) -> tuple[tuple[Any, ...], list[int]]:
    """The same values with those that require a gradient led through a tap, and the places of these."""
    places = [i for i, v in enumerate(values) if isinstance(v, Tensor) and v.requires_grad]
    if not places:
        return values, places
    changed = list(values)
    for i, tapped in zip(places, _Tap.apply(callback, *[values[i] for i in places])):
        changed[i] = tapped
    return tuple(changed), places


def _spread(grads: Gradients, places: list[int], count: int) -> Gradients:
    spread: list[Tensor | None] = [None] * count
    for i, g in zip(places, grads):
        spread[i] = g
    return tuple(spread)


def _as_gradients(value: Any, count: int, what: str) -> Gradients:
    grads = value if isinstance(value, tuple) else (value,)
    if len(grads) != count:
        raise RuntimeError(
            f"{what} returned an invalid number of grad, got {len(grads)}, but expected {count}"
        )
    return grads


class _ForwardHook(NamedTuple):
    call: Callable[..., Any]
    with_kwargs: bool
    always: bool


class HookedModule(ModuleBase):
    """The hooks of a module: what ``nn.Module`` inherits."""

    _hooked: bool  # has, or once had, a hook
    _forward_pre_hooks: OrderedDict[int, _ForwardHook]
    _forward_hooks: OrderedDict[int, _ForwardHook]
    _backward_pre_hooks: OrderedDict[int, Callable[..., Any]]
    _backward_hooks: OrderedDict[int, Callable[..., Any]]

    if TYPE_CHECKING:

        def forward(self, *args: Any, **kwargs: Any) -> Any: ...

    def _call_with_hooks(self, *args: Any, **kwargs: Any) -> Any:
        """What calling the module comes to when it has, or once had, a hook."""
        called: set[int] = set()
        result: Any = None
        try:
            for hook in list(self._forward_pre_hooks.values()):
                args, kwargs = self._call_pre_hook(hook, args, kwargs)
            taps = None
            if self._backward_hooks or self._backward_pre_hooks:
                taps = BackwardTaps(self, self._backward_hooks.values(), self._backward_pre_hooks.values())
                args = taps.tap_inputs(args)
            result = self.forward(*args, **kwargs)
            for key, hook in list(self._forward_hooks.items()):
                called.add(key)
                changed = (
                    hook.call(self, args, kwargs, result)
                    if hook.with_kwargs
                    else hook.call(self, args, result)
                )
                if changed is not None:
                    result = changed
            return taps.tap_outputs(result) if taps is not None else result
        except Exception:
            for key, hook in list(self._forward_hooks.items()):
                if hook.always and key not in called:
                    _ = (
                        hook.call(self, args, kwargs, result)
                        if hook.with_kwargs
                        else hook.call(self, args, result)
                    )
            raise

    def _call_pre_hook(
        self, hook: _ForwardHook, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        if not hook.with_kwargs:
            changed = hook.call(self, args)
            if changed is None:
                return args, kwargs
            return (changed if isinstance(changed, tuple) else (changed,)), kwargs
        changed = hook.call(self, args, kwargs)
        if changed is None:
            return args, kwargs
        if not (isinstance(changed, tuple) and len(changed) == 2):
            raise RuntimeError(
                f"forward pre-hook must return None or a tuple of (new_args, new_kwargs), but got {changed}."
            )
        return changed

    def register_forward_pre_hook(
        self, hook: Callable[..., Any], *, prepend: bool = False, with_kwargs: bool = False
    ) -> RemovableHandle:
        """``hook(module, args)`` runs before ``forward`` and may return other ``args``.

        With ``with_kwargs`` the hook is ``hook(module, args, kwargs)`` and returns both or None.
        """
        self._hooked = True
        return register(self._forward_pre_hooks, _ForwardHook(hook, with_kwargs, False), prepend)

    def register_forward_hook(
        self,
        hook: Callable[..., Any],
        *,
        prepend: bool = False,
        with_kwargs: bool = False,
        always_call: bool = False,
    ) -> RemovableHandle:
        """``hook(module, args, output)`` runs after ``forward`` and may return another output.

        With ``with_kwargs`` the hook is ``hook(module, args, kwargs, output)``; with ``always_call`` it also
        runs when ``forward`` raises.
        """
        self._hooked = True
        return register(self._forward_hooks, _ForwardHook(hook, with_kwargs, always_call), prepend)

    def register_full_backward_hook(self, hook: Callable[..., Any], prepend: bool = False) -> RemovableHandle:
        """``hook(module, grad_input, grad_output)`` runs when the gradients of the inputs have been computed.

        Both are tuples, with None where an argument has no gradient. What the hook returns, unless None,
        takes the place of ``grad_input``.
        """
        self._hooked = True
        return register(self._backward_hooks, hook, prepend)

    def register_full_backward_pre_hook(
        self, hook: Callable[..., Any], prepend: bool = False
    ) -> RemovableHandle:
        """``hook(module, grad_output)`` runs before the backward pass and may return other ones."""
        self._hooked = True
        return register(self._backward_pre_hooks, hook, prepend)
