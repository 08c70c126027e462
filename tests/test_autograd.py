"""The recorded graph: what requires gradients, where they arrive, what must be refused."""

import numpy as np
import pytest

from lib import array, cr


def leaf(*values):
    return cr.tensor([float(v) for v in values], dtype=cr.float64, requires_grad=True)


def test_gradients_accumulate():
    x = leaf(1, 2)
    (x * x).sum().backward()
    (x * x).sum().backward()
    np.testing.assert_array_equal(array(x.grad), [4, 8])
    x.grad = None
    (3 * x).sum().backward()
    np.testing.assert_array_equal(array(x.grad), [3, 3])


def test_a_tensor_used_twice():
    x = leaf(3)
    y = x * x
    z = y * y + y  # x**4 + x**2
    z.backward()
    assert float(x.grad) == 4 * 27 + 2 * 3


def test_backward_of_several_elements_wants_a_gradient():
    x = leaf(1, 2)
    with pytest.raises(RuntimeError, match="scalar"):
        (x * 2).backward()
    (x * 2).backward(cr.tensor([1.0, 10.0], dtype=cr.float64))
    np.testing.assert_array_equal(array(x.grad), [2, 20])
    with pytest.raises(RuntimeError, match=r"[Ss]hape|[Mm]ismatch"):
        (x * 2).backward(cr.ones(3, dtype=cr.float64))


def test_nothing_to_differentiate():
    with pytest.raises(RuntimeError, match="does not require grad"):
        cr.ones(1).backward()
    x = leaf(1)
    with pytest.raises(RuntimeError, match="does not require grad"):
        cr.autograd.grad(cr.ones(1), x)
    with pytest.raises(RuntimeError, match=r"not have been used|unused"):
        cr.autograd.grad((x * 2).sum(), leaf(1))
    assert cr.autograd.grad((x * 2).sum(), leaf(1), allow_unused=True) == (None,)
    zeros = cr.autograd.grad((x * 2).sum(), leaf(5, 5), materialize_grads=True, allow_unused=True)
    np.testing.assert_array_equal(array(zeros[0]), [0, 0])


def test_a_graph_is_freed_by_backward():
    x = leaf(2)
    y = (x.exp() * x).sum()
    y.backward(retain_graph=True)
    y.backward()
    with pytest.raises(RuntimeError, match="second time"):
        y.backward()


def test_inputs_of_backward():
    """Only the tensors asked for receive a gradient."""
    x, w = leaf(2), leaf(3)
    (x * w).backward(inputs=[x])
    assert float(x.grad) == 3 and w.grad is None


def test_grad_leaves_no_trace():
    x = leaf(2)
    y = x * x
    (g,) = cr.autograd.grad(y, y, retain_graph=True)
    assert float(g) == 1
    (g,) = cr.autograd.grad(y, x)
    assert float(g) == 4 and x.grad is None and not g.requires_grad


def test_create_graph():
    x = leaf(2)
    (first,) = cr.autograd.grad(x**4, x, create_graph=True)
    (second,) = cr.autograd.grad(first, x, create_graph=True)
    (third,) = cr.autograd.grad(second, x)
    assert [float(g) for g in (first, second, third)] == [32, 48, 48]
    (x**3).sum().backward(create_graph=True)
    assert x.grad.requires_grad


def test_leaf_rules():
    x = leaf(1)
    assert x.is_leaf and x.requires_grad and x.grad_fn is None
    y = x * 2
    assert not y.is_leaf and y.requires_grad and y.grad_fn is not None
    assert cr.ones(1).is_leaf
    with pytest.raises(RuntimeError, match="leaf"):
        x.add_(1)
    with pytest.raises(RuntimeError, match="leaf"):
        x[0] = 1
    with pytest.raises(RuntimeError, match="leaf"):
        y.requires_grad_(False)
    with cr.no_grad():
        x.add_(1)
    assert float(x) == 2


def test_retain_grad():
    x = leaf(3)
    y = x * x
    y.retain_grad()
    (y * 5).backward()
    assert float(y.grad) == 5 and y.retains_grad
    z = x * 1
    z.sum().backward()
    with pytest.warns(UserWarning, match="non-leaf"):
        assert z.grad is None


