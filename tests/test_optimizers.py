"""Optimizers, schedules, clipping and initialisers against their formulas."""

import copy
import re

import numpy as np
import pytest

import reference as ref
from lib import NAME, array, cr, tensor
from registry.optimizers import CONSTANT, NORMAL, OPTIMIZERS, SCHEDULERS, SHAPES, UNIFORM

SIZES = [(3, 4), (5,), (), (300, 41)]
STEPS = 6


def cases(table):
    # Without a function's address, so that a test has the same name in every process.
    return [
        pytest.param(name, options, id=re.sub(" at 0x[0-9a-f]+", "", f"{name}-{options}"))
        for name, (_, each) in table.items()
        for options in each
    ]


def numbers(seed, scale=1.0):
    rng = np.random.default_rng(seed)
    return [scale * rng.normal(size=shape) for shape in SIZES]


@pytest.mark.parametrize("dtype, rtol", [("float64", 1e-12), ("float32", 1e-5)])
@pytest.mark.parametrize("name, options", cases(OPTIMIZERS))
def test_steps(name, options, dtype, rtol):
    """Several steps with gradients that change; one parameter has none at first."""
    reference, state = OPTIMIZERS[name][0], [{} for _ in SIZES]
    want = [p.astype(dtype).astype(np.float64) for p in numbers(0)]
    params = [tensor(p.astype(dtype), requires_grad=True) for p in numbers(0)]
    optimizer = getattr(cr.optim, name)(params, **options)
    for step in range(STEPS):
        for i, g in enumerate(numbers(step + 1)):
            if step == 0 and i == 1:
                continue
            params[i].grad = tensor(np.asarray(g, dtype))
            want[i] = reference(want[i], np.asarray(g, dtype).astype(np.float64), state[i], **options)
        optimizer.step()
    for got, expected in zip(params, want, strict=True):
        np.testing.assert_allclose(array(got), expected, rtol=rtol, atol=rtol)


@pytest.mark.parametrize("name, options", cases(OPTIMIZERS))
def test_state_continues(name, options):
    """A state saved and loaded into a new optimizer goes on as the first would have."""

    def advance(optimizer, params, steps):
        for step in steps:
            for p, g in zip(params, numbers(step), strict=True):
                p.grad = tensor(g)
            optimizer.step()

    first = [tensor(p, requires_grad=True) for p in numbers(0)]
    one = getattr(cr.optim, name)(first, **options)
    advance(one, first, range(3))
    second = [p.detach().clone().requires_grad_() for p in first]
    two = getattr(cr.optim, name)(second, lr=99.0)
    two.load_state_dict(copy.deepcopy(one.state_dict()))
    advance(one, first, range(3, 6))
    advance(two, second, range(3, 6))
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(array(a), array(b))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_groups_and_closure(name):
    """Each group has its own options; a closure is called once and its loss returned."""
    a, b = (tensor(np.ones(3), requires_grad=True) for _ in range(2))
    optimizer = getattr(cr.optim, name)([{"params": [a], "lr": 0.5}, {"params": [b]}], lr=0.0)
    calls = []

    def closure():
        calls.append(1)
        optimizer.zero_grad()
        loss = (a * a).sum() + (b * b).sum()
        loss.backward()
        return loss

    assert float(optimizer.step(closure)) == 6 and len(calls) == 1
    assert (array(a) != 1).all() and (array(b) == 1).all()
    optimizer.zero_grad()
    assert a.grad is None


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("options", [{"lr": -1.0}, {"lr": 0.1, "weight_decay": -1.0}], ids=str)
def test_bad_options(name, options):
    with pytest.raises(ValueError):
        getattr(cr.optim, name)([cr.zeros(1, requires_grad=True)], **options)
    with pytest.raises(ValueError):
        getattr(cr.optim, name)([])


