"""Optimizers and schedulers: against the reference, side by side with torch, and Optimizer's promises."""

import copy
import pickle

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim

OPTIONS = {
    "SGD": [
        {"lr": 0.1},
        {"lr": 0.1, "momentum": 0.9},
        {"lr": 0.1, "momentum": 0.9, "dampening": 0.3, "weight_decay": 0.1},
        {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01},
        {"lr": 0.1, "momentum": 0.5, "maximize": True},
    ],
    "Adam": [
        {},
        {"lr": 0.05, "betas": (0.8, 0.9), "eps": 1e-4},
        {"lr": 0.05, "weight_decay": 0.1, "amsgrad": True},
        {"lr": 0.05, "maximize": True},
    ],
    "AdamW": [{}, {"lr": 0.05, "weight_decay": 0.3, "amsgrad": True}, {"lr": 0.05, "maximize": True}],
}
CASES = [
    pytest.param(name, options, id=f"{name}-{i}")
    for name, listed in OPTIONS.items()
    for i, options in enumerate(listed)
]
SHAPES = [(3, 4), (5,), (), (33, 7)]


def numbers(shape, seed):
    return np.random.default_rng(seed).standard_normal(shape)


def value(t):
    return t.detach().numpy()


def parameters(library, dtype="float32"):
    """One of each shape, with the same numbers in either library."""
    dtype = getattr(library, dtype)
    return [library.nn.Parameter(library.tensor(numbers(s, i), dtype=dtype)) for i, s in enumerate(SHAPES)]


def set_gradients(library, ps, step):
    for i, p in enumerate(ps):
        p.grad = library.tensor(numbers(tuple(p.shape), 100 * step + i), dtype=p.dtype)


def test_every_optimizer_and_scheduler_has_a_row():
    assert set(optim.__all__) - {"Optimizer", "lr_scheduler"} == set(OPTIONS)
    assert set(optim.lr_scheduler.__all__) - {"LRScheduler"} == set(SCHEDULES)


