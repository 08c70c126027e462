"""Layers, losses and initialisers as modules: against the reference and side by side with torch."""

import math

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from reference import conv, norms


def numbers(shape, seed=0, positive=False):
    x = np.random.default_rng(seed).standard_normal(shape)
    return (np.abs(x) + 0.1 if positive else x).astype(np.float32)


def value(t):
    return t.detach().numpy()


def state(module):
    return {name: value(t) for name, t in module.state_dict().items()}


def seeded(library, function):
    library.manual_seed(7)
    return function()


class Row:
    """How a layer is made, in either library, and the shape of its input (ints: indices below that)."""

    def __init__(self, make, shape, ints=None):
        self.make = make
        self.shape = shape
        self.ints = ints

    def input(self):
        if self.ints is not None:
            return np.random.default_rng(1).integers(0, self.ints, self.shape)
        return numbers(self.shape)


LAYERS = {
    "Identity": [Row(lambda nn: nn.Identity(3, kept=True), (2, 3))],
    "Linear": [
        Row(lambda nn: nn.Linear(5, 3), (4, 5)),
        Row(lambda nn: nn.Linear(5, 3, bias=False), (2, 4, 5)),
        Row(lambda nn: nn.Linear(1, 1), (7, 1)),
    ],
    "Conv2d": [
        Row(lambda nn: nn.Conv2d(3, 4, 3, stride=2, padding=1), (2, 3, 7, 8)),
        Row(lambda nn: nn.Conv2d(4, 6, (3, 2), dilation=(1, 2), groups=2, bias=False), (2, 4, 6, 6)),
        Row(lambda nn: nn.Conv2d(2, 2, 3, padding="same"), (2, 5, 5)),
    ],
    "MaxPool2d": [
        Row(lambda nn: nn.MaxPool2d(2), (2, 3, 6, 6)),
        Row(lambda nn: nn.MaxPool2d(3, stride=2, padding=1, ceil_mode=True), (2, 3, 7, 7)),
    ],
    "AvgPool2d": [
        Row(lambda nn: nn.AvgPool2d(2), (2, 3, 6, 6)),
        Row(lambda nn: nn.AvgPool2d(3, 2, 1, count_include_pad=False), (2, 3, 7, 7)),
    ],
    "AdaptiveAvgPool2d": [
        Row(lambda nn: nn.AdaptiveAvgPool2d((3, 2)), (2, 3, 7, 5)),
        Row(lambda nn: nn.AdaptiveAvgPool2d(1), (2, 3, 7, 5)),
        Row(lambda nn: nn.AdaptiveAvgPool2d((None, 2)), (2, 3, 7, 5)),
    ],
    "BatchNorm1d": [
        Row(lambda nn: nn.BatchNorm1d(5), (6, 5)),
        Row(lambda nn: nn.BatchNorm1d(5, momentum=None), (6, 5, 3)),
        Row(lambda nn: nn.BatchNorm1d(5, affine=False, track_running_stats=False), (6, 5)),
    ],
    "BatchNorm2d": [Row(lambda nn: nn.BatchNorm2d(3, eps=1e-3, momentum=0.3, bias=False), (4, 3, 5, 5))],
    "LayerNorm": [
        Row(lambda nn: nn.LayerNorm(6), (4, 6)),
        Row(lambda nn: nn.LayerNorm([5, 6], bias=False), (4, 5, 6)),
        Row(lambda nn: nn.LayerNorm(6, elementwise_affine=False), (4, 6)),
    ],
    "GroupNorm": [Row(lambda nn: nn.GroupNorm(2, 4), (3, 4, 5))],
    "RMSNorm": [
        Row(lambda nn: nn.RMSNorm(6), (4, 6)),
        Row(lambda nn: nn.RMSNorm([5, 6], eps=1e-3, elementwise_affine=False), (4, 5, 6)),
    ],
    "Embedding": [
        Row(lambda nn: nn.Embedding(10, 3), (4, 5), ints=10),
        Row(lambda nn: nn.Embedding(50, 4, padding_idx=-1), (30,), ints=50),
    ],
    "Dropout": [Row(lambda nn: nn.Dropout(0.3), (40, 50)), Row(lambda nn: nn.Dropout(0.0), (4, 5))],
    "Flatten": [Row(lambda nn: nn.Flatten(), (2, 3, 4)), Row(lambda nn: nn.Flatten(0, 1), (2, 3, 4))],
    "Unflatten": [Row(lambda nn: nn.Unflatten(1, (2, 3)), (4, 6))],
    "ReLU": [Row(lambda nn: nn.ReLU(), (3, 4))],
    "LeakyReLU": [Row(lambda nn: nn.LeakyReLU(), (3, 4)), Row(lambda nn: nn.LeakyReLU(0.2), (3, 4))],
    "ELU": [Row(lambda nn: nn.ELU(1.5), (3, 4))],
    "GELU": [Row(lambda nn: nn.GELU(), (3, 4)), Row(lambda nn: nn.GELU("tanh"), (3, 4))],
    "SiLU": [Row(lambda nn: nn.SiLU(), (3, 4))],
    "Softplus": [Row(lambda nn: nn.Softplus(2.0), (3, 4))],
    "Mish": [Row(lambda nn: nn.Mish(), (3, 4))],
    "Sigmoid": [Row(lambda nn: nn.Sigmoid(), (3, 4))],
    "Tanh": [Row(lambda nn: nn.Tanh(), (3, 4))],
    "Softmax": [Row(lambda nn: nn.Softmax(-1), (3, 4))],
    "LogSoftmax": [Row(lambda nn: nn.LogSoftmax(1), (3, 4))],
    "Sequential": [
        Row(lambda nn: nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Sequential(nn.Linear(8, 2))), (5, 4))
    ],
}

