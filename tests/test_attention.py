"""Attention at sizes that span the blocks of its kernels, its gradients by formula, and where its results lie."""

import numpy as np
import pytest

from lib import array, cr, tensor

attention = cr.nn.functional.scaled_dot_product_attention


def gradients(q, k, v, g, seen):
    """Result and gradients for (heads, rows, width), written out."""
    scores = np.where(seen, q @ k.swapaxes(1, 2) / np.sqrt(q.shape[2]), -np.inf)
    p = np.exp(scores - scores.max(2, keepdims=True))
    p /= p.sum(2, keepdims=True)
    ds = p * (g @ v.swapaxes(1, 2) - (g * (p @ v)).sum(2, keepdims=True)) / np.sqrt(q.shape[2])
    return p @ v, ds @ k, ds.swapaxes(1, 2) @ q, p.swapaxes(1, 2) @ g


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("rows,keys", [(13, 600), (600, 13), (97, 289), (700, 650)])
@pytest.mark.parametrize("masked", [False, True])
def test_blocks(rows, keys, causal, masked):
    if causal and masked:
        pytest.skip("one or the other")
    random = np.random.default_rng(0)
    q, k, v, g = (
        random.standard_normal((1, 2, n, d)) for n, d in ((rows, 7), (keys, 7), (keys, 5), (rows, 5))
    )
    seen = np.tril(np.ones((rows, keys), bool)) if causal else np.ones((rows, keys), bool)
    if masked:
        seen = random.random((rows, keys)) < 0.5
    inputs = [tensor(x, requires_grad=True) for x in (q, k, v)]
    y = attention(*inputs, attn_mask=tensor(seen) if masked else None, is_causal=causal)
    y.backward(tensor(g))
    for got, want in zip(
        [y, *(x.grad for x in inputs)], gradients(q[0], k[0], v[0], g[0], seen), strict=True
    ):
        np.testing.assert_allclose(array(got)[0], want, rtol=1e-11, atol=1e-12)


def test_heads_beside_each_other():
    """Heads that are views of a projection: so are those of the result and of the gradients, and nothing is copied."""
    projected = tensor(np.random.default_rng(0).standard_normal((2, 6, 3 * 4 * 8)), requires_grad=True)
    q, k, v = (part.view(2, 6, 4, 8).transpose(1, 2) for part in projected.split(32, dim=2))
    y = attention(q, k, v, is_causal=True)
    assert y.transpose(1, 2).is_contiguous()
    parts = cr.autograd.grad(y.square().sum(), (q, k, v), retain_graph=True)
    for i, part in enumerate(parts):
        assert part.stride() == q.stride()
        assert part.data_ptr() - parts[0].data_ptr() == i * 32 * part.element_size()
    held = []
    q.register_hook(held.append)
    y.square().sum().backward()
    joined = array(projected.grad).copy()
    projected.grad.zero_()  # not the memory of the parts that somebody holds
    np.testing.assert_array_equal(array(held[0]), array(parts[0]))
    apart = [x.detach().contiguous().requires_grad_() for x in (q, k, v)]
    attention(*apart, is_causal=True).square().sum().backward()
    want = np.concatenate([array(x.grad).swapaxes(1, 2).reshape(2, 6, 32) for x in apart], axis=2)
    np.testing.assert_array_equal(joined, want)


def test_one_part_without_a_gradient():
    projected = tensor(np.random.default_rng(0).standard_normal((2, 6, 128)), requires_grad=True)
    *heads, _ = (part.view(2, 6, 4, 8).transpose(1, 2) for part in projected.split(32, dim=2))
    attention(*heads).square().sum().backward()
    assert (array(projected.grad)[..., 96:] == 0).all()
    apart = [x.detach().contiguous().requires_grad_() for x in heads]
    attention(*apart).square().sum().backward()
    for i, x in enumerate(apart):
        np.testing.assert_array_equal(
            array(projected.grad)[..., 32 * i : 32 * (i + 1)], array(x.grad).swapaxes(1, 2).reshape(2, 6, 32)
        )