@pytest.mark.parametrize(("name", "options"), CASES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_five_steps_side_by_side_with_torch(name, options, dtype, torch):
    ours, theirs = parameters(cr, dtype), parameters(torch, dtype)
    a = getattr(optim, name)(ours, **options)
    b = getattr(torch.optim, name)(theirs, **options)
    assert repr(a) == repr(b)
    for step in range(5):
        set_gradients(cr, ours, step)
        set_gradients(torch, theirs, step)
        a.step()
        b.step()
    tolerance = 1e-5 if dtype == "float32" else 1e-12
    for p, q in zip(ours, theirs):
        np.testing.assert_allclose(value(p), value(q), rtol=tolerance, atol=tolerance)
    s, t = a.state_dict(), b.state_dict()
    assert s["param_groups"] == t["param_groups"]
    assert list(s["state"]) == list(t["state"])
    for i in s["state"]:
        assert set(s["state"][i]) == {k for k, v in t["state"][i].items() if v is not None}


def test_groups_with_options_of_their_own():
    a, b = nn.Parameter(cr.ones(2)), nn.Parameter(cr.ones(2))
    optimizer = optim.SGD([{"params": [a]}, {"params": b, "lr": 1.0}], lr=0.5)
    a.grad, b.grad = cr.ones(2), cr.ones(2)
    optimizer.step()
    assert value(a).tolist() == [0.5, 0.5] and value(b).tolist() == [0, 0]
    c = nn.Parameter(cr.ones(1))
    optimizer.add_param_group({"params": [c], "lr": 2.0})
    assert [g["lr"] for g in optimizer.param_groups] == [0.5, 1.0, 2.0]
    c.grad = cr.ones(1)
    optimizer.step()
    assert c.item() == -1
    assert optimizer.state_dict()["param_groups"][2]["params"] == [2]


def test_zero_grad():
    p = nn.Parameter(cr.ones(2))
    optimizer = optim.SGD([p], lr=0.1)
    (p * 2).sum().backward()
    grad = p.grad
    optimizer.zero_grad(set_to_none=False)
    assert p.grad is grad and value(grad).tolist() == [0, 0]
    optimizer.zero_grad()
    assert p.grad is None
    optimizer.step()  # nothing to do
    assert value(p).tolist() == [1, 1]


@pytest.mark.parametrize("name", OPTIONS)
def test_closure(name):
    p = nn.Parameter(cr.tensor([4.0]))
    optimizer = getattr(optim, name)([p], lr=0.1)

    def closure():
        optimizer.zero_grad()
        loss = (p * p).sum()
        loss.backward()
        return loss

    with cr.no_grad():  # The closure records all the same.
        assert optimizer.step(closure).item() == 16
    assert p.item() < 4


@pytest.mark.parametrize(("name", "options"), CASES)
def test_a_loaded_state_goes_on_as_before(name, options):
    whole, half = parameters(cr), parameters(cr)
    a, b = getattr(optim, name)(whole, **options), getattr(optim, name)(half, **options)
    run(a, whole, range(6))
    run(b, half, range(3))
    saved = copy.deepcopy(b.state_dict())
    b.step()  # The saved state is a copy now, so this does not reach it.
    again = parameters(cr)
    run(getattr(optim, name)(again, **options), again, range(3))
    fresh = getattr(optim, name)(again, lr=123.0)
    fresh.load_state_dict(saved)
    run(fresh, again, range(3, 6))
    for p, q in zip(whole, again):
        np.testing.assert_array_equal(value(p), value(q))


def run(optimizer, ps, steps):
    for step in steps:
        set_gradients(cr, ps, step)
        optimizer.step()


def test_load_state_dict_refuses_what_does_not_fit_and_stays_as_it_was():
    ps = parameters(cr)
    optimizer = optim.Adam(ps, lr=0.25)
    set_gradients(cr, ps, 0)
    optimizer.step()
    good = copy.deepcopy(optimizer.state_dict())
    for spoil, says in (
        (lambda s: s["param_groups"].append({"params": []}), "different number of parameter groups"),
        (lambda s: s["param_groups"][0]["params"].pop(), "doesn't match the size"),
        (lambda s: s["state"][1].update(exp_avg=cr.ones(2, 2)), "'exp_avg' of shape"),
        (lambda s: s["param_groups"][0].update(lr=-1.0), "Invalid learning rate: -1.0"),
    ):
        bad = copy.deepcopy(good)
        spoil(bad)
        with pytest.raises(ValueError, match=says):
            optimizer.load_state_dict(bad)
        now = optimizer.state_dict()
        assert now["param_groups"] == good["param_groups"]
        np.testing.assert_array_equal(value(now["state"][1]["exp_avg"]), value(good["state"][1]["exp_avg"]))


def test_a_state_of_torch_can_be_loaded(torch):
    ours, theirs = parameters(cr), parameters(torch)
    a, b = optim.Adam(ours), torch.optim.Adam(theirs)
    for step in range(2):
        set_gradients(torch, theirs, step)
        b.step()
    state = b.state_dict()
    state["state"] = {
        i: {name: cr.tensor(t.numpy()) for name, t in values.items() if t is not None}
        for i, values in state["state"].items()
    }
    a.load_state_dict(state)
    for p, q in zip(ours, theirs):
        p.requires_grad_(False).copy_(cr.tensor(value(q)))
        p.requires_grad_(True)
    set_gradients(cr, ours, 2)
    set_gradients(torch, theirs, 2)
    a.step()
    b.step()
    for p, q in zip(ours, theirs):
        np.testing.assert_allclose(value(p), value(q), rtol=1e-5, atol=1e-6)


def test_an_optimizer_can_be_pickled_and_copied():
    ps = parameters(cr)
    optimizer = optim.SGD(ps, lr=0.1, momentum=0.9)
    set_gradients(cr, ps, 0)
    optimizer.step()
    for twin in (pickle.loads(pickle.dumps(optimizer)), copy.deepcopy(optimizer)):
        mine = twin.param_groups[0]["params"]
        set_gradients(cr, mine, 1)
        twin.step()
        assert all((value(p) != value(q)).any() for p, q in zip(ps, mine))


@pytest.mark.parametrize(
    ("make", "error", "says"),
    [
        (lambda p: optim.SGD([], lr=0.1), ValueError, "empty parameter list"),
        (lambda p: optim.SGD(p, lr=0.1), TypeError, "iterable of Tensors or dicts"),
        (lambda p: optim.SGD([3], lr=0.1), TypeError, "can only optimize Tensors"),
        (lambda p: optim.SGD([p * 2], lr=0.1), ValueError, "non-leaf"),
        (lambda p: optim.SGD([p, p], lr=0.1), ValueError, "duplicate parameters"),
        (
            lambda p: optim.SGD([{"params": [p]}, {"params": [p]}]),
            ValueError,
            "more than one parameter group",
        ),
        (lambda p: optim.SGD([{"params": {p}}]), TypeError, "ordered collections"),
        (lambda p: optim.SGD([p], lr=-0.1), ValueError, "Invalid learning rate: -0.1"),
        (lambda p: optim.SGD([p], lr=float("nan")), ValueError, "Invalid learning rate: nan"),
        (lambda p: optim.SGD([p], momentum=-1), ValueError, "Invalid momentum value: -1"),
        (lambda p: optim.SGD([p], weight_decay=-1), ValueError, "Invalid weight_decay value: -1"),
        (lambda p: optim.SGD([p], nesterov=True), ValueError, "Nesterov momentum requires"),
        (lambda p: optim.Adam([p], lr=-1), ValueError, "Invalid learning rate: -1"),
        (lambda p: optim.Adam([p], eps=-1), ValueError, "Invalid epsilon value: -1"),
        (lambda p: optim.Adam([p], betas=(1.0, 0.9)), ValueError, "Invalid beta parameter at index 0: 1.0"),
        (
            lambda p: optim.AdamW([p], betas=(0.9, -0.1)),
            ValueError,
            "Invalid beta parameter at index 1: -0.1",
        ),
        (lambda p: optim.Adam([{"params": [p], "lr": -2.0}]), ValueError, "Invalid learning rate: -2.0"),
        (lambda p: optim.Adam([p], differentiable=True), ValueError, "differentiable=True is not supported"),
        (lambda p: optim.Adam([p], capturable=True), ValueError, "capturable=True is not supported"),
        (lambda p: optim.Optimizer([p], {}).step(), NotImplementedError, "has no step"),
    ],
)
def test_bad_arguments(make, error, says):
    with pytest.raises(error, match=says):
        make(nn.Parameter(cr.ones(2)))


def test_a_step_leaves_no_trace_in_the_graph():
    p = nn.Parameter(cr.ones(2))
    optimizer = optim.Adam([p])
    y = p * 2
    y.sum().backward(retain_graph=True)
    optimizer.step()
    assert p.is_leaf and p.grad_fn is None
    z = (p * p).sum()
    optimizer.step()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        z.backward()


# Schedulers

SCHEDULES = {
    "StepLR": [((3,), {}), ((2, 0.5), {})],
    "CosineAnnealingLR": [((10,), {"eta_min": 0.01})],
    "LambdaLR": [((lambda epoch: 0.9**epoch,), {})],
}
SCHEDULE_CASES = [
    pytest.param(name, args, kwargs, id=f"{name}-{i}")
    for name, listed in SCHEDULES.items()
    for i, (args, kwargs) in enumerate(listed)
]


def groups(library):
    return library.optim.SGD(
        [
            {"params": [library.nn.Parameter(library.ones(1))]},
            {"params": [library.nn.Parameter(library.ones(1))], "lr": 2.0},
        ],
        lr=0.5,
    )


@pytest.mark.parametrize(("name", "args", "kwargs"), SCHEDULE_CASES)
def test_schedule_side_by_side_with_torch(name, args, kwargs, torch):
    """The same bits, also when two act on one optimizer and when a third goes on from a saved epoch."""

    def run(library):
        optimizer = groups(library)
        schedule = getattr(library.optim.lr_scheduler, name)(optimizer, *args, **kwargs)
        other = library.optim.lr_scheduler.StepLR(optimizer, 4, 0.7)
        seen = []
        for _ in range(12):
            optimizer.step()
            schedule.step()
            other.step()
            seen.append(schedule.get_last_lr() + other.get_last_lr())
        resumed = getattr(library.optim.lr_scheduler, name)(optimizer, *args, **kwargs, last_epoch=5)
        for _ in range(12):
            optimizer.step()
            resumed.step()
            seen.append(resumed.get_last_lr())
        return seen

    assert run(cr) == run(torch)


@pytest.mark.parametrize(("name", "args", "kwargs"), SCHEDULE_CASES)
def test_scheduler_state(name, args, kwargs):
    def fresh():
        optimizer = groups(cr)
        return optimizer, getattr(optim.lr_scheduler, name)(optimizer, *args, **kwargs)

    optimizer, scheduler = fresh()
    for _ in range(5):
        optimizer.step()
        scheduler.step()
    state, weights = scheduler.state_dict(), optimizer.state_dict()
    assert "optimizer" not in state and state["last_epoch"] == 5
    again_optimizer, again = fresh()
    again_optimizer.load_state_dict(weights)
    again.load_state_dict(state)
    for _ in range(5):
        optimizer.step()
        again_optimizer.step()
        scheduler.step()
        again.step()
        assert scheduler.get_last_lr() == again.get_last_lr()


def test_lambda_lr_saves_callable_objects_and_takes_one_for_each_group():
    class Decay:
        def __init__(self, rate):
            self.rate = rate

        def __call__(self, epoch):
            return self.rate**epoch

    scheduler = optim.lr_scheduler.LambdaLR(groups(cr), [Decay(0.5), lambda epoch: 1.0])
    state = scheduler.state_dict()
    assert state["lr_lambdas"] == [{"rate": 0.5}, None]
    other = optim.lr_scheduler.LambdaLR(groups(cr), [Decay(0.1), lambda epoch: 2.0])
    other.load_state_dict(state)
    assert other.lr_lambdas[0].rate == 0.5 and state["lr_lambdas"] == [{"rate": 0.5}, None]
    with pytest.raises(ValueError, match="Expected 2 lr_lambdas, but got 1"):
        optim.lr_scheduler.LambdaLR(groups(cr), [lambda epoch: 1.0])


def test_scheduler_errors_and_warning():
    optimizer = groups(cr)
    with pytest.raises(TypeError, match="int is not an Optimizer"):
        optim.lr_scheduler.StepLR(3, 1)
    with pytest.raises(KeyError, match="initial_lr"):
        optim.lr_scheduler.StepLR(optimizer, 1, last_epoch=3)
    scheduler = optim.lr_scheduler.StepLR(optimizer, 1)
    with pytest.warns(UserWarning, match=r"`lr_scheduler.step\(\)` before `optimizer.step\(\)`"):
        scheduler.step()
    with pytest.raises(NotImplementedError, match="has no get_lr"):
        optim.lr_scheduler.LRScheduler(optimizer)