# Tested on their own below: they have no forward.
CONTAINERS = {"ModuleList", "ModuleDict", "ParameterList"}

# How a loss is made, and what it compares.
LOSSES = {
    "MSELoss": [(lambda nn, **o: nn.MSELoss(**o), "floats")],
    "L1Loss": [(lambda nn, **o: nn.L1Loss(**o), "floats")],
    "SmoothL1Loss": [(lambda nn, **o: nn.SmoothL1Loss(beta=0.5, **o), "floats")],
    "CrossEntropyLoss": [
        (lambda nn, **o: nn.CrossEntropyLoss(ignore_index=2, label_smoothing=0.1, **o), "classes"),
        (lambda nn, **o: nn.CrossEntropyLoss(**o), "distributions"),
    ],
    "NLLLoss": [(lambda nn, **o: nn.NLLLoss(**o), "classes")],
    "BCELoss": [(lambda nn, **o: nn.BCELoss(**o), "probabilities")],
    "BCEWithLogitsLoss": [(lambda nn, **o: nn.BCEWithLogitsLoss(**o), "bits")],
}


def loss_inputs(kind):
    x, t = numbers((6, 5)), numbers((6, 5), 1)
    if kind == "classes":
        return x, np.random.default_rng(2).integers(0, 5, 6)
    if kind == "distributions":
        return x, np.exp(t) / np.exp(t).sum(1, keepdims=True)
    if kind == "probabilities":
        return 1 / (1 + np.exp(-x)), (t > 0).astype(np.float32)
    if kind == "bits":
        return x, (t > 0).astype(np.float32)
    return x, t


def rows(table):
    return [pytest.param(row, id=f"{name}-{i}") for name, rows in table.items() for i, row in enumerate(rows)]


def test_every_layer_and_loss_has_a_row():
    assert set(nn.modules.__all__) == {*LAYERS, *CONTAINERS, *LOSSES}


