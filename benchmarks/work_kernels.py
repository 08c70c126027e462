"""Rows of single kernels, from matrix products to attention."""

from __future__ import annotations

from typing import Any

import needs
from needs import arrays, product
from rows import Build, Work, functional, row

MIB4 = 4096 * 1024  # elements of the arrays that do not fit the caches
IMAGES = 64 * 64 * 28 * 28


def backward(lib: Any, f: Any, *inputs: Any) -> Work:
    """f's forward and backward, with a gradient that is not constant."""
    weight = lib.randn(tuple(f().shape))

    def work() -> None:
        for x in inputs:
            x.grad = None
        f().backward(weight)

    return work


# ---- matrix products ----


def numpy_matmul(n: int) -> Build:
    def build(np: Any) -> Work:
        a = np.random.default_rng(0).standard_normal((n, n), np.float32)
        return lambda: a @ a

    return build


for _n, _target in (
    (16, 2),
    (32, 2),
    (64, 1.5),
    (128, 1.1),
    (512, (1.02, 1.05)),
    (1024, (1.02, 1.05)),
    (2048, (1.02, 1.05)),
):

    def _matmul(lib: Any, n: int = _n) -> Work:
        a = lib.randn(n, n)
        return lambda: a @ a

    row(f"matmul {_n}", _target, product(_n, _n, _n), numpy=numpy_matmul(_n))(_matmul)


@row("matmul 512 a.T @ b", 1.05, product(512, 512, 512))
def matmul_transposed(lib: Any) -> Work:
    a, b = lib.randn(512, 512), lib.randn(512, 512)
    return lambda: a.t() @ b


@row("matmul tall 8192x64 by 64x64", 1.1, product(8192, 64, 64))
def matmul_tall(lib: Any) -> Work:
    a, b = lib.randn(8192, 64), lib.randn(64, 64)
    return lambda: a @ b


@row("bmm 96 of 64x32 by 32x64", 1.3, product(64, 64, 32, batch=96))
def bmm(lib: Any) -> Work:
    a, b = lib.randn(96, 64, 32), lib.randn(96, 32, 64)
    return lambda: lib.bmm(a, b)


@row("gemv 2048x2048", 1.1, product(2048, 1, 2048))
def gemv(lib: Any) -> Work:
    a, x = lib.randn(2048, 2048), lib.randn(2048)
    return lambda: a @ x


@row("float64 matmul 512", 1.2, product(512, 512, 512, double=True))
def matmul_double(lib: Any) -> Work:
    a = lib.randn(512, 512, dtype=lib.float64)
    return lambda: a @ a


# ---- elementwise ----


def numpy_unary(name: str, n: int) -> Build:
    def build(np: Any) -> Work:
        x = np.random.default_rng(0).random(n, np.float32)
        if name == "add":
            y = np.ones_like(x)
            return lambda: x + y
        return lambda: getattr(np, name)(x)

    return build


def jax_unary(name: str, n: int) -> Build:
    def build(jax: Any) -> Work:
        import jax.numpy as jnp

        x = jnp.asarray(jax.random.uniform(jax.random.key(0), (n,)))
        inputs = (x, jnp.ones_like(x)) if name == "add" else (x,)
        f = jax.jit(getattr(jnp, name))
        return lambda: f(*inputs).block_until_ready()

    return build


_ELEMENTWISE = [
    ("add", 10**6, 1), ("add", 10**7, 4), ("exp", 10**6, 3), ("exp", 10**7, 5), ("tanh", 10**6, 7),
    ("tanh", 10**7, 8), ("sigmoid", 10**6, (3, 2)), ("log1p", 10**6, (3, 2)), ("erf", 10**6, (3, 2)),
    ("sin", 10**6, (3, 2)),
]  # fmt: skip
for _name, _n, _target in _ELEMENTWISE:

    def _unary(lib: Any, name: str = _name, n: int = _n) -> Work:
        x = lib.rand(n)
        if name == "add":
            y = lib.ones(n)
            return lambda: x + y
        return lambda: getattr(lib, name)(x)

    _peers = _name in ("add", "exp", "tanh", "log1p", "sin")
    row(
        f"{_name} 1e{len(str(_n)) - 1}",
        _target,
        arrays(_n, 2 if _name == "add" else 1, 1),
        **({"numpy": numpy_unary(_name, _n), "jax": jax_unary(_name, _n)} if _peers else {}),
    )(_unary)


