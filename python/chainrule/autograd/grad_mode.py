"""Whether operations are recorded: each of these is a context manager and a decorator."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

from chainrule import _core

F = TypeVar("F", bound=Callable[..., Any])


class _Decorator:
    """What makes a guard a decorator: a fresh one around every call, so that threads do not share it."""

    __slots__ = ()

    def _fresh(self) -> Any:
        return type(self)()

    def __call__(self, function: F) -> F:
        if _is_generator(function):
            return _wrap_generator(self._fresh, function)

        @functools.wraps(function)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            with self._fresh():
                return function(*args, **kwargs)

        return wrapped  # type: ignore[return-value]


def _is_generator(function: Callable[..., Any]) -> bool:
    code = getattr(function, "__code__", None)
    return code is not None and bool(code.co_flags & 0x20)


def _wrap_generator(fresh: Callable[[], Any], function: F) -> F:
    @functools.wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        generator = function(*args, **kwargs)
        sent: Any = None
        while True:
            with fresh():
                try:
                    value = generator.send(sent)
                except StopIteration as stop:
                    return stop.value
            sent = yield value

    return wrapped  # type: ignore[return-value]


class no_grad(_core.NoGradGuard, _Decorator):
    """Nothing is recorded: ``with no_grad(): ...``, ``@no_grad()`` or ``@no_grad``."""

    __slots__ = ()


class enable_grad(_core.EnableGradGuard, _Decorator):
    """Operations are recorded, also inside of ``no_grad``."""

    __slots__ = ()


class set_grad_enabled(_core.ModeGuard, _Decorator):
    """Recording on or off, from the call on; as a context manager, until its end."""

    __slots__ = ("mode",)
    mode: bool

    def __new__(cls, mode: bool) -> set_grad_enabled:
        self = super().__new__(cls, bool(mode), None, True)
        self.mode = bool(mode)
        return self

    def _fresh(self) -> set_grad_enabled:
        return set_grad_enabled(self.mode)

    def __call__(self, function: F) -> F:
        self._undo()  # as a decorator it says nothing about the code around
        return super().__call__(function)


class inference_mode(_core.ModeGuard, _Decorator):
    """Nothing is recorded, and what is made here can never be: tensors without version counters."""

    __slots__ = ("mode",)
    mode: bool

    def __new__(cls, mode: Any = True) -> Any:
        if not isinstance(mode, bool):
            return cls()(mode)  # the decorator without parentheses
        self = super().__new__(cls, False if mode else None, mode, False)
        self.mode = mode
        return self

    def _fresh(self) -> Any:
        return inference_mode(self.mode)
