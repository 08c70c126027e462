"""Copies from one layout to another, against NumPy's: every element size, edges of the tiles, streamed sizes."""

import itertools

import numpy as np
import pytest

from lib import cr

DTYPES = ["uint8", "bool", "int32", "int64", "float32", "float64"]
SHAPES = [(1, 1), (5, 3), (16, 16), (17, 33), (64, 1), (100, 70), (3, 16, 40), (2, 3, 31, 18), (4, 1, 65, 2)]


def numbers(shape, dtype):
    count = int(np.prod(shape))
    return (np.arange(count) * 7919 % 251).astype(dtype).reshape(shape)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_permuted(shape, dtype):
    a = numbers(shape, dtype)
    for order in itertools.permutations(range(len(shape))):
        got = cr.tensor(a).permute(order).contiguous()
        assert got.is_contiguous()
        np.testing.assert_array_equal(got.numpy(), a.transpose(order))


@pytest.mark.parametrize("dtype", ["uint8", "int32", "float64"])
def test_into_a_strided_tensor(dtype):
    a = numbers((40, 50), dtype)
    for rows, cols in [(slice(None), slice(3, 35)), (slice(1, None, 2), slice(None, None, 3))]:
        room = cr.zeros(120, 64, dtype=getattr(cr, dtype))
        want = np.zeros((120, 64), dtype)
        source = cr.tensor(a)[rows, cols].t()
        m, n = source.shape
        room[5 : 5 + 2 * m : 2, 7 : 7 + n].copy_(source)
        want[5 : 5 + 2 * m : 2, 7 : 7 + n] = a[rows, cols].T
        np.testing.assert_array_equal(room.numpy(), want)


@pytest.mark.parametrize("shape", [(1024, 1200), (1030, 1099), (2, 640, 1024)], ids=str)
def test_large_transposes(shape):  # past the size from which lines are streamed
    a = numbers(shape, "float32")
    np.testing.assert_array_equal(cr.tensor(a).transpose(-1, -2).contiguous().numpy(), a.swapaxes(-1, -2))


def test_flat_copy_past_the_caches():
    a = cr.arange(6_000_001, dtype=cr.float32)
    assert cr.equal(a.clone(), a)
    assert cr.equal(a[1:].clone(), a[1:])


def test_expanded_and_reversed():
    a = numbers((6, 70), "float32")
    np.testing.assert_array_equal(
        cr.tensor(a)[:, :1].expand(6, 90).contiguous().numpy(), np.repeat(a[:, :1], 90, 1)
    )
    np.testing.assert_array_equal(
        cr.tensor(a)[:1].expand(50, 70).contiguous().numpy(), np.repeat(a[:1], 50, 0)
    )
    np.testing.assert_array_equal(cr.tensor(a).flip(0, 1).numpy(), a[::-1, ::-1])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("width", [1, 3, 15, 16, 31, 64, 65, 200, 1000])
def test_turned_stepped_and_short_rows(dtype, width):
    a = numbers((70, width), dtype)
    x = cr.tensor(a)
    for dims in (0,), (1,), (0, 1):
        np.testing.assert_array_equal(x.flip(dims).numpy(), np.flip(a, dims))
        np.testing.assert_array_equal(x.t().flip(dims).numpy(), np.flip(a.T, dims))
        assert x.t().flip(dims).stride() == x.t().stride() or 1 in a.shape
    for step in range(1, 6):
        np.testing.assert_array_equal(x[:, ::step].contiguous().numpy(), a[:, ::step])
        np.testing.assert_array_equal(x[:, -1:][::step].contiguous().numpy(), a[:, -1:][::step])
    np.testing.assert_array_equal(cr.cat([x, x[:, :1], x], 1).numpy(), np.concatenate([a, a[:, :1], a], 1))
    np.testing.assert_array_equal(x.roll(3).numpy(), np.roll(a, 3))
    np.testing.assert_array_equal(cr.full((70, width), 1, dtype=x.dtype).numpy(), np.ones_like(a))


def test_reductions_of_rows_with_gaps():
    a = np.random.default_rng(0).standard_normal((7, 90, 130))
    whole = numbers(a.shape, "int32")
    for cut in np.s_[:, 3:80, 5:120], np.s_[1:6, :, :70], np.s_[:, ::2, 1:], np.s_[:, :, 9:12], np.s_[::2]:
        x, part = cr.tensor(a)[cut], a[cut]
        for axes in (0,), (1,), (2,), (0, 1), (1, 2), (0, 2), (0, 1, 2):
            for name in "sum", "mean", "var", "prod", "amax", "amin", "std":
                numpy = getattr(part, {"amax": "max", "amin": "min"}.get(name, name))
                got = getattr(x, name)(dim=axes, keepdim=True) if name != "prod" else None
                if name == "prod":
                    if len(axes) > 1:
                        continue
                    got = x.prod(axes[0], keepdim=True)
                want = numpy(axis=axes, keepdims=True, **({"ddof": 1} if name in ("var", "std") else {}))
                np.testing.assert_allclose(got.numpy(), want, rtol=1e-12, atol=1e-12)
            np.testing.assert_array_equal((x > 1).any(axes[0]).numpy(), (part > 1).any(axes[0]))
            np.testing.assert_array_equal(cr.tensor(whole)[cut].sum(axes).numpy(), whole[cut].sum(axis=axes))


def laid(a, order, step):
    """The numbers of `a` in a tensor whose memory has another order of dimensions, and gaps."""
    shape = tuple(n * s for n, s in zip((a.shape[d] for d in order), step, strict=True))
    gaps = tuple(slice(None, None, s) for s in step)
    room = cr.zeros(shape, dtype=cr.tensor(a).dtype)[gaps].permute(tuple(np.argsort(order).tolist()))
    room.copy_(cr.tensor(a))
    return room


@pytest.mark.parametrize("shape", [(3, 70, 130), (300, 5, 2), (40, 2, 90), (2, 3, 4), (1, 600, 3)], ids=str)
def test_elementwise_loops_over_mixed_layouts(shape):
    a, b, c = (numbers(shape, dtype) + 1 for dtype in ("float32", "float64", "int64"))
    orders = list(itertools.permutations(range(3)))
    for i, order in enumerate(orders):
        for step in (1, 1, 1), (1, 1, 2), (2, 1, 3):
            x, y = laid(a, order, step), laid(b, orders[i - 1], (1, 1, 1))
            z = laid(c, orders[i - 2], step)
            np.testing.assert_array_equal((x + y).numpy(), a + b)
            np.testing.assert_array_equal((x * z).numpy(), a * c.astype("float32"))
            np.testing.assert_array_equal((x - x[:, :1]).numpy(), a - a[:, :1])
            np.testing.assert_array_equal(
                cr.where(x > z, x, 1.5).numpy(), np.where(a > c, a, np.float32(1.5))
            )
            np.testing.assert_array_equal(y.add_(x[:1]).numpy(), b + a[:1])
            np.testing.assert_array_equal(x.mul_(z).numpy(), a * c.astype("float32"))
