"""softmax and log_softmax where their kernel has ways of its own: rows and strips of columns, whole, in part, gathered
in scratch, streamed."""

import numpy as np
import pytest

from lib import array, cr, tensor
from reference import log_softmax, softmax

ROWS = [(3, 5), (7, 16), (4, 100), (2, 1024), (3, 2500), (2, 9000)]
COLUMNS = [(2, 5, 3), (1, 70, 64), (3, 130, 64), (2, 65, 70), (1, 1500, 40), (1, 9000, 20), (1, 20_000, 17)]
STREAMED = [(2200, 1024), (1, 130, 33_000), (9, 8000, 64)]
CASES = [(s, -1) for s in ROWS + STREAMED[:1]] + [(s, 1) for s in COLUMNS + STREAMED[1:]]
OTHERS = {"softmax": softmax, "log_softmax": log_softmax}
BOUNDS = {"float32": 1e-5, "float64": 1e-12}


def differentiated(name, x, g, dim):
    y = OTHERS[name](x, dim)
    if name == "softmax":
        return y * (g - (g * y).sum(axis=dim, keepdims=True))
    return g - np.exp(y) * g.sum(axis=dim, keepdims=True)


@pytest.mark.parametrize("dtype", BOUNDS)
@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize(("shape", "dim"), CASES, ids=str)
def test_values_and_gradients(shape, dim, name, dtype):
    rng = np.random.default_rng(0)
    x, g = (scale * rng.standard_normal(shape) for scale in (3, 1))
    x, g = x.astype(dtype), g.astype(dtype)
    given = tensor(x, requires_grad=True)
    y = getattr(cr, name)(given, dim)
    wide, wide_g = x.astype(np.float64), g.astype(np.float64)
    bound = {"rtol": BOUNDS[dtype], "atol": 2 * BOUNDS[dtype]}
    np.testing.assert_allclose(array(y), OTHERS[name](wide, dim), rtol=BOUNDS[dtype], atol=BOUNDS[dtype] / 10)
    want = differentiated(name, wide, wide_g, dim)
    y.backward(tensor(g), retain_graph=True)
    np.testing.assert_allclose(array(given.grad), want, **bound)
    given.grad = None
    (y * 2).backward(tensor(g))  # the gradient that arrives is nobody else's
    np.testing.assert_allclose(array(given.grad), 2 * want, **bound)


@pytest.mark.parametrize("dtype", BOUNDS)
@pytest.mark.parametrize("shape", [(3, 9), (3, 200), (200, 3), (200, 70)], ids=str)
@pytest.mark.parametrize("dim", [0, 1])
def test_masked_and_infinite(shape, dim, dtype):
    x = np.random.default_rng(1).standard_normal(shape).astype(dtype)
    x[1::2, ::3] = -np.inf
    x[0, 0] = 3e4
    y = array(cr.softmax(tensor(x), dim))
    want = softmax(x.astype(np.float64), dim)
    assert (y[want == 0] == 0).all()
    np.testing.assert_allclose(y, want, rtol=BOUNDS[dtype], atol=BOUNDS[dtype] / 10)
    x[0, 1] = np.nan
    for f in (cr.softmax, cr.log_softmax):
        gone = np.isnan(array(f(tensor(x), dim)))
        assert gone[0].all() if dim == 1 else gone[:, 1].all()
        assert not (gone[2] if dim == 1 else gone[:, 2]).any()


@pytest.mark.parametrize("x", [-103.0, -95.0, -88.0, -80.0, -60.0, -20.0, -1.0, -1e-7, 0.0])
def test_small_probabilities(x):
    """The exponential that softmax uses: digits down to the denormal numbers."""
    for shape, dim in (((2, 40), 1), ((40, 2), 0)):
        a = np.full(shape, x, np.float32)
        a[0, 0] = a[-1, -1] = 0
        got = array(cr.softmax(tensor(a), dim))
        want = softmax(a.astype(np.float64), dim)
        np.testing.assert_allclose(got, want, rtol=4e-6, atol=1.5e-45)


@pytest.mark.parametrize(("shape", "dim"), [((300, 1000), 1), ((3, 300, 100), 1), *CASES[-3:]], ids=str)
def test_threads(shape, dim):
    x = tensor(np.random.default_rng(2).standard_normal(shape).astype(np.float32), requires_grad=True)
    count, found = cr.get_num_threads(), []
    for threads in (1, 2, 3):
        cr.set_num_threads(threads)
        x.grad = None
        y = cr.softmax(x, dim)
        y.backward(x.detach())
        found.append((array(y), array(x.grad)))
    cr.set_num_threads(count)
    for y, dx in found[1:]:
        assert (y == found[0][0]).all()
        assert (dx == found[0][1]).all()