@pytest.mark.parametrize("row", rows(LAYERS))
@pytest.mark.parametrize("training", [True, False])
def test_layer_side_by_side_with_torch(row, training, torch):
    ours = seeded(cr, lambda: row.make(nn).train(training))
    theirs = seeded(torch, lambda: row.make(torch.nn).train(training))
    assert repr(ours) == repr(theirs)
    assert list(state(ours)) == list(state(theirs))
    for name, start in state(theirs).items():
        np.testing.assert_allclose(state(ours)[name], start, rtol=1e-6, atol=1e-7, err_msg=name)
    floats = row.ints is None
    a, b = cr.tensor(row.input(), requires_grad=floats), torch.tensor(row.input(), requires_grad=floats)
    y, z = seeded(cr, lambda: ours(a)), seeded(torch, lambda: theirs(b))
    np.testing.assert_allclose(value(y), value(z), rtol=1e-5, atol=1e-5)
    if not z.requires_grad:
        return
    up = numbers(z.shape, 5)
    y.backward(cr.tensor(up))
    z.backward(torch.tensor(up))
    for p, q in zip([a, *ours.parameters()], [b, *theirs.parameters()]):
        if q.grad is not None:
            np.testing.assert_allclose(value(p.grad), value(q.grad), rtol=1e-4, atol=1e-4)
    for name, end in state(theirs).items():
        np.testing.assert_allclose(state(ours)[name], end, rtol=1e-5, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("row", rows(LOSSES))
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("weighted", [False, True])
def test_loss_side_by_side_with_torch(row, reduction, weighted, torch):
    make, kind = row
    x, t = loss_inputs(kind)
    options = [{"reduction": reduction}, {"reduction": reduction}]
    if weighted:
        try:
            make(torch.nn, weight=None)
        except TypeError:
            pytest.skip("this loss has no weight")
        weight = numbers(5, 9, positive=True)
        options[0]["weight"], options[1]["weight"] = cr.tensor(weight), torch.tensor(weight)
    ours, theirs = make(nn, **options[0]), make(torch.nn, **options[1])
    assert repr(ours) == repr(theirs)
    assert list(state(ours)) == list(state(theirs))
    a, b = cr.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    y, z = ours(a, cr.tensor(t)), theirs(b, torch.tensor(t))
    np.testing.assert_allclose(value(y), value(z), rtol=1e-5, atol=1e-6)
    y.sum().backward()
    z.sum().backward()
    np.testing.assert_allclose(value(a.grad), value(b.grad), rtol=1e-5, atol=1e-6)


def test_bce_pos_weight(torch):
    x, t = loss_inputs("bits")
    weight = numbers(5, 3, positive=True)
    ours = nn.BCEWithLogitsLoss(pos_weight=cr.tensor(weight))(cr.tensor(x), cr.tensor(t))
    theirs = torch.nn.BCEWithLogitsLoss(pos_weight=torch.tensor(weight))(torch.tensor(x), torch.tensor(t))
    np.testing.assert_allclose(value(ours), value(theirs), rtol=1e-6)


def test_the_old_spelling_of_reduction_warns():
    with pytest.warns(UserWarning, match="reduction='sum'"):
        assert nn.MSELoss(size_average=False).reduction == "sum"
    with pytest.warns(UserWarning, match="reduction='none'"):
        assert nn.L1Loss(reduce=False).reduction == "none"


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
def test_conv_padding_modes(mode):
    layer = nn.Conv2d(1, 1, 3, padding=(1, 2), padding_mode=mode)
    x = numbers((1, 1, 5, 6))
    numpy_mode = {"reflect": "reflect", "replicate": "edge", "circular": "wrap"}[mode]
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (2, 2)), numpy_mode)
    w = state(layer)
    np.testing.assert_allclose(
        value(layer(cr.tensor(x))), conv.conv2d(padded, w["weight"], w["bias"]), rtol=1e-5, atol=1e-6
    )


def test_max_pool_returns_indices():
    x = numbers((1, 2, 4, 4))
    y, places = nn.MaxPool2d(2, return_indices=True)(cr.tensor(x))
    np.testing.assert_array_equal(
        value(y),
        np.take_along_axis(x.reshape(1, 2, 16), value(places).reshape(1, 2, 4), 2).reshape(1, 2, 2, 2),
    )


def test_dropout_in_evaluation_is_the_identity_and_in_training_keeps_the_mean():
    layer = nn.Dropout(0.25)
    x = cr.ones(200, 200)
    y = value(layer(x))
    assert set(np.unique(y)) == {np.float32(0), np.float32(1 / 0.75)}
    assert abs(y.mean() - 1) < 0.02
    np.testing.assert_array_equal(value(layer.eval()(x)), value(x))