@row("where(x > 0, x, y) 1e6", 5, arrays(10**6, 2, 1))
def where(lib: Any) -> Work:
    x, y = lib.randn(10**6), lib.randn(10**6)
    return lambda: lib.where(x > 0, x, y)


@row("int64 to float32 1e6", 1, arrays(10**6, 2, 1))  # 8 bytes an element to read
def int64_to_float32(lib: Any) -> Work:
    x = lib.arange(10**6)
    return lambda: x.float()


@row("sum of 4096x1024 over columns", 1.5, arrays(MIB4, 1, 0))
def column_sum(lib: Any) -> Work:
    x = lib.randn(4096, 1024)
    return lambda: x.sum(0)


@row("broadcast add 4096x1024 + 1024", 1, arrays(MIB4, 1, 1))
def broadcast_add(lib: Any) -> Work:
    x, y = lib.randn(4096, 1024), lib.randn(1024)
    return lambda: x + y


@row("transpose copy 2048x2048", 3, arrays(2048**2, 1, 1))
def transpose_copy(lib: Any) -> Work:
    x = lib.randn(2048, 2048)
    return lambda: x.t().contiguous()


def jax_gelu(jax: Any) -> Work:
    import jax.numpy as jnp

    def gelu(x: Any) -> Any:
        return 0.5 * x * (1 + jnp.tanh(0.7978845608 * (x + 0.044715 * x * x * x)))

    def both(x: Any, gradient: Any) -> Any:
        y, pull = jax.vjp(gelu, x)
        return y, pull(gradient)

    x, gradient = (jax.random.normal(jax.random.key(i), (10**6,)) for i in range(2))
    step = jax.jit(both)
    return lambda: jax.block_until_ready(step(x, gradient))


# Forward reads x and writes y; backward reads x (or y) and the gradient, and writes that of x.
ACTIVATION = arrays(10**6, 3, 2)


@row("gelu by hand 1e6, forward and backward", (3, 5), ACTIVATION, jax=jax_gelu)
def gelu_by_hand(lib: Any) -> Work:
    x = lib.randn(10**6, requires_grad=True)
    return backward(lib, lambda: 0.5 * x * (1 + (0.7978845608 * (x + 0.044715 * x * x * x)).tanh()), x)


@row("F.gelu 1e6, forward and backward", 2.5, ACTIVATION)
def gelu(lib: Any) -> Work:
    x = lib.randn(10**6, requires_grad=True)
    return backward(lib, lambda: functional(lib).gelu(x), x)


# ---- layers ----


@row("softmax 4096x1024, forward and backward", (3, 1.7), arrays(MIB4, 3, 2))
def softmax(lib: Any) -> Work:
    x = lib.randn(4096, 1024, requires_grad=True)
    return backward(lib, lambda: lib.softmax(x, -1), x)


@row("softmax 1024x4096 over rows, forward and backward", 2.5, arrays(MIB4, 3, 2))
def softmax_over_rows(lib: Any) -> Work:
    x = lib.randn(1024, 4096, requires_grad=True)
    return backward(lib, lambda: lib.softmax(x, 0), x)


@row("layer_norm 4096x1024, forward and backward", 1.5, arrays(MIB4, 3, 2))
def layer_norm(lib: Any) -> Work:
    x = lib.randn(4096, 1024, requires_grad=True)
    w, b = lib.ones(1024, requires_grad=True), lib.zeros(1024, requires_grad=True)
    return backward(lib, lambda: functional(lib).layer_norm(x, (1024,), w, b), x, w, b)


@row("batch_norm 64x64x28x28, forward and backward", 2, arrays(IMAGES, 3, 2))
def batch_norm(lib: Any) -> Work:
    x = lib.randn(64, 64, 28, 28, requires_grad=True)
    layer = lib.nn.BatchNorm2d(64)
    return backward(lib, lambda: layer(x), x, *layer.parameters())


@row("cross_entropy 4096x1024, forward and backward", 2, arrays(MIB4, 2, 1))
def cross_entropy(lib: Any) -> Work:
    x = lib.randn(4096, 1024, requires_grad=True)
    target = lib.randint(0, 1024, (4096,))
    return backward(lib, lambda: functional(lib).cross_entropy(x, target), x)


