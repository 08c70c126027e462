"""Whether operations are recorded: each of these is a context manager and a decorator."""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import TracebackType
from typing import Any, TypeVar

from chainrule import _core

F = TypeVar("F", bound=Callable[..., Any])


class _Mode:
    """Sets a thread's mode on entry and restores it on exit; may be entered again while it is in force."""

    def __init__(self) -> None:
        self._before: list[bool] = []

    def _fresh(self) -> _Mode:
        return type(self)()

    def _enter(self) -> bool:
        raise TypeError("use one of no_grad, enable_grad, set_grad_enabled, inference_mode")

    def _exit(self, before: bool) -> None:
        _core._set_grad_enabled(before)

    def __enter__(self) -> None:
        self._before.append(self._enter())

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._exit(self._before.pop())

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


def _wrap_generator(fresh: Callable[[], _Mode], function: F) -> F:
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


class no_grad(_Mode):
    """Nothing is recorded: ``with no_grad(): ...`` or ``@no_grad()``."""

    def __new__(cls, function: Any = None) -> Any:
        self = super().__new__(cls)
        if function is None:
            return self
        self.__init__()  # type: ignore[misc]
        return self(function)  # the decorator without parentheses

    def __init__(self, function: Any = None) -> None:
        super().__init__()

    def _enter(self) -> bool:
        return _core._set_grad_enabled(False)


class enable_grad(no_grad):
    """Operations are recorded, also inside of ``no_grad``."""

    def _enter(self) -> bool:
        return _core._set_grad_enabled(True)


class set_grad_enabled(_Mode):
    """Recording on or off, from the call on; as a context manager, until its end."""

    def __init__(self, mode: bool) -> None:
        super().__init__()
        self.mode = mode
        self._outside = _core._set_grad_enabled(mode)

    def _fresh(self) -> _Mode:
        return set_grad_enabled(self.mode)

    def _enter(self) -> bool:
        _core._set_grad_enabled(self.mode)
        return self._outside

    def __call__(self, function: F) -> F:
        _core._set_grad_enabled(self._outside)  # as a decorator it says nothing about the code around
        return super().__call__(function)


class inference_mode(_Mode):
    """Nothing is recorded, and what is made here can never be: tensors without version counters."""

    def __init__(self, mode: bool = True) -> None:
        super().__init__()
        self.mode = mode
        self._grad: list[bool] = []

    def _fresh(self) -> _Mode:
        return inference_mode(self.mode)

    def _enter(self) -> bool:
        if self.mode:
            self._grad.append(_core._set_grad_enabled(False))
        else:
            self._grad.append(_core.is_grad_enabled())
        return _core._set_inference_mode(self.mode)

    def _exit(self, before: bool) -> None:
        _core._set_inference_mode(before)
        _core._set_grad_enabled(self._grad.pop())