@pytest.mark.parametrize("name, options", cases(SCHEDULERS))
def test_schedule(name, options):
    formula = SCHEDULERS[name][0]
    optimizer = cr.optim.SGD([cr.zeros(1, requires_grad=True)], lr=0.4)
    scheduler = getattr(cr.optim.lr_scheduler, name)(optimizer, **options)
    for epoch in range(12):
        if name != "CosineAnnealingLR" or epoch <= options["T_max"]:
            assert optimizer.param_groups[0]["lr"] == pytest.approx(
                formula(0.4, epoch, **options), rel=1e-9, abs=1e-12
            )
            assert scheduler.get_last_lr() == [optimizer.param_groups[0]["lr"]]
        optimizer.step()
        scheduler.step()


@pytest.mark.parametrize("norm_type", [1.0, 2.0, 3.0, float("inf")])
@pytest.mark.parametrize("max_norm", [0.5, 1e6])
def test_clip_grad_norm(norm_type, max_norm):
    grads = numbers(3)
    params = [cr.zeros(shape, dtype=cr.float64, requires_grad=True) for shape in SIZES]
    for p, g in zip(params, grads, strict=True):
        p.grad = tensor(g)
    got = cr.nn.utils.clip_grad_norm_(params, max_norm, norm_type)
    total, clipped = ref.optim.clip_grad_norm(grads, max_norm, norm_type)
    np.testing.assert_allclose(float(got), total, rtol=1e-12)
    for p, g in zip(params, clipped, strict=True):
        np.testing.assert_allclose(array(p.grad), g, rtol=1e-10)


def test_clip_grad_norm_refuses_nan():
    p = cr.zeros(2, requires_grad=True)
    p.grad = cr.tensor([1.0, float("nan")])
    with pytest.raises(RuntimeError, match="non-finite"):
        cr.nn.utils.clip_grad_norm_([p], 1.0, error_if_nonfinite=True)
    assert float(p.grad[0]) == 1


def with_gradients(sizes, dtype):
    """Parameters of those numbers of elements, every third gradient not contiguous."""
    rng = np.random.default_rng(2)
    params = []
    for i, n in enumerate(sizes):
        g = rng.normal(size=2 * n).astype(dtype)
        params.append(cr.zeros(n, dtype=getattr(cr, dtype), requires_grad=True))
        params[-1].grad = tensor(g)[::2] if i % 3 == 2 else tensor(g[:n])
    return params


# Around the blocks that a sum is made of, and more small ones than fit a task.
MANY = [[0, 1, 32_767, 32_768, 32_769, 65_537, 300_001], [7] * 300, [0], [100_000]]


@pytest.mark.parametrize("dtype, rtol", [("float64", 1e-12), ("float32", 1e-5)])
@pytest.mark.parametrize("sizes", MANY, ids=lambda s: f"{len(s)} of {max(s)}")
def test_clipping_many(sizes, dtype, rtol):
    """All gradients in one call, the same at any number of threads."""
    before, found = cr.get_num_threads(), []
    try:
        for threads in (1, 2, 3, 8):
            cr.set_num_threads(threads)
            params = with_gradients(sizes, dtype)
            grads = [array(p.grad).copy() for p in params]
            got = [array(cr.nn.utils.clip_grad_norm_(params, 1.5)), *(array(p.grad).copy() for p in params)]
            total, clipped = ref.optim.clip_grad_norm([g.astype(np.float64) for g in grads], 1.5)
            np.testing.assert_allclose(got[0], total, rtol=rtol)
            for g, want in zip(got[1:], clipped, strict=True):
                np.testing.assert_allclose(g, want, rtol=2 * rtol)
            cr.nn.utils.clip_grad_value_(params, 1e-3)
            for p, want in zip(
                params, ref.optim.clip_grad_value(got[1:], np.dtype(dtype).type(1e-3)), strict=True
            ):
                np.testing.assert_array_equal(array(p.grad), want)
            found.append(b"".join(g.tobytes() for g in got))
    finally:
        cr.set_num_threads(before)
    if NAME == "chainrule":
        assert len(set(found)) == 1


