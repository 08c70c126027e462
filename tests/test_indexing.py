"""Indexing, beyond what test_properties.py compares with NumPy: assignment, gradients, refusals."""

import numpy as np
import pytest

from lib import array, cr

BASE = np.arange(24.0).reshape(2, 3, 4)


def base(requires_grad=False):
    return cr.from_numpy(BASE.copy()).requires_grad_(requires_grad)


INDICES = {
    "integer": 1,
    "negative": -1,
    "slice": slice(1, None),
    "step": (slice(None), slice(None, None, 2)),
    "ellipsis": (..., 1),
    "none": (None, 1, None),
    "list": [1, 0, 1],
    "pair of lists": ([0, 1], [2, 0]),
    "list after slice": (slice(None), [2, 0]),
    "lists around a slice": ([0, 1], slice(None), [3, 2]),
    "boolean": BASE > 11,
    "boolean rows": np.array([True, False]),
    "boolean and integer": (np.array([True, False]), 1),
    "column and row": (np.array([[0], [1]]), np.array([[0, 2]])),
    "empty array": np.zeros(0, int),
    "true": True,
    "all": (),
    "array of none": np.array(1),
}


def convert(index):
    if isinstance(index, tuple):
        return tuple(map(convert, index))
    return cr.from_numpy(np.array(index)) if isinstance(index, np.ndarray) else index


@pytest.mark.parametrize("name", INDICES)
def test_read_write_and_gradient(name):
    index, theirs = INDICES[name], convert(INDICES[name])
    x = base(requires_grad=True)
    got, want = x[theirs], BASE[index]
    assert tuple(got.shape) == want.shape
    np.testing.assert_array_equal(array(got), want)
    w = np.random.default_rng(0).normal(size=want.shape)
    (got * cr.from_numpy(np.asarray(w))).sum().backward()
    expected = np.zeros_like(BASE)
    np.add.at(expected, index, w)
    np.testing.assert_allclose(array(x.grad), expected, rtol=1e-14)


@pytest.mark.parametrize("name", INDICES)
def test_assignment(name):
    """Of a number and of a tensor, which broadcasts; its gradient is what was read where it landed."""
    index, theirs = INDICES[name], convert(INDICES[name])
    x, want = base(), BASE.copy()
    x[theirs] = -1
    want[index] = -1
    np.testing.assert_array_equal(array(x), want)
    source = cr.tensor(5.0, dtype=cr.float64, requires_grad=True)
    x = base(requires_grad=True)
    y = x * 1
    y[theirs] = source
    y.sum().backward()
    covered = np.zeros_like(BASE)
    covered[index] = 1
    assert float(source.grad) == BASE[index].size
    np.testing.assert_array_equal(array(x.grad), 1 - covered)


def test_basic_indices_are_views_and_advanced_ones_copies():
    x = base()
    x[0, 1:].zero_()
    assert array(x)[0, 1:].sum() == 0
    x = base()
    x[[0]].zero_()
    assert array(x)[0].sum() != 0


def test_repeated_indices_add_up_only_in_the_gradient():
    x = cr.zeros(3, dtype=cr.float64)
    x[[0, 0, 1]] += 1
    assert x.tolist() == [1, 1, 0]
    x = cr.ones(3, dtype=cr.float64, requires_grad=True)
    x[[0, 0, 1]].sum().backward()
    assert x.grad.tolist() == [2, 1, 0]


def test_index_put():
    x = cr.zeros(3)
    x.index_put_((cr.tensor([0, 0, 2]),), cr.tensor([1.0, 2.0, 3.0]), accumulate=True)
    assert x.tolist() == [3, 0, 3]


