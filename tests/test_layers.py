"""Every layer and loss computes its reference from its parameters, and differentiates in all of them."""

import numpy as np
import pytest

import reference as ref
from lib import NAME, array, cr, dtype_of, leaves, map_leaves, tensor
from registry import FLOATS, ROWS, A, Op
from registry.modules import ROWS as LAYERS
from registry.modules import WEIGHTED
from test_gradients import close, difference

nn = cr.nn


def build(row, dtype):
    """The module, every parameter and buffer filled with numbers of its own."""
    module = getattr(nn, row.name)(*row.args, **row.kwargs).to(getattr(cr, dtype))
    rng = np.random.default_rng(0)
    with cr.no_grad():
        for name, t in [*module.named_parameters(), *module.named_buffers()]:
            if t.is_floating_point():
                low = 0.5 if "var" in name else -1.0
                t.copy_(tensor(rng.uniform(low, 2.0, tuple(t.shape)).astype(dtype)))
    return module


def state(module):
    """Parameters and buffers as float64 arrays, and the mode."""
    named = [*module.named_parameters(), *module.named_buffers()]
    return {name: array(t).astype(np.float64) for name, t in named} | {"training": module.training}


def drawn(row, dtype):
    args, _ = row.inputs.draw(Op(row.label, row.reference, [], domain=row.domain), dtype)
    return args


def wide(a):
    return a.astype(np.float64) if a.dtype.kind == "f" else a


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("row", LAYERS, ids=lambda r: r.label)
def test_value(row, dtype, training):
    module, args = build(row, dtype).train(training), drawn(row, dtype)
    want = row.reference(state(module), *map_leaves(wide, args))
    got = module(*map_leaves(tensor, args))
    assert dtype_of(got) == dtype and tuple(got.shape) == np.shape(want)
    rtol = 1e-5 if dtype == "float32" else 1e-11
    np.testing.assert_allclose(array(got), want, rtol=rtol, atol=rtol)


@pytest.mark.parametrize("row", LAYERS, ids=lambda r: r.label)
def test_gradient(row):
    """In the parameters and the floating inputs at once, along three directions."""
    module, args = build(row, "float64"), drawn(row, "float64")
    before = state(module)
    flags = row.inputs.differentiable()
    given = [tensor(a, requires_grad=flag) for a, flag in zip(args, flags, strict=True)]
    result = module(*given)
    rng = np.random.default_rng(1)
    w = rng.normal(size=tuple(result.shape))
    if not result.requires_grad:
        return
    result.backward(tensor(w))
    names = [name for name, _ in module.named_parameters()]
    grads = [array(p.grad) for _, p in module.named_parameters()] + [
        array(t.grad) for t in given if t.requires_grad
    ]
    starts = [before[name] for name in names] + [a for a, flag in zip(args, flags, strict=True) if flag]
    for _ in range(3):
        directions = [rng.normal(size=s.shape) for s in starts]

        def moved(t, directions=directions):
            now = [s + t * d for s, d in zip(starts, directions, strict=True)]
            inputs = iter(now[len(names) :])
            others = [next(inputs) if flag else a for a, flag in zip(args, flags, strict=True)]
            return float((w * row.reference(before | dict(zip(names, now, strict=False)), *others)).sum())

        got = sum(float((g * d).sum()) for g, d in zip(grads, directions, strict=True))
        close(np.array(got), difference(moved, 0.0, 1.0, 1e-5), 1e-7, row.label)


@pytest.mark.parametrize("name", WEIGHTED)
def test_weighted_loss(name):
    function, inputs, shapes = WEIGHTED[name]
    args, _ = inputs.draw(Op(name, function, [], domain=(0.1, 0.9)), "float64")
    rng = np.random.default_rng(0)
    weights = {key: rng.uniform(0.5, 2, shape) for key, shape in shapes.items()}
    module = getattr(nn, name)(**{key: tensor(value) for key, value in weights.items()})
    got = module(*map_leaves(tensor, args))
    np.testing.assert_allclose(array(got), function(*args, **weights), rtol=1e-12)


@pytest.mark.parametrize("momentum", [0.1, 0.3, None])
def test_running_statistics(momentum):
    """Batches move them by momentum, or to the plain mean of all; evaluation does not."""
    module = nn.BatchNorm1d(3, momentum=momentum).double()
    mean, var = np.zeros(3), np.ones(3)
    for step in range(1, 4):
        x = np.random.default_rng(step).normal(size=(5, 3))
        module(tensor(x))
        mean, var = ref.batch_norm_running(x, mean, var, 1 / step if momentum is None else momentum)
    module.eval()(tensor(x))
    np.testing.assert_allclose(array(module.running_mean), mean, rtol=1e-12)
    np.testing.assert_allclose(array(module.running_var), var, rtol=1e-12)
    assert int(module.num_batches_tracked) == 3


@pytest.mark.skipif(NAME == "torch", reason="PyTorch writes outside of the image")
def test_a_pooling_window_beside_the_image():
    """Dilation lets a window miss the image: its maximum is -inf and moves nothing."""
    x = tensor(np.ones((1, 2, 1, 8)), requires_grad=True)
    y = cr.nn.functional.max_pool2d(x, (3, 2), (4, 1), (1, 0), 2, ceil_mode=True)
    assert (array(y) == -np.inf).all()
    y.backward(cr.ones_like(y))
    assert (array(x.grad) == 0).all()