def test_clipping_takes_both_precisions_and_skips_what_has_no_gradient():
    params = [cr.zeros(3, requires_grad=True), cr.zeros(2), cr.zeros(2, dtype=cr.float64, requires_grad=True)]
    params[0].grad, params[2].grad = cr.full((3,), 2.0), cr.full((2,), -1.0, dtype=cr.float64)
    assert float(cr.nn.utils.clip_grad_norm_(iter(params), 7.0)) == pytest.approx(14**0.5)
    assert float(cr.nn.utils.clip_grad_norm_(params[0], 1.0)) == pytest.approx(12**0.5)
    np.testing.assert_allclose(array(params[0].grad), 1 / 3**0.5, rtol=1e-6)
    assert array(params[2].grad).tolist() == [-1, -1] and params[1].grad is None


@pytest.mark.parametrize("sizes", MANY, ids=lambda s: f"{len(s)} of {max(s)}")
def test_zero_grad_keeps_the_tensors(sizes):
    params = [*with_gradients(sizes, "float32"), cr.zeros(1, requires_grad=True)]
    grads = [p.grad for p in params[:-1]]
    for g in grads:
        g[:1] = float("nan")
    versions = [g._version for g in grads]
    cr.optim.SGD(params, lr=0.1).zero_grad(set_to_none=False)
    assert all(p.grad is g and not g.any() for p, g in zip(params, grads))
    assert params[-1].grad is None
    assert all(g._version > v for g, v in zip(grads, versions, strict=True))


def test_zero_grad_takes_gradients_out_of_their_graph():
    p = cr.ones(2, requires_grad=True)
    (p * p).sum().backward(create_graph=True)
    grad = p.grad
    assert grad.requires_grad
    cr.optim.SGD([p], lr=0.1).zero_grad(set_to_none=False)
    assert p.grad is grad and not grad.requires_grad and grad.grad_fn is None and not grad.any()


def test_clip_grad_value():
    p = cr.zeros(4, dtype=cr.float64, requires_grad=True)
    p.grad = cr.tensor([-3.0, -0.5, 0.5, 3.0], dtype=cr.float64)
    want = ref.optim.clip_grad_value([array(p.grad).copy()], 1.0)[0]
    cr.nn.utils.clip_grad_value_([p], 1.0)
    np.testing.assert_array_equal(array(p.grad), want)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name, options", cases(UNIFORM))
def test_uniform_initialiser(name, options, shape):
    bound = UNIFORM[name][0](shape, **options)
    drawn = array(getattr(cr.nn.init, name)(cr.empty(shape), **options))
    assert np.abs(drawn).max() <= bound * (1 + 1e-6) and np.abs(drawn).max() > 0.99 * bound
    assert drawn.std() == pytest.approx(bound / np.sqrt(3), rel=0.05)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name, options", cases(NORMAL))
def test_normal_initialiser(name, options, shape):
    deviation = NORMAL[name][0](shape, **options)
    drawn = array(getattr(cr.nn.init, name)(cr.empty(shape), **options))
    assert drawn.std() == pytest.approx(deviation, rel=0.05) and abs(drawn.mean()) < 0.1 * deviation


def test_truncated_normal():
    drawn = array(cr.nn.init.trunc_normal_(cr.empty(100, 100), mean=1.0, std=0.5, a=0.5, b=2.0))
    assert drawn.min() >= 0.5 and drawn.max() <= 2.0 and 1.0 < drawn.mean() < 1.3


@pytest.mark.parametrize("name", CONSTANT)
def test_constant_initialiser(name):
    options, value = CONSTANT[name]
    t = cr.empty(3, 4)
    assert getattr(cr.nn.init, name)(t, **options) is t
    assert (array(t) == np.float32(value)).all()


@pytest.mark.parametrize("nonlinearity", [*ref.init.GAINS, "leaky_relu"])
def test_gain(nonlinearity):
    assert cr.nn.init.calculate_gain(nonlinearity) == pytest.approx(ref.init.calculate_gain(nonlinearity))
    assert cr.nn.init.calculate_gain("leaky_relu", 0.3) == pytest.approx(
        ref.init.calculate_gain("leaky_relu", 0.3)
    )


def test_initialisers_refuse():
    with pytest.raises(ValueError):
        cr.nn.init.xavier_uniform_(cr.empty(3))
    with pytest.raises(ValueError):
        cr.nn.init.kaiming_normal_(cr.empty(3, 3), mode="fan_sideways")