def test_dtype_of_what_is_assigned():
    x = cr.zeros(3)
    x[0] = True
    x[1] = 2
    x[2] = cr.tensor(3)
    assert x.tolist() == [1, 2, 3]
    y = cr.zeros(2, dtype=cr.int64)
    y[0] = 2.7
    assert y.tolist() == [2, 0]
    x[:] = cr.arange(3)
    assert x.tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    "index, error",
    [
        (2, IndexError),
        (-3, IndexError),
        ((0, 0, 0, 0), IndexError),
        ([0, 2], IndexError),
        ([0, -3], IndexError),
        (([0, 1], [0, 1, 2]), IndexError),
        ("text", (IndexError, TypeError)),
        (1.5, (IndexError, TypeError)),
        (slice(None, None, 0), ValueError),
        (slice(None, None, -1), ValueError),
        (np.array([0.5]), IndexError),
        (np.array([True, False, True]), IndexError),
        (slice("a", None), TypeError),
    ],
    ids=str,
)
def test_refused(index, error):
    """Reading and writing: nothing is written when any index is wrong, even in the middle."""
    x = base()
    with pytest.raises(error):
        x[convert(index)]
    with pytest.raises(error):
        x[convert(index)] = 1
    np.testing.assert_array_equal(array(x), BASE)


def test_shapes_of_what_is_assigned():
    x = base()
    for index, shape in ((0, (2, 4)), ([0, 1], (3, 3, 4)), (slice(None), (2, 2, 3, 4))):
        with pytest.raises(RuntimeError, match=r"shape|size|expand|broadcast"):
            x[index] = cr.ones(shape, dtype=cr.float64)
    np.testing.assert_array_equal(array(x), BASE)
    x[0] = cr.ones(1, 1, 4, dtype=cr.float64)
    assert (array(x)[0] == 1).all()


def test_a_tensor_without_dimensions():
    t = cr.tensor(3.0)
    assert t[...].shape == () and t[None].shape == (1,) and t[()].item() == 3
    with pytest.raises(IndexError):
        t[0]
    t[...] = 4
    assert t.item() == 4


@pytest.mark.parametrize("size", [40_000, 300_001])
def test_numbers_on_all_threads(size):
    a = np.random.default_rng(size).integers(3, 700, size)
    np.testing.assert_array_equal(
        cr.bincount(cr.tensor(a), minlength=900).numpy(), np.bincount(a, minlength=900)
    )
    table = np.arange(700)
    np.testing.assert_array_equal(cr.tensor(table).gather(0, cr.tensor(a)).numpy(), a)
    for index in a - 4, a + 1:
        if index.min() < 0 or index.max() >= 700:
            with pytest.raises(RuntimeError, match="out of bounds"):
                cr.tensor(table).gather(0, cr.tensor(index))
    assert cr.equal(cr.tensor(a), cr.tensor(a.copy()))
    a[size - 2] += 1
    assert not cr.equal(cr.tensor(a), cr.tensor(np.roll(a, 1)))


@pytest.mark.parametrize("dtype", ["int32", "int64", "uint8"])
def test_integers_between_bounds(dtype):
    a = np.arange(0, 250).astype(dtype)
    x = cr.tensor(a)
    np.testing.assert_array_equal(x.clamp(20, 100).numpy(), a.clip(20, 100))
    np.testing.assert_array_equal(x.clamp(20, 99.5).numpy(), a.clip(20, 99.5))
    np.testing.assert_array_equal(x.numpy(), a)


def test_bounds_beyond_the_integers():
    x = cr.tensor([-(2**62), -3, 0, 2**62])
    assert x.clamp(min=-(2**60)).tolist() == [-(2**60), -3, 0, 2**62]
    assert x.clamp(max=2**53 + 1).tolist() == [-(2**62), -3, 0, 2**53 + 1]
    assert x.clamp_(-(2**53), 5).tolist() == [-(2**53), -3, 0, 5]
    assert cr.tensor([1, 250], dtype=cr.uint8).clamp(max=255).tolist() == [1, 250]
    assert cr.tensor([True, False]).clamp(max=0).tolist() == [0, 0]
    assert cr.tensor([1.0, float("nan")]).clamp(0, 0.5).isnan().tolist() == [False, True]
    assert cr.tensor([1.0, 2.0]).clamp(min=float("nan")).isnan().all()