def test_gradients_are_the_users_own():
    """Kept gradients share no memory with each other or with what the user gave, and can be written."""
    x, given = leaf(1, 2), leaf(3, 4).detach()
    y, z = x * 1, x * 2
    y.retain_grad()
    z.retain_grad()
    (y + z).backward(given, retain_graph=True)
    y.grad.zero_()
    assert z.grad.tolist() == given.tolist() == [3, 4]
    y.grad = None
    (y.sum() + x.sum()).backward()
    y.grad.add_(1)
    x = leaf(1, 2)
    x.sum().backward(create_graph=True)
    x.grad.detach().zero_()
    x.grad = None
    x.backward(given, create_graph=True)
    x.grad.detach().zero_()
    assert given.tolist() == [3, 4]


PARTED = {
    "cat": lambda x, y: cr.cat([x, y]),
    "cat along columns": lambda x, y: cr.cat([x, y], 1),
    "stack": lambda x, y: cr.stack([x, y]),
    "stack last": lambda x, y: cr.stack([x, y], -1),
    "one twice": lambda x, y: cr.cat([x, x, y]) + cr.stack([x, y, x]).flatten(0, 1),
    "through views": lambda x, y: cr.cat([x.t().exp(), (y * 2).t(), x.view(3, 3)]),
    "of elements": lambda x, y: cr.stack([x[0, 0], y[0, 0], x[1, 1]]),
}


@pytest.mark.parametrize("f", PARTED.values(), ids=PARTED)
@pytest.mark.parametrize("spread", [False, True])
def test_parts_of_a_gradient_can_be_written(f, spread):
    """What joined tensors get may lie in one block, but nobody can tell: neither by writing nor by adding more."""
    x, y = (cr.randn(3, 3, dtype=cr.float64, requires_grad=True) for _ in range(2))

    def loss():
        joined = f(x, y)
        return (
            joined.sum() if spread else (joined * joined).sum()
        )  # the first's gradient is one element, expanded

    wanted = cr.autograd.grad(loss(), (x, y), create_graph=True)
    loss().backward()
    for a, b in ((x, wanted[0]), (y, wanted[1])):
        np.testing.assert_allclose(a.grad.numpy(), b.detach().numpy(), rtol=1e-12)
    versions = y.grad._version
    kept = y.grad.clone()
    x.grad.mul_(7)
    assert cr.equal(y.grad, kept) and y.grad._version == versions
    loss().backward()
    y.grad.zero_()
    np.testing.assert_allclose(x.grad.numpy(), 8 * wanted[0].detach().numpy(), rtol=1e-12)


def test_a_given_gradient_is_not_parted():
    """It stays the user's, also where a hook sees it."""
    x, y, given, seen = leaf(1, 2), leaf(3, 4), leaf(5, 6, 7, 8).detach(), []
    cr.cat([x, y]).backward(given)
    x.grad.zero_()
    assert given.tolist() == [5, 6, 7, 8]
    joined = cr.stack([x, y]) * 1
    joined.register_hook(seen.append)
    joined.sum().backward()
    stacked = cr.stack([x, y])
    stacked.grad_fn.register_hook(lambda inputs, outputs: seen.extend(outputs))
    (stacked * 2).sum().backward()
    x.grad.zero_(), y.grad.zero_()
    assert seen[0].tolist() == [[1, 1], [1, 1]] and seen[1].tolist() == [[2, 2], [2, 2]]


NAMES = {
    "stack": lambda x: cr.stack([x, x]),
    "addcmul": lambda x: cr.addcmul(x, x, x, value=2),
    "addcdiv": lambda x: x.addcdiv(x, x),
    "add": lambda x: cr.add(x, x, alpha=2),
    "sub": lambda x: x.sub(x, alpha=2),
    "pow": lambda x: x**0.5,
    "mul": lambda x: 3 / x,
    "fmod": lambda x: cr.fmod(x, 2),
    "fmod/1": lambda x: cr.fmod(x, x),
    "remainder/1": lambda x: x % x,
    "squeeze": lambda x: x.squeeze(),
    "squeeze/1": lambda x: x.squeeze(0),
    "lerp": lambda x: x.lerp(x, 0.3),
    "lerp/1": lambda x: x.lerp(x, cr.full_like(x, 0.3)),
    "roll": lambda x: x.roll(1, 0),
    "rsub/1": lambda x: 3 - x,
    "pow/2": lambda x: 2.0**x,
    "clamp_min": lambda x: x.clamp_min(0),
    "clamp_max": lambda x: x.clamp_max(1),
    "gelu": lambda x: cr.nn.functional.gelu(x, approximate="tanh"),
}


