"""What Python and the library add to a kernel: layers, losses, a backward and a step on tensors of a few elements.

The kernels' own work is some ten nanoseconds; what a layer adds to its function is the difference of two rows.
"""

from __future__ import annotations

from typing import Any

import pytest

from rows import Work, functional


def linear(lib: Any) -> Work:
    layer, x = lib.nn.Linear(4, 4), lib.ones(1, 4)
    return lambda: functional(lib).linear(x, layer.weight, layer.bias)


def linear_layer(lib: Any) -> Work:
    layer, x = lib.nn.Linear(4, 4), lib.ones(1, 4)
    return lambda: layer(x)


def sequential(lib: Any) -> Work:
    net, x = lib.nn.Sequential(*(lib.nn.Identity() for _ in range(10))), lib.ones(1, 4)
    return lambda: net(x)


def mse(lib: Any) -> Work:
    x, y = lib.ones(4, requires_grad=True), lib.zeros(4)
    return lambda: functional(lib).mse_loss(x, y)


def mse_layer(lib: Any) -> Work:
    loss, x, y = lib.nn.MSELoss(), lib.ones(4, requires_grad=True), lib.zeros(4)
    return lambda: loss(x, y)


def backward(lib: Any) -> Work:
    x = lib.tensor(1.0, requires_grad=True)
    return lambda: x.backward()


def parameters(lib: Any, count: int) -> list[Any]:
    made = [lib.nn.Parameter(lib.ones(4)) for _ in range(count)]
    for p in made:
        p.grad = lib.ones(4)
    return made


def step(name: str, count: int, **options: float) -> Any:
    def build(lib: Any) -> Work:
        work: Work = getattr(lib.optim, name)(parameters(lib, count), lr=1e-3, **options).step
        return work

    return build


def zero_grad(lib: Any) -> Work:
    work: Work = lib.optim.SGD(parameters(lib, 4), lr=1e-3).zero_grad
    return work


def module_parameters(lib: Any) -> Work:
    net = lib.nn.Sequential(lib.nn.Linear(4, 8), lib.nn.ReLU(), lib.nn.Linear(8, 1))
    return lambda: list(net.parameters())


CASES = {
    "F.linear 4x4, recorded": linear,
    "nn.Linear 4x4, recorded": linear_layer,
    "nn.Sequential of 10 nn.Identity": sequential,
    "F.mse_loss of 4": mse,
    "nn.MSELoss of 4": mse_layer,
    "backward of a leaf": backward,
    "SGD.step, 4 parameters of 4": step("SGD", 4),
    "SGD.step with momentum, 4 parameters of 4": step("SGD", 4, momentum=0.9),
    "Adam.step, 4 parameters of 4": step("Adam", 4),
    "AdamW.step, 4 parameters of 4": step("AdamW", 4),
    "AdamW.step, 16 parameters of 4": step("AdamW", 16),
    "zero_grad, 4 parameters": zero_grad,
    "list(parameters()) of 3 layers": module_parameters,
}


@pytest.mark.parametrize("name", CASES)
def test_overhead(name: str, library: Any, benchmark: Any) -> None:
    if library.__name__ not in ("chainrule", "torch"):
        pytest.skip("there are no layers")
    benchmark.extra_info["row"] = name
    benchmark(CASES[name](library))