@pytest.mark.parametrize("size", [7, 70_001])
def test_one_element_a_place(size):
    """Picked, set, added and scattered along the last dimension, and the positions of what is not zero."""
    rng = np.random.default_rng(1)
    a, index = rng.integers(0, 9, (3, 50)).astype("float32"), rng.integers(0, 50, size)
    v = rng.integers(0, 9, (3, size)).astype("float32")
    i, x, added, last = cr.tensor(index), cr.tensor(a), a.copy(), a.copy()
    np.testing.assert_array_equal(x[:, i].numpy(), a[:, index])
    for row in range(3):
        np.add.at(added[row], index, v[row])
        for k, value in zip(index, v[row], strict=True):
            last[row, k] = value
    np.testing.assert_array_equal(x.index_add(1, i, cr.tensor(v)).numpy(), added)
    np.testing.assert_array_equal(x.scatter_add(1, i.expand(3, size), cr.tensor(v)).numpy(), added)
    written = x.clone()
    written[:, i] = cr.tensor(v)
    np.testing.assert_array_equal(written.numpy(), last)
    np.testing.assert_array_equal(
        x.index_fill(1, i, 2).numpy(), np.where(np.isin(np.arange(50), index), 2, a)
    )
    holes = v.reshape(-1, size // 7, 3) * (v.reshape(-1, size // 7, 3) > 6) if size % 7 == 0 else v[None]
    np.testing.assert_array_equal(cr.tensor(holes).nonzero().numpy(), np.argwhere(holes))
    for wrong in -51, 50:
        bad = cr.tensor(np.append(index, wrong))
        with pytest.raises(IndexError, match=f"index {wrong} is out of bounds"):
            x[:, bad]


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
@pytest.mark.parametrize("pads", [(2, 1), (0, 3, 1, 2), (1, 0, 2, 2, 1, 1)], ids=str)
def test_borders(mode, pads):
    """Against NumPy's, with the gradient by a sum over where elements went, and the gradient of the gradient."""
    a = np.random.default_rng(0).standard_normal((2, 3, 4, 5, 6))[:, : 5 - len(pads) // 2 - 1]
    a = a.reshape(-1, *a.shape[-1 - len(pads) // 2 :][:1], *a.shape[-(len(pads) // 2) :])
    widths = [(0, 0)] * (a.ndim - len(pads) // 2) + [pads[k : k + 2] for k in range(len(pads) - 2, -1, -2)]
    how = {"reflect": "reflect", "replicate": "edge", "circular": "wrap"}[mode]
    x = cr.tensor(a, requires_grad=True)
    y = cr.nn.functional.pad(x, pads, mode=mode)
    np.testing.assert_array_equal(y.detach().numpy(), np.pad(a, widths, how))
    g = np.random.default_rng(1).standard_normal(tuple(y.shape))
    places = np.pad(np.arange(a.size).reshape(a.shape), widths, how)
    want = np.bincount(places.ravel(), g.ravel(), a.size).reshape(a.shape)
    given = cr.tensor(g, requires_grad=True)
    (dx,) = cr.autograd.grad(y, x, given, create_graph=True)
    np.testing.assert_allclose(dx.detach().numpy(), want, rtol=1e-12, atol=1e-12)
    (ddg,) = cr.autograd.grad(dx, given, x)
    np.testing.assert_array_equal(ddg.numpy(), y.detach().numpy())


def test_gather_refuses_numbers_written_before_its_gradient():
    x, index = cr.randn(3, 4, requires_grad=True), cr.tensor([[0, 1], [2, 3], [1, 1]])
    y = x.gather(1, index)
    index[0, 0] = 2
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()
