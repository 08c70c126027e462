"""Random programs of views, in-place operations and assignments compute and differentiate as on PyTorch."""

import random

import numpy as np
import pytest

from lib import array, cr

torch = pytest.importorskip("torch")


def view(rng, t, others):
    if not t.ndim:
        return [t]
    d = rng.randrange(t.ndim)
    choices = [
        lambda: t.transpose(0, -1),
        lambda: t.unsqueeze(d),
        lambda: t.reshape(-1),
        lambda: t[..., ::2],
        lambda: t.narrow(d, 0, (t.shape[d] + 1) // 2),
        lambda: t.select(d, -1) if t.shape[d] else t,
        lambda: t.unsqueeze(0).expand(2, *t.shape)[0],
    ]
    return [rng.choice(choices)()]


def write(rng, t, others):
    other = rng.choice(others)
    choices = [
        lambda: t.mul_(1.5),
        lambda: t.add_(t.detach() * 0.1),
        lambda: t.tanh_(),
        lambda: t.sin_(),
        lambda: t.mul_(other) if t.shape == other.shape and t is not other else t.cos_(),
        lambda: t.square_().mul_(0.3),
        lambda: t.sigmoid_(),
        lambda: t.clamp_(-1, 1),
        lambda: t.zero_(),
        lambda: t.add_(other.mean()),
        lambda: t.mul_(other.sum().tanh()),
        lambda: t.masked_fill_(t.detach() > 0.5, -0.2),
        lambda: t.copy_(other) if t.shape == other.shape and t is not other else t.fill_(0.3),
    ]
    rng.choice(choices)()
    return []


def assign(rng, t, others):
    value = rng.choice(others).mean()
    if rng.random() < 0.5:
        t[..., :1] = value
    else:
        t[t.detach() < 0] = 0.3
    return []


def compute(rng, t, others):
    other = rng.choice(others)
    choices = [
        lambda: t * other if t.shape == other.shape else t * 2,
        lambda: t.sin() * t,
        lambda: (t * t).sum(),
    ]
    return [rng.choice(choices)()]


def without_graph(rng, t, others):
    return [t.detach() * 2]


def run(lib, seed):
    """Values of everything, gradients of both leaves and sometimes those of the gradients; or the error."""
    rng, numbers = random.Random(seed), np.random.default_rng(seed)
    leaves = [lib.from_numpy(numbers.normal(size=(4, 6))).requires_grad_() for _ in range(2)]
    tensors = [leaf * 1 for leaf in leaves]
    try:
        for _ in range(rng.randint(2, 8)):
            step = rng.choice(
                [view, view, view, write, write, write, assign, compute, compute, without_graph]
            )
            t = rng.choice(tensors)
            if t.ndim or step is not assign:
                tensors += step(rng, t, tensors)
        loss = sum((t * t).sum() for t in tensors)
        twice = rng.random() < 0.3
        grads = list(lib.autograd.grad(loss, leaves, allow_unused=True, create_graph=twice))
        slopes = [g for g in grads if g is not None and g.requires_grad]
        if twice and slopes:
            grads += lib.autograd.grad(sum((g * g).sum() for g in slopes), leaves, allow_unused=True)
    except RuntimeError as error:
        return error
    return [array(t) for t in tensors], [
        np.zeros((4, 6)) if g is None else array(g.detach().clone()) for g in grads
    ]


@pytest.mark.parametrize("start", range(0, 2000, 250))
def test_random_programs(start):
    compared = 0
    for seed in range(start, start + 250):
        ours, theirs = run(cr, seed), run(torch, seed)
        if isinstance(theirs, RuntimeError):
            # A saved tensor was overwritten: both say so. PyTorch also refuses some writes into views that work here.
            assert isinstance(ours, RuntimeError) == ("modified by an inplace" in str(theirs)), (seed, ours)
            continue
        assert not isinstance(ours, RuntimeError), (seed, ours)
        for got, want in zip(ours[0] + ours[1], theirs[0] + theirs[1], strict=True):
            np.testing.assert_allclose(got, want, rtol=1e-7, atol=1e-9, err_msg=f"program {seed}")
        compared += 1
    assert compared > 100
