"""What work needs of the machine, whoever does it: the numerator of a limit."""

from __future__ import annotations

import dataclasses
import itertools


@dataclasses.dataclass(frozen=True)
class Needs:
    """Arithmetic operations (a multiply-add is two), and the bytes that have to be read and written even if everything
    between were kept in registers."""

    flops: float = 0
    read: float = 0
    written: float = 0
    double: bool = False

    def __add__(self, other: Needs) -> Needs:
        sums = (getattr(self, f) + getattr(other, f) for f in ("flops", "read", "written"))
        return Needs(*sums, double=self.double)

    def __rmul__(self, times: float) -> Needs:
        return Needs(times * self.flops, times * self.read, times * self.written, self.double)


def arrays(elements: int, read: int, written: int) -> Needs:
    """That many passes over arrays of float32."""
    return Needs(read=4 * elements * read, written=4 * elements * written)


def product(m: int, n: int, k: int, batch: int = 1, double: bool = False) -> Needs:
    """m x k by k x n."""
    size = (8 if double else 4) * batch
    return Needs(2 * m * n * k * batch, size * (m * k + k * n), size * m * n, double)


def attention(batch_heads: int, tokens: int, width: int) -> Needs:
    """Causal, forward and backward: two products and five, of which half is masked; scores are computed again
    rather than kept, as they grow with the square of the tokens."""
    flops = 7 * 2 * batch_heads * tokens * tokens * width / 2
    return Needs(flops) + arrays(batch_heads * tokens * width, 3 + 5, 1 + 3)


def convolution(images: int, inputs: int, outputs: int, kernel: int, size: int, stride: int = 1) -> Needs:
    """Forward and backward in image and weights, computed directly; `size` is that of the square input, padded
    so that only the stride makes it smaller. `inputs` are those that one output sees."""
    side = size // stride
    flops = 3 * 2 * images * outputs * side**2 * inputs * kernel**2
    image, result = 4 * images * inputs * size**2, 4 * images * outputs * side**2
    return Needs(flops, read=2 * image + result, written=result + image)


def adam(parameters: int) -> Needs:
    """Reads parameter, gradient and two moments; writes all but the gradient."""
    return arrays(parameters, 4, 3)


def mlp_step(sizes: tuple[int, ...], batch: int) -> Needs:
    """A training step with Adam. Nothing asks for the gradient of the first layer's input."""
    layers = list(itertools.pairwise(sizes))
    weights = sum(a * b for a, b in layers)
    flops = 2 * batch * (3 * weights - layers[0][0] * layers[0][1])
    return Needs(flops) + adam(weights + sum(sizes[1:]))


def gpt_step(width: int, layers: int, heads: int, vocabulary: int, batch: int, context: int) -> Needs:
    """A training step of a GPT with AdamW: the products of every token, and attention."""
    tokens, weights = batch * context, layers * 12 * width**2 + vocabulary * width
    attended = attention(batch * heads, context, width // heads)
    return Needs(3 * 2 * tokens * weights + layers * attended.flops) + adam(weights + context * width)