def test_batch_norm_uses_running_statistics_in_evaluation():
    layer = nn.BatchNorm1d(3)
    x = numbers((8, 3))
    layer(cr.tensor(x))
    mean, var = norms.batch_norm_running(x, np.zeros(3), np.ones(3))
    np.testing.assert_allclose(value(layer.running_mean), mean, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(value(layer.running_var), var, rtol=1e-5, atol=1e-6)
    assert int(layer.num_batches_tracked) == 1
    layer.eval()
    expected = norms.batch_norm(x, mean, var, np.ones(3), np.zeros(3), False)
    np.testing.assert_allclose(value(layer(cr.tensor(x))), expected, rtol=1e-5, atol=1e-5)


def test_embedding_from_pretrained_is_frozen():
    table = cr.tensor(numbers((4, 3)))
    layer = nn.Embedding.from_pretrained(table)
    assert not layer.weight.requires_grad
    assert nn.Embedding.from_pretrained(table, freeze=False).weight.requires_grad
    np.testing.assert_array_equal(value(layer(cr.tensor([2, 0]))), value(table)[[2, 0]])


@pytest.mark.parametrize(
    ("make", "error", "says"),
    [
        (lambda: nn.Conv2d(3, 4, 3, groups=2), ValueError, "in_channels must be divisible by groups"),
        (lambda: nn.Conv2d(4, 3, 3, groups=2), ValueError, "out_channels must be divisible by groups"),
        (lambda: nn.Conv2d(4, 4, 3, groups=0), ValueError, "groups must be a positive integer"),
        (lambda: nn.Conv2d(3, 4, 3, padding="some"), ValueError, "Invalid padding string"),
        (lambda: nn.Conv2d(3, 4, 3, stride=2, padding="same"), ValueError, "not supported for strided"),
        (lambda: nn.Conv2d(3, 4, 3, padding_mode="odd"), ValueError, "padding_mode must be one of"),
        (lambda: nn.Dropout(1.5), ValueError, "between 0 and 1, but got 1.5"),
        (lambda: nn.GroupNorm(3, 4), ValueError, "must be divisible"),
        (lambda: nn.Embedding(3, 2, padding_idx=3), AssertionError, "within num_embeddings"),
        (lambda: nn.BatchNorm1d(3)(cr.ones(3)), ValueError, "expected 2D or 3D input"),
        (lambda: nn.BatchNorm2d(3)(cr.ones(2, 3)), ValueError, "expected 4D input"),
        (lambda: nn.Linear(2, 3)(cr.ones(4, 5)), RuntimeError, "linear|mat"),
        (lambda: nn.Linear(2, 3, device="cuda"), (RuntimeError, AssertionError), "(?i)cuda|device"),
        (lambda: nn.Module()(1), NotImplementedError, "forward"),
        (lambda: nn.Module(3), TypeError, "takes no arguments"),
        (lambda: nn.ModuleList([nn.ReLU()])[3], IndexError, "out of range"),
        (lambda: nn.ModuleList().append(3), TypeError, "not a Module subclass"),
        (lambda: nn.Sequential(3), TypeError, "not a Module subclass"),
        (lambda: nn.ParameterList()(), RuntimeError, "should not be called"),
    ],
)
def test_bad_arguments(make, error, says):
    with pytest.raises(error, match=says):
        make()


# Initialisers and utilities

INITIALISERS = {
    "uniform_": ((-1, 2),),
    "normal_": ((1.0, 0.5),),
    "constant_": ((3.5,),),
    "ones_": ((),),
    "zeros_": ((),),
    "xavier_uniform_": ((), (2.0,)),
    "xavier_normal_": ((), (0.5,)),
    "kaiming_uniform_": ((), (0.2, "fan_out"), (0, "fan_in", "relu")),
    "kaiming_normal_": ((), (0.2, "fan_out"), (0, "fan_in", "tanh")),
    "trunc_normal_": ((), (0.0, 0.02), (0.0, 1.0, -0.5, 0.5), (0.0, 1.0, 2.0, 3.0), (5.0, 2.0, -1.0, 2.5)),
}


def test_every_initialiser_has_a_row():
    assert {name for name in nn.init.__all__ if name.endswith("_")} == set(INITIALISERS)


@pytest.mark.parametrize("name", INITIALISERS)
@pytest.mark.parametrize("shape", [(3, 4), (5, 3, 2, 2), (40, 30)])
def test_initialisers_draw_torchs_stream(name, shape, torch):
    for arguments in INITIALISERS[name]:
        ours, theirs = nn.Parameter(cr.empty(*shape)), torch.nn.Parameter(torch.empty(*shape))
        assert seeded(cr, lambda: getattr(nn.init, name)(ours, *arguments)) is ours  # noqa: B023, called at once
        after = cr.randint(1 << 30, (1,)).item()
        seeded(torch, lambda: getattr(torch.nn.init, name)(theirs, *arguments))  # noqa: B023
        np.testing.assert_allclose(value(ours), value(theirs), rtol=1e-6, atol=1e-6)
        assert after == torch.randint(1 << 30, (1,)).item()  # both streams stand at the same place


def test_initialisers_take_a_generator():
    a = nn.init.normal_(cr.empty(20), generator=cr.Generator().manual_seed(5))
    b = nn.init.normal_(cr.empty(20), generator=cr.Generator().manual_seed(5))
    np.testing.assert_array_equal(value(a), value(b))


def test_gains_and_initialiser_errors():
    from reference import init as reference

    for name in ("linear", "conv2d", "sigmoid", "tanh", "relu", "selu", "leaky_relu"):
        assert nn.init.calculate_gain(name) == pytest.approx(reference.calculate_gain(name))
    assert nn.init.calculate_gain("leaky_relu", 0.3) == pytest.approx(math.sqrt(2 / 1.09))
    with pytest.raises(ValueError, match="Unsupported nonlinearity"):
        nn.init.calculate_gain("sinh")
    with pytest.raises(ValueError, match="not a valid number"):
        nn.init.calculate_gain("leaky_relu", "steep")
    with pytest.raises(ValueError, match="fewer than 2 dimensions"):
        nn.init.xavier_uniform_(cr.empty(3))
    with pytest.raises(ValueError, match="Mode fan_up not supported"):
        nn.init.kaiming_normal_(cr.empty(3, 3), mode="fan_up")
    with pytest.warns(UserWarning, match="no-op"):
        nn.init.kaiming_uniform_(cr.empty(0, 3))
    with pytest.warns(UserWarning, match="more than 2 std"):
        nn.init.trunc_normal_(cr.empty(3), mean=9.0)


def test_clipping():
    from reference import optim as reference

    grads = [numbers((3, 4)), numbers((5,), 1)]
    for norm in (2.0, 1.0, math.inf):
        for limit in (0.5, 100.0):
            parameters = [nn.Parameter(cr.zeros(*g.shape)) for g in grads]
            for p, g in zip(parameters, grads):
                p.grad = cr.tensor(g)
            parameters.append(nn.Parameter(cr.zeros(2)))  # one without a gradient
            total, clipped = reference.clip_grad_norm(grads, limit, norm)
            got = nn.utils.clip_grad_norm_(parameters, limit, norm)
            assert got.item() == pytest.approx(total, rel=1e-5)
            for p, g in zip(parameters, clipped):
                np.testing.assert_allclose(value(p.grad), g, rtol=1e-5, atol=1e-7)
    nn.utils.clip_grad_value_(parameters[0], 0.3)
    np.testing.assert_array_equal(value(parameters[0].grad), np.clip(grads[0], -0.3, 0.3).astype(np.float32))
    parameters[0].grad = cr.full((3, 4), math.inf)
    with pytest.raises(RuntimeError, match="non-finite"):
        nn.utils.clip_grad_norm_(parameters[0], 1.0, error_if_nonfinite=True)
    assert nn.utils.clip_grad_norm_([], 1.0).item() == 0


def test_parameters_as_a_vector():
    net = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    vector = nn.utils.parameters_to_vector(net.parameters())
    assert vector.shape == (13,) and vector.requires_grad
    kept = [value(p).copy() for p in net.parameters()]
    nn.utils.vector_to_parameters(vector * 2, net.parameters())
    for p, before in zip(net.parameters(), kept):
        np.testing.assert_array_equal(value(p), 2 * before)
    with pytest.raises(ValueError, match="13 elements"):
        nn.utils.vector_to_parameters(cr.ones(12), net.parameters())
    with pytest.raises(TypeError, match=r"expected chainrule\.Tensor"):
        nn.utils.vector_to_parameters([1.0] * 13, net.parameters())
