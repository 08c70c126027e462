"""Convolution on more sizes: Winograd's algorithm, its accuracy and numbers that are not finite; parts of tiles."""

import numpy as np
import pytest

import reference as ref
from lib import array, cr, tensor

CONV = cr.nn.functional.conv2d


def run(x, weight, g, **options):
    """Values, and the gradients of input and weight for the gradient `g` of the values."""
    x, weight = tensor(x, requires_grad=True), tensor(weight, requires_grad=True)
    y = CONV(x, weight, **options)
    y.backward(tensor(g))
    return array(y), array(x.grad), array(weight.grad)


def by_definition(x, weight, g, padding):
    turned = weight[:, :, ::-1, ::-1].swapaxes(0, 1)
    with np.errstate(all="ignore"):
        return (
            ref.conv2d(x, weight, padding=padding),
            ref.conv2d(g, turned, padding=2 - padding),
            ref.conv2d(x.swapaxes(0, 1), g.swapaxes(0, 1), padding=padding).swapaxes(0, 1),
        )


def sample(n, channels, m, size, padding, dtype):
    rng, out = np.random.default_rng(0), size + 2 * padding - 2
    shapes = (n, channels, size, size), (m, channels, 3, 3), (n, m, out, out)
    return [rng.normal(size=shape).astype(dtype) for shape in shapes]


@pytest.mark.parametrize(("dtype", "bound"), [("float32", 1e-6), ("float64", 2e-14)])
@pytest.mark.parametrize(
    "sizes", [(2, 16, 16, 16), (2, 64, 64, 14), (1, 17, 70, 21), (1, 300, 33, 15), (8, 256, 256, 7)], ids=str
)
def test_rounding(sizes, dtype, bound):
    given = sample(*sizes, 1, dtype)
    for got, want in zip(
        run(*given, padding=1), by_definition(*(a.astype("float64") for a in given), 1), strict=True
    ):
        np.testing.assert_allclose(got, want, rtol=0, atol=bound * abs(want).max())


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan, 3e38], ids=str)
@pytest.mark.parametrize("which", range(3), ids=["input", "weight", "grad"])
def test_one_that_is_not_finite_spoils_no_neighbours(which, value):
    """Nor do large ones, where only sums that the definition does not have would overflow."""
    for padding, channels, m in (0, 16, 17), (1, 16, 17), (1, 96, 97):  # large weights in parts
        given = sample(2, channels, m, 15, padding, "float32")
        # Small factors, so that the definition has no overflow of its own.
        for i, array_ in enumerate(given):
            if i != which and np.isfinite(value):
                array_ *= np.float32(1e-3)
        for place in [(0, 3, 0, 1), (1, 5, 2, 0)]:
            given[which][place] = value
        wide = [a.astype("float64") for a in given]
        for got, want in zip(run(*given, padding=padding), by_definition(*wide, padding), strict=True):
            np.testing.assert_array_equal(np.isfinite(got), np.isfinite(want))
            np.testing.assert_array_equal(np.isnan(got), np.isnan(want))
            fine = np.isfinite(want)
            np.testing.assert_allclose(got[fine], want[fine], rtol=2e-5, atol=2e-5 * abs(want[fine]).max())


@pytest.mark.parametrize("m", [5, 8, 12, 16, 17, 31, 33, 50])
@pytest.mark.parametrize(
    ("channels", "size", "options"),
    [
        (3, 20, {}),
        (13, 9, {"padding": 2}),
        (11, 23, {"stride": 2, "padding": 1}),
        (2, 40, {"dilation": (1, 3)}),
    ],
    ids=str,
)
def test_parts_of_tiles(channels, size, options, m):
    """Channels, taps and pixels that fill no tile, and more of them than a block of sums."""
    check((2, channels, size, size), (m, channels, 5, 5), **options)


@pytest.mark.parametrize(
    ("image", "weight", "options"),
    [
        ((3, 40, 7, 7), (70, 40, 3, 3), {"stride": 2, "padding": 1}),  # few pixels, over images and K blocks
        ((5, 300, 3, 4), (65, 300, 2, 2), {}),
        ((2, 20, 14, 14), (100, 20, 3, 3), {"padding": 4, "dilation": 4}),
        ((3, 80, 5, 5), (64, 80, 1, 1), {}),
        ((2, 9, 11, 50), (10, 9, 3, 3), {"stride": (2, 3), "padding": 1}),  # the gradient's phases
        ((2, 8, 13, 40), (4, 4, 3, 5), {"stride": 2, "padding": (0, 2), "groups": 2}),
        ((1, 300, 9, 9), (600, 300, 1, 1), {"stride": 2}),
        ((1, 3, 34, 34), (40, 3, 8, 8), {"stride": 8}),
        ((1, 3, 9, 9), (8, 3, 2, 2), {"stride": 3}),  # pixels that no window sees
        ((19, 5, 6, 6), (7, 5, 4, 4), {}),  # small images that share a block of the weight's gradient
        ((4, 6, 5, 4), (9, 6, 5, 4), {}),  # a linear layer
    ],
    ids=str,
)
def test_few_pixels_strides_and_small_images(image, weight, options):
    check(image, weight, **options)


def check(image, weight, **options):
    """Derivatives are linear: they are compared along some directions."""
    rng = np.random.default_rng(weight[0])
    x, weight, bias = rng.normal(size=image), rng.normal(size=weight), rng.normal(size=weight[0])
    want = ref.conv2d(x, weight, bias, **options)
    g = rng.normal(size=want.shape)
    xt, wt = tensor(x, requires_grad=True), tensor(weight, requires_grad=True)
    y = CONV(xt, wt, tensor(bias), **options)
    y.backward(tensor(g))
    np.testing.assert_allclose(array(y), want, rtol=0, atol=1e-13 * abs(want).max())
    for grad, along in (
        (xt.grad, lambda d: ref.conv2d(d, weight, **options)),
        (wt.grad, lambda d: ref.conv2d(x, d, **options)),
    ):
        for _ in range(3):
            direction = rng.normal(size=grad.shape)
            np.testing.assert_allclose(
                (array(grad) * direction).sum(), (g * along(direction)).sum(), rtol=1e-10
            )
