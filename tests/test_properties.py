"""Properties that hold for all shapes, indices and numbers: hypothesis looks for exceptions."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from lib import array, cr, dtype_of
from reference.dtypes import DTYPES, result_type

SHAPES = npst.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)
NUMBERS = st.floats(-100, 100, width=32)


def arrays(shape=SHAPES, dtype=np.float64):
    return npst.arrays(dtype, shape, elements=NUMBERS if np.dtype(dtype).kind == "f" else None)


def same(got, want):
    assert tuple(got.shape) == np.shape(want)
    np.testing.assert_array_equal(array(got), want)


def close(got, want):
    assert tuple(got.shape) == np.shape(want)
    np.testing.assert_allclose(array(got), want, rtol=1e-11, atol=1e-9)


def strided(draw, a):
    """The array under another order of dimensions and with steps: the same numbers, other strides."""
    order = draw(st.permutations(range(a.ndim)))
    steps = tuple(slice(None, None, draw(st.integers(1, 3))) for _ in range(a.ndim))
    return a.transpose(order)[steps], cr.from_numpy(a).permute(tuple(order))[steps]


@given(npst.mutually_broadcastable_shapes(num_shapes=2, max_dims=4, max_side=4, min_side=0), st.data())
def test_broadcasting(shapes, data):
    a, b = (data.draw(arrays(shape)) for shape in shapes.input_shapes)
    x, y = cr.from_numpy(a).requires_grad_(), cr.from_numpy(b).requires_grad_()
    z = x * y
    same(z, a * b)
    z.sum().backward()
    ones = np.ones(shapes.result_shape)
    for leaf, other, shape in ((x, b, a.shape), (y, a, b.shape)):
        lead = len(shapes.result_shape) - len(shape)
        full = (ones * other).sum(axis=tuple(range(lead)))
        stretched = tuple(i for i, n in enumerate(shape) if n == 1 and full.shape[i] != 1)
        np.testing.assert_allclose(
            array(leaf.grad), full.sum(axis=stretched, keepdims=True), rtol=1e-12, atol=1e-9
        )


@given(st.lists(SHAPES, min_size=2, max_size=3))
def test_broadcast_shapes_agrees_with_numpy(shapes):
    try:
        want = np.broadcast_shapes(*shapes)
    except ValueError:
        want = None
    try:
        got = tuple(cr.broadcast_tensors(*[cr.zeros(shape) for shape in shapes])[0].shape)
    except RuntimeError:
        got = None
    assert got == want


@given(st.data())
def test_strided_views_compute_like_copies(data):
    a, x = strided(data.draw, data.draw(arrays()))
    same(x, a)
    same(x.contiguous(), a)
    same(x.exp(), array(x.contiguous().exp()))
    same(x + x, a + a)
    same(x.flatten(), a.ravel())
    y = cr.zeros(a.shape, dtype=cr.float64)
    y.copy_(x)
    same(y, a)


@given(st.data())
def test_basic_indexing(data):
    a = data.draw(arrays(npst.array_shapes(min_dims=1, max_dims=4, max_side=5)))
    index = data.draw(npst.basic_indices(a.shape, allow_newaxis=True, allow_ellipsis=True))
    if any(
        isinstance(i, slice) and (i.step or 1) < 0 for i in (index if isinstance(index, tuple) else (index,))
    ):
        return  # PyTorch has no negative steps
    check_index(a, lambda x: x[index], index)


@given(st.data())
def test_advanced_indexing(data):
    a = data.draw(arrays(npst.array_shapes(min_dims=1, max_dims=3, min_side=1, max_side=4)))
    index = data.draw(
        npst.integer_array_indices(a.shape, result_shape=npst.array_shapes(max_dims=2, max_side=3))
    )
    check_index(a, lambda x: x[index], tuple(cr.from_numpy(i.astype(np.int64)) for i in index))


@given(st.data())
def test_mixed_indexing(data):
    """Integers, slices, None, Ellipsis, lists and index arrays in one index."""
    a = data.draw(arrays(npst.array_shapes(min_dims=2, max_dims=4, min_side=1, max_side=4)))
    parts, used = [], 0
    while used < a.ndim:
        n = a.shape[used]
        kind = data.draw(st.sampled_from(["int", "slice", "none", "list", "stop"]))
        if kind == "stop":
            parts.append(Ellipsis)
            break
        if kind == "none":
            parts.append(None)
            continue
        used += 1
        if kind == "int":
            parts.append(data.draw(st.integers(-n, n - 1)))
        elif kind == "slice":
            parts.append(
                slice(
                    data.draw(st.integers(-n, n)), data.draw(st.integers(-n, n)), data.draw(st.integers(1, 2))
                )
            )
        else:
            parts.append(data.draw(st.lists(st.integers(-n, n - 1), min_size=2, max_size=2)))
    # PyTorch selects by the integers before the lists come; NumPy would count them among the index arrays.
    basic = tuple(slice(None) if isinstance(p, list) else p for p in parts)
    kept = [p for p in parts if not isinstance(p, int)]
    lists = [p if isinstance(p, list) or p is Ellipsis else slice(None) for p in kept]
    check_index(a, lambda x: x[basic][tuple(lists)], tuple(parts))


@given(st.data())
def test_boolean_indexing(data):
    a = data.draw(arrays(npst.array_shapes(min_dims=1, max_dims=3, max_side=4)))
    mask = data.draw(npst.arrays(bool, a.shape[: data.draw(st.integers(1, a.ndim))]))
    check_index(a, lambda x: x[mask], cr.from_numpy(mask))


def check_index(a, pick, index):
    """Reading, the gradient of reading, writing and in-place arithmetic; `pick` indexes a NumPy array."""
    places = pick(np.arange(a.size).reshape(a.shape))
    x = cr.from_numpy(a.copy()).requires_grad_()
    got = x[index]
    same(got, a.ravel()[places])
    got.sum().backward()
    counts, written, doubled = np.zeros(a.size), a.flatten(), a.flatten()
    np.add.at(counts, places, 1)
    same(x.grad, counts.reshape(a.shape))
    written[places] = 7.0
    doubled[places] *= 2
    ours, twice = cr.from_numpy(a.copy()), cr.from_numpy(a.copy())
    ours[index] = 7.0
    twice[index] *= 2
    same(ours, written.reshape(a.shape))
    same(twice, doubled.reshape(a.shape))


@given(st.sampled_from(DTYPES), st.sampled_from(DTYPES), SHAPES, SHAPES)
def test_promotion(a, b, first, second):
    try:
        np.broadcast_shapes(first, second)
    except ValueError:
        return
    x, y = (cr.ones(shape, dtype=getattr(cr, dtype)) for dtype, shape in ((a, first), (b, second)))
    assert dtype_of(x * y) == result_type((a, len(first)), (b, len(second)))


@given(st.data())
def test_reductions(data):
    a, x = strided(data.draw, data.draw(arrays()))
    dims = tuple(data.draw(st.sets(st.integers(0, a.ndim - 1)))) if a.ndim else ()
    keepdim = data.draw(st.booleans())
    if dims:
        close(x.sum(dims, keepdim), a.sum(dims, keepdims=keepdim))
        if a.size:
            close(x.mean(dims, keepdim), a.mean(dims, keepdims=keepdim))
            close(x.logsumexp(dims, keepdim), np.logaddexp.reduce(a, dims, keepdims=keepdim))
            same(x.amax(dims, keepdim), a.max(dims, keepdims=keepdim))
            same((x > 0).any(dims, keepdim), (a > 0).any(dims, keepdims=keepdim))


@given(st.data())
def test_permuted_tensors_are_summed_as_they_lie(data):
    x = cr.from_numpy(np.random.default_rng(0).normal(size=(3, 40, 5, 7)))
    order = data.draw(st.permutations(range(4)))
    moved = x.permute(tuple(order))
    same(moved.sum(), array(x.sum()))
    for i, d in enumerate(order):
        back = np.argsort([other for other in order if other != d]).tolist()
        same(moved.var(i).permute(back), array(x.var(d)))
        same(moved.sum(i).permute(back), array(x.sum(d)))


@given(arrays(), st.data())
def test_permute_and_back(a, data):
    order = data.draw(st.permutations(range(a.ndim)))
    x = cr.from_numpy(a)
    moved = x.permute(tuple(order))
    same(moved, a.transpose(order))
    same(moved.permute(tuple(np.argsort(order).tolist())), a)


@given(arrays(npst.array_shapes(min_dims=1, max_dims=3, max_side=6)), st.data())
def test_split_and_cat_are_inverse(a, data):
    dim = data.draw(st.integers(0, a.ndim - 1))
    x = cr.from_numpy(a)
    pieces = x.split(data.draw(st.integers(1, 4)), dim)
    same(cr.cat(pieces, dim), a)
    same(cr.stack(x.unbind(dim), dim), a)


@given(st.integers(0, 6), st.integers(0, 6), st.integers(0, 6), st.data())
def test_matmul(n, k, m, data):
    a, b = data.draw(arrays((n, k))), data.draw(arrays((m, k)))
    close(cr.from_numpy(a) @ cr.from_numpy(b).t(), a @ b.T)


@given(arrays(npst.array_shapes(min_dims=1, max_dims=3, min_side=1, max_side=5)), st.data())
def test_sort_is_a_sorted_permutation(a, data):
    dim = data.draw(st.integers(0, a.ndim - 1))
    values, order = cr.from_numpy(a).sort(stable=True, dim=dim)
    same(values, np.sort(a, dim))
    same(order, np.argsort(a, dim, kind="stable"))


@given(arrays(dtype=np.int64))
def test_integers_survive_python_and_back(a):
    same(cr.tensor(a.tolist(), dtype=cr.int64).reshape(a.shape), a)
    assert cr.from_numpy(a).tolist() == a.tolist()
