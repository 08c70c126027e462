"""How tensors print: PyTorch's digits, widths, summaries and suffixes, here as constants."""

import pytest

from lib import NAME, cr

nan, inf = float("nan"), float("inf")

PRINTED = [
    (lambda: cr.tensor(1), "tensor(1)"),
    (lambda: cr.tensor(1.5), "tensor(1.5000)"),
    (lambda: cr.tensor(True), "tensor(True)"),
    (lambda: cr.tensor([]), "tensor([])"),
    (lambda: cr.zeros(2, 0), "tensor([], size=(2, 0))"),
    (lambda: cr.tensor([1, -20, 300]), "tensor([  1, -20, 300])"),
    (lambda: cr.tensor([1.0, 2.0]), "tensor([1., 2.])"),
    (lambda: cr.tensor([1.0, 2.5]), "tensor([1.0000, 2.5000])"),
    (lambda: cr.tensor([1e-8, 1.0]), "tensor([1.0000e-08, 1.0000e+00])"),
    (lambda: cr.tensor([1e8, 1.0]), "tensor([1.0000e+08, 1.0000e+00])"),
    (lambda: cr.tensor([123456.0, 0.5]), "tensor([1.2346e+05, 5.0000e-01])"),
    (lambda: cr.tensor([nan, inf, -inf, 1.0]), "tensor([nan, inf, -inf, 1.])"),
    (lambda: cr.tensor([nan, 0.25]), "tensor([   nan, 0.2500])"),
    (lambda: cr.tensor([1.0], dtype=cr.float64), "tensor([1.], dtype=torch.float64)"),
    (lambda: cr.tensor([1], dtype=cr.int32), "tensor([1], dtype=torch.int32)"),
    (lambda: cr.tensor([1], dtype=cr.uint8), "tensor([1], dtype=torch.uint8)"),
    (lambda: cr.tensor([True, False]), "tensor([ True, False])"),
    (lambda: cr.tensor([[1, 2], [3, 40]]), "tensor([[ 1,  2],\n        [ 3, 40]])"),
    (lambda: cr.ones(2, requires_grad=True), "tensor([1., 1.], requires_grad=True)"),
    (lambda: cr.ones(2, requires_grad=True) * 2, "tensor([2., 2.], grad_fn=<MulBackward0>)"),
    (lambda: cr.ones(2, requires_grad=True).sum(), "tensor(2., grad_fn=<SumBackward0>)"),
    *[
        (
            lambda f=f: f(cr.full((1, 2), 0.5, requires_grad=True)),
            f"tensor({values}, grad_fn=<{name}>)",
        )
        for f, values, name in [
            (lambda x: x**2, "[[0.2500, 0.2500]]", "PowBackward0"),
            (lambda x: x**3, "[[0.1250, 0.1250]]", "PowBackward0"),
            (lambda x: x.sum(0), "[0.5000, 0.5000]", "SumBackward1"),
            (lambda x: x.mean(1), "[0.5000]", "MeanBackward1"),
            (lambda x: x.mean(), "0.5000", "MeanBackward0"),
            (lambda x: x.max(), "0.5000", "MaxBackward1"),
            (lambda x: x.t(), "[[0.5000],\n        [0.5000]]", "TBackward0"),
            (lambda x: x.squeeze(0), "[0.5000, 0.5000]", "SqueezeBackward1"),
            (lambda x: x.log1p(), "[[0.4055, 0.4055]]", "Log1PBackward0"),
            (lambda x: x.clamp(0, 1), "[[0.5000, 0.5000]]", "ClampBackward1"),
            (lambda x: x.softmax(1), "[[0.5000, 0.5000]]", "SoftmaxBackward0"),
        ]
    ],
    (lambda: cr.arange(2000), "tensor([   0,    1,    2,  ..., 1997, 1998, 1999])"),
    (
        lambda: cr.zeros(2, 2, 2),
        "tensor([[[0., 0.],\n         [0., 0.]],\n\n        [[0., 0.],\n         [0., 0.]]])",
    ),
    (
        lambda: cr.zeros(40, 40),
        "tensor([[0., 0., 0.,  ..., 0., 0., 0.],\n        [0., 0., 0.,  ..., 0., 0., 0.],\n"
        "        [0., 0., 0.,  ..., 0., 0., 0.],\n        ...,\n        [0., 0., 0.,  ..., 0., 0., 0.],\n"
        "        [0., 0., 0.,  ..., 0., 0., 0.],\n        [0., 0., 0.,  ..., 0., 0., 0.]])",
    ),
    (
        lambda: cr.arange(30),
        "tensor([ 0,  1,  2,  3,  4,  5,  6,  7,  8,  9, 10, 11, 12, 13, 14, 15, 16, 17,\n"
        "        18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29])",
    ),
    (
        lambda: cr.nn.Parameter(cr.ones(2)),
        "Parameter containing:\ntensor([1., 1.], requires_grad=True)",
    ),
]


@pytest.mark.parametrize("number", range(len(PRINTED)))
def test_printed(number):
    build, want = PRINTED[number]
    assert repr(build()) == want.replace("torch.", f"{NAME}.")
    assert str(build()) == repr(build())


def test_print_options():
    x = cr.tensor([1 / 3, 2 / 3])
    try:
        cr.set_printoptions(precision=2)
        assert repr(x) == "tensor([0.33, 0.67])"
        cr.set_printoptions(precision=4, threshold=1, edgeitems=1)
        assert repr(cr.arange(5)) == "tensor([0,  ..., 4])"
        cr.set_printoptions(profile="default", sci_mode=True)
        assert repr(x) == "tensor([3.3333e-01, 6.6667e-01])"
        assert repr(x - 0.5) == "tensor([-1.6667e-01,  1.6667e-01])"
    finally:
        cr.set_printoptions(profile="default", sci_mode=None)
    assert repr(x) == "tensor([0.3333, 0.6667])"


def test_format():
    assert f"{cr.tensor(1.23456):.2f}" == "1.23"
    assert f"{cr.tensor(7):03d}" == "007"
    assert f"{cr.tensor([1.0])}" == "tensor([1.])"


def test_dtypes_and_devices():
    assert str(cr.float32) == f"{NAME}.float32" and repr(cr.int64) == f"{NAME}.int64"
    assert repr(cr.device("cpu")) == "device(type='cpu')"
    assert cr.float is cr.float32 and cr.double is cr.float64 and cr.long is cr.int64 and cr.int is cr.int32