@pytest.mark.parametrize("name", NAMES)
def test_operations_stand_in_the_graph_by_name(name):
    word, _, form = name.partition("/")
    y = NAMES[name](leaf(2))
    assert y.grad_fn.name() == f"{word.title().replace('_', '')}Backward{form or 0}"
    inputs = [node for node, _ in y.grad_fn.next_functions if node is not None]  # numbers have none
    assert inputs[0].name().endswith("AccumulateGrad")


def test_in_place_operations_stand_in_the_graph_by_name():
    """Also those that need what they overwrite, with derivatives of every order."""
    for name, function in (("Log", "log_"), ("Sin", "sin_"), ("Pow", "square_"), ("Abs", "abs_")):
        x = leaf(2)
        y = x * 3
        getattr(y, function)()
        assert y.grad_fn.name() == f"{name}Backward0"
        assert "Mul" in y.grad_fn.next_functions[0][0].name()
    for name, function in (
        ("Zero", lambda y: y.zero_()),
        ("Fill", lambda y: y.fill_(2)),
        ("Clamp", lambda y: y.clamp_(0, 1)),
        ("ClampMin", lambda y: y.clamp_min_(0)),
        ("ClampMax", lambda y: y.clamp_max_(1)),
        ("Pow", lambda y: y.__ipow__(3)),
    ):
        y = leaf(2) * 3
        function(y)
        assert y.grad_fn.name()[:-1] == f"{name}Backward"
        assert "Mul" in y.grad_fn.next_functions[0][0].name()
    x = leaf(2)
    y = (x * 3).sin_().mul_(x).pow_(3).clamp_(max=9.0)
    (first,) = cr.autograd.grad(y, x, create_graph=True)
    (second,) = cr.autograd.grad(first, x)
    sine, cosine = np.sin(6.0), np.cos(6.0)
    u, du, ddu = 2 * sine, sine + 6 * cosine, 6 * cosine - 18 * sine
    np.testing.assert_allclose(float(first), 3 * u**2 * du, rtol=1e-12)
    np.testing.assert_allclose(float(second), 6 * u * du**2 + 3 * u**2 * ddu, rtol=1e-12)


def test_detach_shares_memory_but_no_graph():
    x = leaf(1, 2)
    y = x.detach()
    assert not y.requires_grad
    y[0] = 5
    assert float(x[0]) == 5
    z = x * 2
    z.detach_()
    assert z.is_leaf and not z.requires_grad


@pytest.mark.parametrize("disable", [cr.no_grad, cr.inference_mode, lambda: cr.set_grad_enabled(False)])
def test_recording_off(disable):
    x = leaf(1)
    with disable():
        assert not cr.is_grad_enabled()
        assert not (x * 2).requires_grad
    assert cr.is_grad_enabled() and (x * 2).requires_grad


def test_recording_nests_and_survives_errors():
    x = leaf(1)
    with cr.no_grad():
        with cr.enable_grad():
            assert (x * 2).requires_grad
        assert not cr.is_grad_enabled()
    with pytest.raises(ZeroDivisionError), cr.no_grad():
        1 / 0  # noqa: B018
    assert cr.is_grad_enabled()


def test_modes_as_decorators():
    x = leaf(1)

    @cr.no_grad()
    def without(x):
        return x * 2

    @cr.enable_grad()
    def with_graph(x):
        return x * 2

    assert not without(x).requires_grad and without.__name__ == "without"
    with cr.no_grad():
        assert with_graph(x).requires_grad
    cr.set_grad_enabled(False)
    assert not (x * 2).requires_grad
    cr.set_grad_enabled(True)


def test_inference_mode():
    x = leaf(1)
    with cr.inference_mode():
        assert cr.is_inference_mode_enabled()
        y = x * 2
    assert not cr.is_inference_mode_enabled() and not y.requires_grad and y.is_leaf


def test_a_saved_tensor_changed_in_place_is_noticed():
    x = leaf(1, 2)
    y = x * 1
    z = y * y
    y.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        z.sum().backward()
    y = x * 1
    z = y.exp()
    z.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        z.sum().backward()
    y = x * 1
    z = y + y  # addition saves nothing
    y.mul_(2)
    z.sum().backward()
    np.testing.assert_array_equal(array(x.grad), [2, 2])


