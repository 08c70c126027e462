"""Rows of whole training steps: zero_grad, forward, loss, backward, step."""

from __future__ import annotations

import itertools
from typing import Any

import needs
from needs import Needs
from rows import Build, Missing, Work, functional, row


def training(net: Any, optimizer: Any, loss: Any) -> Work:
    def work() -> None:
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()

    return work


def mlp(lib: Any, *sizes: int) -> Any:
    nn = lib.nn
    layers: list[Any] = []
    for a, b in itertools.pairwise(sizes):
        layers += [nn.Linear(a, b), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


@row("training step: linear regression, batch 32", 10)
def regression(lib: Any) -> Work:
    net, x, y = lib.nn.Linear(1, 1), lib.randn(32, 1), lib.randn(32, 1)
    optimizer = lib.optim.SGD(net.parameters(), lr=0.01)
    return training(net, optimizer, lambda: functional(lib).mse_loss(net(x), y))


@row("training step: 4-8-1 net, batch 32", 10)
def tiny(lib: Any) -> Work:
    net, x, y = mlp(lib, 4, 8, 1), lib.randn(32, 4), lib.randn(32, 1)
    optimizer = lib.optim.SGD(net.parameters(), lr=0.01)
    return training(net, optimizer, lambda: functional(lib).mse_loss(net(x), y))


def jax_mlp(sizes: tuple[int, ...], batch: int) -> Build:
    """The same step with Adam written by hand, compiled as a whole; parameters and moments are given up to the step,
    so that it may write over them."""

    def build(jax: Any) -> Work:
        import jax.numpy as jnp

        keys = iter(jax.random.split(jax.random.key(0), 3 * len(sizes)))
        weights = [
            (jax.random.uniform(next(keys), (a, b), minval=-1, maxval=1) / a**0.5, jnp.zeros(b))
            for a, b in itertools.pairwise(sizes)
        ]
        x = jax.random.normal(next(keys), (batch, sizes[0]))
        y = jax.random.randint(next(keys), (batch,), 0, sizes[-1])

        def loss(weights: Any) -> Any:
            h = x
            for w, b in weights[:-1]:
                h = jnp.maximum(h @ w + b, 0)
            w, b = weights[-1]
            return -jnp.take_along_axis(jax.nn.log_softmax(h @ w + b), y[:, None], 1).mean()

        def step(weights: Any, means: Any, squares: Any, t: Any) -> Any:
            value, gradients = jax.value_and_grad(loss)(weights)
            t = t + 1
            means = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, means, gradients)
            squares = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, squares, gradients)
            rate, root = 1e-3 / (1 - 0.9**t), (1 - 0.999**t) ** 0.5
            weights = jax.tree.map(
                lambda w, m, v: w - rate * m / (jnp.sqrt(v) / root + 1e-8), weights, means, squares
            )
            return (weights, means, squares, t), value

        compiled = jax.jit(step, donate_argnums=(0, 1, 2, 3))
        zeros = jax.tree.map(jnp.zeros_like, weights), jax.tree.map(jnp.zeros_like, weights)
        state = (weights, *zeros, jnp.zeros(()))

        def work() -> None:
            nonlocal state
            state, value = compiled(*state)
            value.block_until_ready()

        return work

    return build


_MLPS = [((32, 32), 32, 6), ((128, 128), 32, (3, 2.3)), ((512, 512), 128, 1.4), ((1024, 1024), 512, 1.15)]
for _hidden, _batch, _target in _MLPS:

    def _mlp(lib: Any, hidden: tuple[int, ...] = _hidden, batch: int = _batch) -> Work:
        net = mlp(lib, 784, *hidden, 10)
        x, y = lib.randn(batch, 784), lib.randint(0, 10, (batch,))
        optimizer = lib.optim.Adam(net.parameters(), lr=1e-3)
        return training(net, optimizer, lambda: functional(lib).cross_entropy(net(x), y))

    _sizes = (784, *_hidden, 10)
    row(
        f"training step: MLP {'-'.join(map(str, _sizes))}, batch {_batch}, Adam",
        _target,
        needs.mlp_step(_sizes, _batch),
        jax=jax_mlp(_sizes, _batch),
    )(_mlp)


# Nothing asks for the gradient of the images: two thirds of the first layer's work.
CNN = Needs(
    2 / 3 * needs.convolution(64, 1, 32, 3, 28).flops
    + needs.convolution(64, 32, 64, 3, 28).flops
    + 3 * needs.product(64, 128, 64 * 14 * 14).flops
) + needs.adam(64 * 14 * 14 * 128)