def test_dropout():
    """Zeros at the rate asked for, the rest scaled; the gradient passes through the same mask."""
    x = tensor(np.ones((200, 100)), requires_grad=True)
    module = nn.Dropout(0.3)
    y = module(x)
    kept = array(y) != 0
    assert 0.68 < kept.mean() < 0.72
    np.testing.assert_allclose(array(y), ref.dropout(np.ones(kept.shape), kept, 0.3), rtol=1e-12)
    y.backward(cr.ones_like(y))
    np.testing.assert_array_equal(array(x.grad), array(y))
    assert module.eval()(x) is x or (array(module(x)) == 1).all()
    twice = cr.nn.functional.dropout(x, 0.3), cr.nn.functional.dropout(x, 0.3)
    assert (array(twice[0]) != array(twice[1])).any()


def test_padding_index_has_no_gradient():
    module = nn.Embedding(5, 3, padding_idx=1)
    assert (array(module.weight)[1] == 0).all()
    module(cr.tensor([0, 1, 1, 4])).sum().backward()
    np.testing.assert_array_equal(array(module.weight.grad).sum(1), [3, 0, 0, 0, 3])


def test_functional_has_the_layers():
    """What a module computes is a function too."""
    functions = {row.name for row in ROWS if "nn.functional" in row.where}
    for name in (
        "linear",
        "conv2d",
        "max_pool2d",
        "batch_norm",
        "layer_norm",
        "embedding",
        "dropout",
        "cross_entropy",
    ):
        assert name in functions and callable(getattr(cr.nn.functional, name))


def test_nothing_is_given_by_accident():
    """A sample's tensors are what its row says."""
    sample = A((2, 3), [(1,), (2,)])
    args, _ = sample.draw(LAYERS[0] and Op("x", len, []), "float64")
    assert [a.shape for a in leaves(args)] == [(2, 3), (1,), (2,)]


# ---- Sequential makes a Linear and the ReLU after it as one product ----


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
@pytest.mark.parametrize("dtype", [cr.float32, cr.float64], ids=str)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    ("sizes", "outputs"),
    [
        ((1,), 1),
        ((5, 0), 3),
        ((64,), 40),
        ((1, 300), 130),
        ((2, 3, 17), 16),
        ((7, 1100), 3),
        ((33, 64), 130),
        ((300, 700), 37),
        ((2, 5000), 4),
    ],
)
def test_relu_in_the_product(sizes, outputs, bias, dtype):
    """The same bits, gradients and graph as of the two modules called one by one."""
    linear, relu = nn.Linear(sizes[-1], outputs, bias=bias, dtype=dtype), nn.ReLU()
    x, g = cr.randn(sizes, dtype=dtype, requires_grad=True), cr.randn(*sizes[:-1], outputs, dtype=dtype)
    together, apart = nn.Sequential(linear, relu)(x), relu(linear(x))
    assert cr.equal(together, apart)
    asked = [x, *linear.parameters()]
    for a, b in zip(cr.autograd.grad(together, asked, g), cr.autograd.grad(apart, asked, g), strict=True):
        assert cr.equal(a, b)
    nodes = [y.grad_fn.next_functions[0][0].name() for y in (together, apart)]
    assert together.grad_fn.name() == "ReluBackward0" and nodes[0] == nodes[1]
    with cr.no_grad():
        assert cr.equal(nn.Sequential(linear, relu)(x), apart)


def test_relu_in_the_product_keeps_nan_and_drops_signs():
    linear = nn.Linear(1, 4)
    with cr.no_grad():
        linear.weight.copy_(cr.tensor([[-0.0], [1.0], [-1.0], [float("nan")]]))
        linear.bias.copy_(cr.tensor([-0.0, 0.0, 0.0, 0.0]))
    y = nn.Sequential(linear, nn.ReLU())(cr.ones(3, 1)).detach().numpy()
    if NAME != "torch":  # whose ReLU of -0 is -0
        assert not np.signbit(y[:, :3]).any()
    assert (y[:, 1] == 1).all() and (y[:, [0, 2]] == 0).all()
    assert np.isnan(y[:, 3]).all()


def test_relu_in_the_product_second_derivative():
    net = nn.Sequential(nn.Linear(3, 4, dtype=cr.float64), nn.ReLU(), nn.Linear(4, 1, dtype=cr.float64))
    x = cr.randn(5, 3, dtype=cr.float64, requires_grad=True)
    assert cr.autograd.gradcheck(net, (x,)) and cr.autograd.gradgradcheck(net, (x,))


def test_sequential_calls_what_is_not_plain():
    """Hooks, subclasses and forwards of an instance's own are called as they are."""
    seen = []

    class Doubled(nn.Linear):
        def forward(self, input):
            return 2 * super().forward(input)

    linear, relu, doubled = nn.Linear(2, 2), nn.ReLU(), Doubled(2, 2)
    x = cr.randn(3, 2)
    want = relu(linear(x))
    handle = linear.register_forward_hook(lambda module, args, out: seen.append(out))
    assert cr.equal(nn.Sequential(linear, relu)(x), want) and cr.equal(seen[0], linear(x))
    handle.remove()
    relu.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    seen.clear()
    assert cr.equal(nn.Sequential(linear, relu)(x), want) and cr.equal(seen[0], linear(x))
    assert cr.equal(nn.Sequential(doubled, nn.ReLU())(x), cr.relu(doubled(x)))
    linear.forward = lambda input: input
    assert cr.equal(nn.Sequential(linear, nn.ReLU())(x), cr.relu(x))


def test_sequential_words_errors_as_the_layer_does():
    net = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    says = r"linear: input of shape .* do not fit" if NAME != "torch" else ""
    with pytest.raises(RuntimeError, match=says):
        net(cr.ones(3, 5))
    with pytest.raises(TypeError, match="must be Tensor"):
        net(3)