def test_a_saved_view_changed_through_its_base_is_noticed():
    x = leaf(1, 2)
    base = x * 1
    z = base[:1] * base[1:]
    base.zero_()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        z.sum().backward()


def test_versions_count_writes():
    x = cr.zeros(3)
    before = x._version
    x.add_(1)
    x[0] = 2
    x[1:].mul_(2)
    x.detach().zero_()
    assert x._version >= before + 4
    with cr.no_grad():
        x.add_(1)
    assert x._version >= before + 5


def test_in_place_on_a_view_differentiates_through_the_base():
    x = leaf(1, 2, 3)
    y = x * 1
    y[1:].mul_(10)
    y[0] = 5
    (y * y).sum().backward()
    np.testing.assert_array_equal(array(x.grad), [0, 400, 600])


def test_a_view_taken_before_sees_the_write():
    x = leaf(1, 2)
    y = x * 1
    view = y[1:]
    y.mul_(3)
    view.sum().backward()
    np.testing.assert_array_equal(array(x.grad), [0, 3])


def test_a_chain_of_views():
    x = leaf(*range(6))
    y = x * 1
    y.view(2, 3).t()[1].add_(x[:2] * 10)
    y.sum().backward()
    np.testing.assert_array_equal(array(x.grad), [11, 11, 1, 1, 1, 1])


def test_writing_a_recorded_tensor_into_a_plain_one():
    x = leaf(1, 2)
    y = cr.zeros(3, dtype=cr.float64)
    y[1:] = x * 2
    assert y.requires_grad
    (y * y).sum().backward()
    np.testing.assert_array_equal(array(x.grad), [8, 16])


def test_copy_and_fill():
    x = leaf(1, 2)
    y = cr.empty(2, dtype=cr.float64)
    y.copy_(x)
    y.sum().backward()
    np.testing.assert_array_equal(array(x.grad), [1, 1])
    z = x * 1
    z.fill_(3)
    (g,) = cr.autograd.grad(z.sum(), x)
    np.testing.assert_array_equal(array(g), [0, 0])


def test_clone_and_contiguous_pass_gradients():
    x = cr.ones(2, 3, dtype=cr.float64, requires_grad=True)
    (x.t().contiguous().clone() * cr.arange(6).reshape(3, 2)).sum().backward()
    np.testing.assert_array_equal(array(x.grad), [[0, 2, 4], [1, 3, 5]])


def test_conversion_passes_gradients():
    x = cr.ones(2, requires_grad=True)
    (x.double() * 3).sum().backward()
    assert x.grad.dtype == cr.float32
    np.testing.assert_array_equal(array(x.grad), [3, 3])


def test_gradients_of_mixed_dtypes():
    x, w = cr.ones(2, requires_grad=True), leaf(1, 2)
    (x * w).sum().backward()
    assert x.grad.dtype == cr.float32 and w.grad.dtype == cr.float64


def test_grad_can_be_assigned_and_is_checked():
    x = leaf(1, 2)
    g = cr.ones(2, dtype=cr.float64)
    x.grad = g
    assert x.grad is g
    with pytest.raises((RuntimeError, TypeError)):
        x.grad = cr.ones(3, dtype=cr.float64)
    with pytest.raises((RuntimeError, TypeError)):
        x.grad = 1.0
    assert x.grad is g


def test_data_bypasses_the_graph():
    x = leaf(1, 2)
    x.data.mul_(2)
    np.testing.assert_array_equal(array(x), [2, 4])
    x.data = cr.zeros(2, dtype=cr.float64)
    np.testing.assert_array_equal(array(x), [0, 0])
    assert x.requires_grad and x.is_leaf


def test_numpy_of_a_recorded_tensor_is_refused():
    x = leaf(1)
    with pytest.raises(RuntimeError, match="detach"):
        x.numpy()
    with pytest.raises(RuntimeError, match="detach"):
        np.asarray(x * 2)
    assert x.detach().numpy()[0] == 1


def test_several_outputs():
    x = leaf(3, 1, 2)
    values, indices = x.sort()
    assert not indices.requires_grad
    cr.autograd.backward([values[0], x.sum()])
    np.testing.assert_array_equal(array(x.grad), [1, 2, 1])


