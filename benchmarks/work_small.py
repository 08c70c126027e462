"""Rows where the overhead of an operation is all there is."""

from __future__ import annotations

from typing import Any

from rows import Work, functional, row


def numpy_add(np: Any) -> Work:
    a = np.ones(4, np.float32)
    return lambda: a + a


@row("add of 4, no grad", (4, 3), numpy=numpy_add)
def add(lib: Any) -> Work:
    a = lib.ones(4)
    return lambda: a + a


@row("add of 4, recorded", 4)
def add_recorded(lib: Any) -> Work:
    a, b = lib.ones(4, requires_grad=True), lib.ones(4)
    return lambda: a + b


def jax_ten(jax: Any) -> Work:
    import jax.numpy as jnp

    def f(a: Any) -> Any:
        y = a
        for _ in range(10):
            y = y * a
        return y.sum()

    step = jax.jit(jax.grad(f))
    a = jnp.ones(4)
    return lambda: step(a).block_until_ready()


@row("10 multiplications of 4 values, backward", 10, jax=jax_ten)
def ten(lib: Any) -> Work:
    a = lib.ones(4, requires_grad=True)

    def work() -> None:
        a.grad = None
        y = a
        for _ in range(10):
            y = y * a
        y.sum().backward()

    return work


def jax_square(jax: Any) -> Work:
    step = jax.jit(jax.grad(lambda w: w**2))
    return lambda: step(3.0).block_until_ready()


@row("w**2 backward, scalar", (15, 8), jax=jax_square)
def square(lib: Any) -> Work:
    w = lib.tensor(3.0, requires_grad=True)

    def work() -> None:
        w.grad = None
        (w**2).backward()

    return work


@row("1000-op deep chain, backward", 8)
def deep_chain(lib: Any) -> Work:
    a = lib.ones(4, requires_grad=True)

    def work() -> None:
        a.grad = None
        y = a
        for _ in range(1000):
            y = y * 1.001
        y.sum().backward()

    return work


@row("transpose, slice, reshape 64x64", 4)
def views(lib: Any) -> Work:
    a = lib.ones(64, 64)
    return lambda: a.transpose(0, 1)[1:33].reshape(64, 32)


def numpy_policy(np: Any) -> Work:
    rng = np.random.default_rng(0)
    shapes = [(4, 64), (64, 64), (64, 2)]
    layers = [(rng.standard_normal(s, np.float32), np.zeros(s[1], np.float32)) for s in shapes]
    x = np.ones((1, 4), np.float32)

    def work() -> Any:
        y = x
        for w, b in layers[:-1]:
            y = np.tanh(y @ w + b)
        return y @ layers[-1][0] + layers[-1][1]

    return work


@row("policy net 4-64-64-2, batch 1, no grad", 8, numpy=numpy_policy)
def policy(lib: Any) -> Work:
    nn = lib.nn
    net = nn.Sequential(nn.Linear(4, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 2))
    x = lib.ones(1, 4)

    def work() -> Any:
        with lib.no_grad():
            return net(x)

    return work


@row("cross_entropy 32x10, forward and backward", 1)
def small_loss(lib: Any) -> Work:
    logits = lib.randn(32, 10, requires_grad=True)
    target = lib.arange(32) % 10

    def work() -> None:
        logits.grad = None
        functional(lib).cross_entropy(logits, target).backward()

    return work
