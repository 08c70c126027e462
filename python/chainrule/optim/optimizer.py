"""Optimizer: parameter groups, state, and what all optimizers do alike."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from itertools import chain
from typing import Any

from .._core import Tensor, _optim
from ..autograd import enable_grad

Closure = Callable[[], Any]
Params = Iterable[Tensor] | Iterable[dict[str, Any]]


class Optimizer:
    """Base class: ``param_groups`` hold parameters and options, ``state`` what a step remembers of each.

    params: tensors, or dictionaries with the key 'params' and options of their own. Raises ValueError when
    empty or when a parameter is no leaf or stands twice, TypeError when it is no tensor.
    """

    # Whether step() has run, for the warning of schedulers; None in subclasses that do not keep it.
    _opt_called: bool | None = None

    def __init__(self, params: Params, defaults: dict[str, Any]) -> None:
        if isinstance(params, Tensor):
            raise TypeError(
                "params argument given to the optimizer should be an iterable of Tensors or dicts, "
                f"but got {type(params).__name__}"
            )
        self.defaults = defaults
        self.state: defaultdict[Tensor, dict[str, Any]] = defaultdict(dict)
        self.param_groups: list[dict[str, Any]] = []
        listed = list(params)
        if not listed:
            raise ValueError("optimizer got an empty parameter list")
        groups: list[Any] = listed if isinstance(listed[0], dict) else [{"params": listed}]
        for group in groups:
            self.add_param_group(group)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Adds parameters with options of their own; for those missing the optimizer's defaults hold."""
        if not isinstance(param_group, dict):
            raise TypeError(f"param_group must be a dict, but got {type(param_group)}")
        params = param_group["params"]
        if isinstance(params, (set, frozenset)):
            raise TypeError(
                "optimizer parameters need to be organized in ordered collections, but the ordering of "
                "tensors in sets will change between runs. Please use a list instead."
            )
        params = [params] if isinstance(params, Tensor) else list(params)
        for p in params:
            if not isinstance(p, Tensor):
                raise TypeError(
                    f"optimizer can only optimize Tensors, but one of the params is {type(p).__name__}"
                )
            if not p.is_leaf:
                raise ValueError("can't optimize a non-leaf Tensor")
        if len(set(params)) != len(params):
            raise ValueError("optimizer contains a parameter group with duplicate parameters")
        if not set(params).isdisjoint(chain.from_iterable(group["params"] for group in self.param_groups)):
            raise ValueError("some parameters appear in more than one parameter group")
        group = {**param_group, "params": params}
        for name, default in self.defaults.items():
            group.setdefault(name, default)
        self._check_group(group)
        self.param_groups.append(group)

    def _check_group(self, group: dict[str, Any]) -> None:
        """Raises ValueError when an option is out of its range; subclasses know theirs."""

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forgets the gradients, or fills them with zeros in place."""
        for group in self.param_groups:
            _optim.forget_gradients_(group["params"], set_to_none)

    def step(self, closure: Closure | None = None) -> Any:
        """Changes the parameters by their gradients, once.

        closure: computes the loss and the gradients anew; its value is returned.
        """
        raise NotImplementedError(f"{type(self).__name__} has no step")

    @staticmethod
    def _evaluate(closure: Closure) -> Any:
        with enable_grad():
            return closure()

    def state_dict(self) -> dict[str, Any]:
        """The state by the parameters' numbers, and the groups with numbers in place of parameters."""
        numbers: dict[Tensor, int] = {}
        groups = []
        for group in self.param_groups:
            for p in group["params"]:
                numbers.setdefault(p, len(numbers))
            packed = {name: value for name, value in group.items() if name != "params"}
            packed["params"] = [numbers[p] for p in group["params"]]
            groups.append(packed)
        state = {numbers.get(p, p): value for p, value in self.state.items()}
        return {"state": state, "param_groups": groups}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes over a state that ``state_dict`` gave, as copies in the parameters' dtypes.

        Raises ValueError, before anything has changed, when the groups are of another number or size or a
        tensor of the state has another shape than its parameter.
        """
        given = state_dict["param_groups"]
        if len(given) != len(self.param_groups):
            raise ValueError("loaded state dict has a different number of parameter groups")
        if any(len(new["params"]) != len(old["params"]) for new, old in zip(given, self.param_groups)):
            raise ValueError(
                "loaded state dict contains a parameter group that doesn't match the size of "
                "optimizer's group"
            )
        params: dict[Any, Tensor] = {}
        for new, old in zip(given, self.param_groups):
            params.update(zip(new["params"], old["params"]))
        state: defaultdict[Any, dict[str, Any]] = defaultdict(dict)
        for number, values in state_dict["state"].items():
            if number in params:
                p = params[number]
                state[p] = {name: _for_parameter(name, value, p) for name, value in values.items()}
            else:
                state[number] = values
        groups = [{**old, **new, "params": old["params"]} for new, old in zip(given, self.param_groups)]
        for group in groups:
            self._check_group(group)
        self.state, self.param_groups = state, groups

    def __getstate__(self) -> dict[str, Any]:
        return {"defaults": self.defaults, "state": self.state, "param_groups": self.param_groups}

    def __repr__(self) -> str:
        lines = []
        for i, group in enumerate(self.param_groups):
            lines += [f"Parameter Group {i}"]
            lines += [f"    {name}: {group[name]}" for name in sorted(group) if name != "params"]
        return f"{type(self).__name__} (\n" + "\n".join(lines) + "\n)"


def _for_parameter(name: str, value: Any, p: Tensor) -> Any:
    """A value of a loaded state as the step wants it: a count as an int, a tensor as a copy in p's dtype."""
    if name == "step":
        return int(value)
    if not isinstance(value, Tensor):
        return value
    if value.shape != p.shape:
        raise ValueError(
            f"loaded state dict has {name!r} of shape {tuple(value.shape)} "
            f"for a parameter of shape {tuple(p.shape)}"
        )
    return value.detach().to(p.dtype, copy=True)


def check_not_negative(what: str, value: float) -> None:
    """ValueError unless value >= 0, also for NaN."""
    if not 0.0 <= value:
        raise ValueError(f"Invalid {what}: {value}")


def check_plain_step(differentiable: bool, capturable: bool = False) -> None:
    """ValueError for PyTorch's switches that would change what a step is."""
    if differentiable:
        raise ValueError(
            "differentiable=True is not supported: a step is one compiled call outside the graph"
        )
    if capturable:
        raise ValueError("capturable=True is not supported: there are no CUDA graphs on a CPU")