def test_gradcheck():
    x = cr.tensor([[0.3, -0.4], [0.7, 1.2]], dtype=cr.float64, requires_grad=True)
    assert cr.autograd.gradcheck(lambda x: (x.tanh() @ x).exp(), (x,))
    assert cr.autograd.gradgradcheck(lambda x: (x.tanh() @ x).sin(), (x,))

    class Wrong(cr.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * x

        @staticmethod
        def backward(ctx, g):
            return g

    with pytest.raises(Exception, match=r"[Jj]acobian"):
        cr.autograd.gradcheck(Wrong.apply, (x,))
    options = {"check_undefined_grad": True, "check_grad_dtypes": True, "fast_mode": False, "nondet_tol": 0.0}
    assert cr.autograd.gradcheck(lambda x: (x.tanh(), x * 2), (x,), **options)
    assert cr.autograd.gradgradcheck(lambda x: x.sin(), (x,), **options)
    assert not cr.autograd.gradcheck(Wrong.apply, (x,), raise_exception=False)


# ---- products add their derivative to the gradient that waits ----


def gelu_by_hand(x, y):
    return 0.5 * x * (1 + (0.7978845608 * (x + 0.044715 * x * x * x)).tanh())


SUMS_OF_PRODUCTS = {
    "square": lambda x, y: x * x,
    "cube": lambda x, y: x * x * x,
    "gelu": gelu_by_hand,
    "shared gradient": lambda x, y: x + x * y + y * x,
    "every pair": lambda x, y: x * y + y * (x * 3) + x * y.exp() + y * 0.5,
    "both wait": lambda x, y: (x + y) + x * y,
    "not the leaf": lambda x, y: (lambda h: h * h + h * y + h * 2 + h)(x.exp()),
    "transposed": lambda x, y: (x.T * y.T + x.T * 2 + x.T * y.T.exp()).T,
    "expanded": lambda x, y: x.sum() * y * 0 + x * y + x * x,
    "broadcast": lambda x, y: x * y[0] + x[:, :1] * y + x * x[0],
    "slices": lambda x, y: (x[1:] * x[:-1] + x[1:] * y[1:]).sum(0) * x,
    "mixed": lambda x, y: x * y.detach().to(cr.float64) + x * y,
    "written": lambda x, y: (lambda h: (h.mul_(y), h * x + h * h)[1])(x.clone()),
    "write into a view": lambda x, y: (lambda h: (h[1:].mul_(y[1:]), h * h + x * 2)[1])(x * 1),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("f", SUMS_OF_PRODUCTS.values(), ids=SUMS_OF_PRODUCTS)
def test_products_add_to_what_waits(f, dtype):
    """In one pass, with the bits of the gradients that are recorded, made apart and added; g stays as it is."""
    rng = np.random.default_rng(0)
    x, y, g = (cr.tensor(rng.standard_normal((37, 37)), dtype=getattr(cr, dtype)) for _ in range(3))
    x.requires_grad_(), y.requires_grad_()
    kept = g.clone()
    g = g.to(f(x, y).dtype)
    together = cr.autograd.grad(f(x, y), (x, y), g, allow_unused=True)
    apart = cr.autograd.grad(f(x, y), (x, y), g, allow_unused=True, create_graph=True)
    for a, b in zip(together, apart, strict=True):
        assert (a is None and b is None) or cr.equal(a, b)
    assert cr.equal(g, kept.to(g.dtype))
    f(x, y).backward(g)
    assert cr.equal(x.grad, apart[0]) and cr.equal(g, kept.to(g.dtype))


def test_products_leave_what_hooks_and_users_see():
    x = cr.randn(50, requires_grad=True)
    g, own, sums = cr.randn(50), [], []
    h = x.exp()
    h.retain_grad()
    h.register_hook(lambda grad: sums.append(grad.clone()))
    product = h * x
    product.grad_fn.register_hook(lambda inputs, outputs: own.append(inputs[0].clone()))
    (product + h * 2 + h).backward(g)
    assert cr.equal(own[0], g * x), "a node's hook sees its own part, not the sum"
    assert cr.equal(h.grad, sums[0]) and cr.allclose(h.grad, g * x + g * 3)