@row("training step: CNN 28x28, batch 64", (1.4, 1.8), CNN)
def cnn(lib: Any) -> Work:
    nn = lib.nn
    net = nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(64 * 14 * 14, 128), nn.ReLU(), nn.Linear(128, 10),
    )  # fmt: skip
    x, y = lib.randn(64, 1, 28, 28), lib.randint(0, 10, (64,))
    optimizer = lib.optim.Adam(net.parameters(), lr=1e-3)
    return training(net, optimizer, lambda: functional(lib).cross_entropy(net(x), y))


def residual_block(lib: Any, inputs: int, outputs: int, stride: int) -> Any:
    nn = lib.nn

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
            self.norm1 = nn.BatchNorm2d(outputs)
            self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
            self.norm2 = nn.BatchNorm2d(outputs)
            same = stride == 1 and inputs == outputs
            self.short = nn.Identity() if same else nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False)

        def forward(self, x: Any) -> Any:
            y = functional(lib).relu(self.norm1(self.conv1(x)))
            return functional(lib).relu(self.norm2(self.conv2(y)) + self.short(x))

    return Block()


def block_flops(inputs: int, outputs: int, size: int, stride: int) -> float:
    short = 0.0 if stride == 1 else needs.convolution(16, inputs, outputs, 1, size, stride).flops
    first = needs.convolution(16, inputs, outputs, 3, size, stride).flops
    return first + needs.convolution(16, outputs, outputs, 3, size // stride).flops + short


RESNET = Needs(
    2 / 3 * needs.convolution(16, 3, 16, 3, 32).flops
    + block_flops(16, 16, 32, 1) + block_flops(16, 32, 32, 2) + block_flops(32, 64, 16, 2)
)  # fmt: skip


@row("training step: ResNet-8 32x32, batch 16", 1.4, RESNET)
def resnet(lib: Any) -> Work:
    nn = lib.nn
    net = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(),
        residual_block(lib, 16, 16, 1), residual_block(lib, 16, 32, 2), residual_block(lib, 32, 64, 2),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10),
    )  # fmt: skip
    x, y = lib.randn(16, 3, 32, 32), lib.randint(0, 10, (16,))
    optimizer = lib.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    return training(net, optimizer, lambda: functional(lib).cross_entropy(net(x), y))


def gpt(lib: Any, width: int, layers: int, heads: int, vocabulary: int, context: int) -> Any:
    nn, F = lib.nn, functional(lib)

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
            self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
            self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

        def forward(self, x: Any) -> Any:
            b, t, _ = x.shape
            q, k, v = (
                part.view(b, t, heads, width // heads).transpose(1, 2)
                for part in self.qkv(self.norm1(x)).split(width, dim=2)
            )
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = x + self.out(y.transpose(1, 2).reshape(b, t, width))
            return x + self.down(F.gelu(self.up(self.norm2(x))))

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.tokens, self.places = nn.Embedding(vocabulary, width), nn.Embedding(context, width)
            self.blocks = nn.ModuleList([Block() for _ in range(layers)])
            self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, vocabulary, bias=False)

        def forward(self, ids: Any) -> Any:
            x = self.tokens(ids) + self.places(lib.arange(ids.shape[1]))
            for block in self.blocks:
                x = block(x)
            return self.head(self.norm(x))

    return Model()


_GPTS = [((128, 4, 4), (12, 64), 1.7), ((384, 6, 6), (4, 256), (1.25, 1.5))]
for _model, _tokens, _target in _GPTS:

    def _gpt(lib: Any, model: tuple[int, int, int] = _model, tokens: tuple[int, int] = _tokens) -> Work:
        net = gpt(lib, *model, 65, tokens[1])
        ids, targets = lib.randint(0, 65, tokens), lib.randint(0, 65, (tokens[0] * tokens[1],))
        optimizer = lib.optim.AdamW(net.parameters(), lr=1e-3)
        return training(net, optimizer, lambda: functional(lib).cross_entropy(net(ids).view(-1, 65), targets))

    row(
        f"training step: GPT d{_model[0]} L{_model[1]}, {_tokens[0]}x{_tokens[1]} tokens",
        _target,
        needs.gpt_step(*_model, 65, *_tokens),
    )(_gpt)


LSTM = Needs(3 * needs.product(32 * 50, 4 * 128, 64 + 128).flops - needs.product(32 * 50, 4 * 128, 64).flops)


@row("training step: LSTM h128, 32x50", 1.5, LSTM)
def lstm(lib: Any) -> Work:
    if not hasattr(lib.nn, "LSTM"):
        raise Missing
    net, head = lib.nn.LSTM(64, 128, batch_first=True), lib.nn.Linear(128, 10)
    x, y = lib.randn(32, 50, 64), lib.randint(0, 10, (32,))
    optimizer = lib.optim.Adam([*net.parameters(), *head.parameters()], lr=1e-3)
    return training(net, optimizer, lambda: functional(lib).cross_entropy(head(net(x)[0][:, -1]), y))
