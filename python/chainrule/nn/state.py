"""The state of a module: its parameters and buffers by name, given out and taken in."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from .._core import Tensor
from ..autograd import no_grad
from .parameter import Parameter


class _IncompatibleKeys(NamedTuple):
    """What ``load_state_dict`` found on one side only."""

    missing_keys: list[str]
    unexpected_keys: list[str]

    def __repr__(self) -> str:
        if not self.missing_keys and not self.unexpected_keys:
            return "<All keys matched successfully>"
        return f"_IncompatibleKeys(missing_keys={self.missing_keys}, unexpected_keys={self.unexpected_keys})"

    def __str__(self) -> str:
        return repr(self)


class StateDict:
    """``state_dict`` and ``load_state_dict``: what ``nn.Module`` inherits."""

    _parameters: dict[str, Parameter | None]
    _buffers: dict[str, Tensor | None]
    _modules: dict[str, Any]
    _non_persistent_buffers_set: set[str]

    def _named_state(self, prefix: str = "") -> Iterator[tuple[str, StateDict, str, Tensor]]:
        """What ``state_dict`` holds, in its order: full name, owner, the owner's name for it, tensor."""
        for name, parameter in self._parameters.items():
            if parameter is not None:
                yield prefix + name, self, name, parameter
        for name, buffer in self._buffers.items():
            if buffer is not None and name not in self._non_persistent_buffers_set:
                yield prefix + name, self, name, buffer
        for name, module in self._modules.items():
            if module is not None:
                yield from module._named_state(f"{prefix}{name}.")

    def state_dict(
        self, *, destination: dict[str, Any] | None = None, prefix: str = "", keep_vars: bool = False
    ) -> dict[str, Any]:
        """All parameters and persistent buffers by dotted name, sharing the module's memory.

        They are detached from the graph unless ``keep_vars`` is set.
        """
        state: dict[str, Any] = OrderedDict() if destination is None else destination
        for name, _, _, tensor in self._named_state(prefix):
            state[name] = tensor if keep_vars else tensor.detach()
        return state

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> _IncompatibleKeys:
        """Copies a state dictionary into parameters and buffers, all or nothing.

        Raises RuntimeError, with every missing and unexpected key (unless ``strict`` is False), every tensor
        of another shape and every value that is no tensor, before anything has changed. With ``assign`` the
        tensors take the place of the module's own instead of being copied into them.
        """
        if not isinstance(state_dict, Mapping):
            raise TypeError(f"Expected state_dict to be dict-like, got {type(state_dict)}.")
        own = list(self._named_state())
        names = {name for name, _, _, _ in own}
        missing = [name for name, _, _, _ in own if name not in state_dict]
        unexpected = [key for key in state_dict if key not in names]
        errors: list[str] = []
        if strict and missing:
            errors.append(f"Missing key(s) in state_dict: {_quoted(missing)}. ")
        if strict and unexpected:
            errors.append(f"Unexpected key(s) in state_dict: {_quoted(unexpected)}. ")
        found = [entry for entry in own if entry[0] in state_dict]
        for name, _, _, tensor in found:
            given = state_dict[name]
            if not isinstance(given, Tensor):
                errors.append(
                    f'While copying the parameter named "{name}", expected chainrule.Tensor from checkpoint '
                    f"but received {type(given)}"
                )
            elif given.shape != tensor.shape:
                errors.append(
                    f"size mismatch for {name}: copying a param with shape {given.shape} from checkpoint, "
                    f"the shape in current model is {tensor.shape}."
                )
        if errors:
            listed = "\n\t".join(errors)
            raise RuntimeError(f"Error(s) in loading state_dict for {type(self).__name__}:\n\t{listed}")
        with no_grad():
            for name, module, key, tensor in found:
                if assign:
                    module._take(key, tensor, state_dict[name])
                else:
                    tensor.copy_(state_dict[name])
        return _IncompatibleKeys(missing, unexpected)

    def _take(self, name: str, old: Tensor, new: Tensor) -> None:
        if not isinstance(old, Parameter):
            self._buffers[name] = new
        elif isinstance(new, Parameter):
            self._parameters[name] = new
        else:
            self._parameters[name] = Parameter(new, requires_grad=old.requires_grad)


def _quoted(names: list[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)