# The gradient is of the whole table.
@row(
    "embedding 50,000x256, 4096 ids, forward and backward",
    2,
    arrays(4096 * 256, 2, 1) + arrays(50_000 * 256, 0, 1),
)
def embedding(lib: Any) -> Work:
    layer = lib.nn.Embedding(50_000, 256)
    ids = lib.randint(0, 50_000, (4096,))
    return backward(lib, lambda: layer(ids), layer.weight)


def convolution(lib: Any, shape: tuple[int, ...], *args: Any, **kwargs: Any) -> Work:
    x = lib.randn(*shape, requires_grad=True)
    layer = lib.nn.Conv2d(*args, **kwargs)
    return backward(lib, lambda: layer(x), x, *layer.parameters())


row("conv 3x3 16x64->64 28x28, forward and backward", 1.1, needs.convolution(16, 64, 64, 3, 28))(
    lambda lib: convolution(lib, (16, 64, 28, 28), 64, 64, 3, padding=1)
)
row("conv 1x1, forward and backward", 1.3, needs.convolution(16, 64, 64, 1, 28))(
    lambda lib: convolution(lib, (16, 64, 28, 28), 64, 64, 1)
)
row("conv 7x7 stride 2, forward and backward", 1.3, needs.convolution(4, 3, 64, 7, 112, stride=2))(
    lambda lib: convolution(lib, (4, 3, 112, 112), 3, 64, 7, stride=2, padding=3)
)
row("depthwise conv 3x3, forward and backward", 1.3, 64 * needs.convolution(16, 1, 1, 3, 28))(
    lambda lib: convolution(lib, (16, 64, 28, 28), 64, 64, 3, padding=1, groups=64)
)


# Half the side: a quarter of the elements.
@row(
    "max_pool2d 64x64x28x28, forward and backward",
    3,
    arrays(IMAGES, 1, 1) + arrays(IMAGES // 4, 1, 1),
)
def max_pool(lib: Any) -> Work:
    x = lib.randn(64, 64, 28, 28, requires_grad=True)
    return backward(lib, lambda: functional(lib).max_pool2d(x, 2), x)


def attention(lib: Any, *shape: int) -> Work:
    q, k, v = (lib.randn(*shape, requires_grad=True) for _ in range(3))
    return backward(
        lib, lambda: functional(lib).scaled_dot_product_attention(q, k, v, is_causal=True), q, k, v
    )


row("attention B4 H6 T256 D64 causal, forward and backward", 2.5, needs.attention(24, 256, 64))(
    lambda lib: attention(lib, 4, 6, 256, 64)
)
row("attention B1 H8 T2048 D64 causal, forward and backward", 1.3, needs.attention(8, 2048, 64))(
    lambda lib: attention(lib, 1, 8, 2048, 64)
)


# ---- order ----


@row("topk 10 of 4096x1024", 1)
def topk(lib: Any) -> Work:
    x = lib.randn(4096, 1024)
    return lambda: lib.topk(x, 10)


@row("topk 100 of 1e6", 3)
def topk_long(lib: Any) -> Work:
    x = lib.randn(10**6)
    return lambda: lib.topk(x, 100)


@row("sort 4096x1024", 3)
def sort_rows(lib: Any) -> Work:
    x = lib.randn(4096, 1024)
    return lambda: lib.sort(x)


@row("sort 1e6", 2.5)
def sort(lib: Any) -> Work:
    x = lib.randn(10**6)
    return lambda: lib.sort(x)


# ---- optimizers ----


def parameters(lib: Any) -> list[Any]:
    made = [lib.nn.Parameter(lib.randn(256, 256)) for _ in range(50)]
    for p in made:
        p.grad = lib.randn(256, 256)
    return made


WEIGHTS = 50 * 256 * 256


@row("AdamW step, 50 of 256x256", 2.2, needs.adam(WEIGHTS))
def adamw(lib: Any) -> Work:
    return lib.optim.AdamW(parameters(lib)).step


@row("SGD momentum step, 50 of 256x256", 1.2, arrays(WEIGHTS, 3, 2))
def sgd(lib: Any) -> Work:
    return lib.optim.SGD(parameters(lib), lr=0.01, momentum=0.9).step


# Clipped once, the gradients stay below the norm: what is needed is to read them.
@row("clip_grad_norm_, 50 of 256x256", 1.2, arrays(WEIGHTS, 1, 0))
def clip(lib: Any) -> Work:
    made = parameters(lib)
    return lambda: lib.nn.utils.clip_grad_norm_(made, 1.0)
