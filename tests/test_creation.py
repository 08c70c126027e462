"""Tensors made from nothing, from Python and from NumPy. (Random ones: test_random.py.)"""

import numpy as np
import pytest

from lib import NAME, array, cr, dtype_of

CREATED = [
    ("zeros", (2, 3), {}, np.zeros((2, 3), np.float32)),
    ("zeros", ((2, 3),), {}, np.zeros((2, 3), np.float32)),
    ("zeros", (0,), {}, np.zeros(0, np.float32)),
    ("zeros", ((),), {}, np.zeros((), np.float32)),
    ("ones", (2,), {"dtype": "int32"}, np.ones(2, np.int32)),
    ("full", ((2, 2), 7), {}, np.full((2, 2), 7)),
    ("full", ((2,), 0.5), {"dtype": "float64"}, np.full(2, 0.5)),
    ("arange", (5,), {}, np.arange(5)),
    ("arange", (1, 6, 2), {}, np.arange(1, 6, 2)),
    ("arange", (5, 0, -2), {}, np.arange(5, 0, -2)),
    ("arange", (0, 1, 0.25), {}, np.arange(0, 1, 0.25, np.float32)),
    ("arange", (0, 1, 0.1), {"dtype": "float64"}, np.arange(0, 1, 0.1)),
    ("arange", (3, 3), {}, np.arange(0)),
    ("linspace", (-1, 1, 5), {}, np.linspace(-1, 1, 5, dtype=np.float32)),
    ("linspace", (0, 1, 1), {"dtype": "float64"}, np.zeros(1)),
    ("linspace", (0, 1, 0), {}, np.zeros(0, np.float32)),
    ("eye", (3,), {}, np.eye(3, dtype=np.float32)),
    ("eye", (2, 3), {"dtype": "int64"}, np.eye(2, 3, dtype=np.int64)),
]
REFUSED = [
    ("zeros", (-1,), {}, RuntimeError),
    ("zeros", (2**40, 2**40), {}, RuntimeError),
    ("empty", (2**60,), {}, RuntimeError),
    ("ones", ((2, -3),), {}, RuntimeError),
    ("full", ((-2,), 1.0), {}, RuntimeError),
    ("arange", (0, 5, -1), {}, RuntimeError),
    ("arange", (0, 5, 0), {}, RuntimeError),
    ("arange", (0, float("inf")), {}, RuntimeError),
    ("linspace", (0, 1, -1), {}, RuntimeError),
    ("eye", (-1,), {}, RuntimeError),
    ("zeros", ("three",), {}, TypeError),
    ("zeros", (2,), {"dtype": "float99"}, TypeError),
    ("zeros", (2,), {"device": "cuda:x"}, RuntimeError),
    ("zeros", (2,), {"device": "gpu"}, RuntimeError),
    ("tensor", ([[1, 2], [3]],), {}, ValueError),
    ("tensor", ("text",), {}, (TypeError, ValueError)),
    ("tensor", ([1, "a"],), {}, (TypeError, ValueError)),
    ("tensor", (len,), {}, (RuntimeError, TypeError)),
    ("from_numpy", ([1, 2],), {}, TypeError),
    ("from_numpy", (np.array(["a"]),), {}, TypeError),
    ("from_numpy", (np.zeros(3, ">f4"),), {}, (TypeError, ValueError)),
    ("tensor", (np.zeros(3, np.complex64).astype("U"),), {}, TypeError),
]


def options(kwargs):
    return {key: getattr(cr, value, value) if key == "dtype" else value for key, value in kwargs.items()}


@pytest.mark.parametrize("name, args, kwargs, want", CREATED, ids=str)
def test_created(name, args, kwargs, want):
    got = getattr(cr, name)(*args, **options(kwargs))
    assert dtype_of(got) == want.dtype.name and tuple(got.shape) == want.shape
    np.testing.assert_allclose(array(got), want, rtol=1e-6, atol=1e-7)
    assert getattr(cr, name)(
        *args, **options(kwargs) | {"dtype": cr.float64}, requires_grad=True
    ).requires_grad


@pytest.mark.parametrize("name, args, kwargs, error", REFUSED, ids=str)
def test_refused(name, args, kwargs, error):
    with pytest.raises(error):
        getattr(cr, name)(*args, **options(kwargs))


BEYOND = [
    ("zeros", (2, -3)),
    ("ones", (2**62,)),
    ("full", ((2**50,), 1.0)),
    ("empty", (2**32, 2**32)),
    ("rand", (2**50,)),
    ("randint", (9, (2**62,))),
    ("randperm", (2**60,)),
    ("arange", (2**62,)),
    ("linspace", (0, 1, 2**60)),
    ("eye", (2**40,)),
]


@pytest.mark.parametrize("name, args", BEYOND, ids=str)
def test_sizes_that_nothing_can_hold(name, args):
    """Negative, beyond what integers count, and more than there is memory for: said by the op that was called."""
    says = name if NAME != "torch" else ""
    with pytest.raises(RuntimeError, match=f"{says}.*(negative|memory|elements|[Ss]torage|overflow)"):
        getattr(cr, name)(*args)


def test_results_that_nothing_can_hold():
    x = cr.ones(1)
    for name, grow in (
        ("repeat", lambda: x.repeat(2**40, 2**40)),
        ("expand", lambda: x.expand(2**40, 2**40)),
        ("pad", lambda: cr.nn.functional.pad(x, (2**62, 2**62))),
        ("repeat_interleave", lambda: x.repeat_interleave(2**62)),
        ("clone", lambda: x.expand(2**45).clone()),
        ("outer", lambda: cr.outer(x.expand(2**40), x.expand(2**40))),
        ("one_hot", lambda: cr.nn.functional.one_hot(cr.tensor([2**60]))),
        ("as_strided", lambda: x.as_strided((2,), (2**62,))),
        ("as_strided", lambda: x.as_strided((3,), (2**61,))),
        ("conv2d", lambda: cr.nn.functional.conv2d(x.view(1, 1, 1, 1), x.view(1, 1, 1, 1), padding=2**40)),
    ):
        with pytest.raises(RuntimeError, match=name if NAME != "torch" else ""):
            grow()


def test_linspace_meets_its_ends_symmetrically():
    x = array(cr.linspace(-3, 7, 11))
    np.testing.assert_array_equal(x, np.arange(-3, 8))


@pytest.mark.parametrize("name", ["zeros", "ones", "empty", "rand", "randn"])
def test_like(name):
    x = cr.ones((2, 3), dtype=cr.float64)
    like = getattr(cr, f"{name}_like")
    made = like(x)
    assert dtype_of(made) == "float64" and made.shape == x.shape and not made.requires_grad
    assert dtype_of(like(x, dtype=cr.float32)) == "float32"
    if name in ("zeros", "ones"):
        assert (array(made) == (name == "ones")).all()
        assert getattr(x, f"new_{name}")((4,)).shape == (4,)


def test_full_like_and_randint_like():
    x = cr.ones((2, 3), dtype=cr.int64)
    assert (array(cr.full_like(x, 5)) == 5).all() and dtype_of(cr.full_like(x, 5)) == "int64"
    drawn = array(cr.randint_like(x, 2, 9))
    assert drawn.min() >= 2 and drawn.max() < 9
    assert dtype_of(x.new_full((2,), 3)) == "int64"


def test_like_keeps_the_order_of_dimensions():
    x = cr.ones((2, 3)).t()
    assert cr.zeros_like(x).stride() == x.stride()


def test_from_numpy_shares_memory():
    a = np.arange(6.0).reshape(2, 3)
    t = cr.from_numpy(a)
    a[0, 0] = 42
    assert float(t[0, 0]) == 42
    t[1, 2] = 7
    assert a[1, 2] == 7
    assert cr.from_numpy(a.T).stride() == (1, 3)


def test_tensor_copies_and_as_tensor_shares():
    a = np.zeros(3)
    copied, shared = cr.tensor(a), cr.as_tensor(a)
    a[0] = 1
    assert float(copied[0]) == 0 and float(shared[0]) == 1
    t = cr.ones(2)
    assert cr.as_tensor(t) is t


def test_negative_strides():
    """A tensor cannot run backwards: from_numpy says so, tensor copies."""
    a = np.arange(4.0)[::-1]
    with pytest.raises(ValueError, match="negative"):
        cr.from_numpy(a)
    np.testing.assert_array_equal(array(cr.tensor(a.copy())), a)
    if NAME != "torch":
        np.testing.assert_array_equal(array(cr.tensor(a)), a)


def test_read_only_arrays_are_never_written():
    a = np.zeros(3)
    a.flags.writeable = False
    if NAME != "torch":  # which only warns
        with pytest.raises((ValueError, TypeError, RuntimeError), match=r"read-only|writ"):
            cr.from_numpy(a).fill_(1)
        assert (a == 0).all()
    np.testing.assert_array_equal(array(cr.tensor(a)), a)


def test_constants():
    assert (cr.pi, cr.e, cr.inf) == (np.pi, np.e, np.inf) and cr.nan != cr.nan and cr.newaxis is None


def test_nested_lists_and_numbers():
    nested = [[[1.0, 2.0], [3.0, 4.0]], [[5.0, 6.0], [7.0, 8.0]]]
    t = cr.tensor(nested)
    assert t.tolist() == nested and t.shape == (2, 2, 2)
    assert cr.tensor(3).item() == 3 and cr.tensor([True]).tolist() == [True]
    assert cr.tensor([cr.tensor(1.0), cr.tensor(2.0)]).tolist() == [1.0, 2.0]
    assert cr.tensor(((), ())).shape == (2, 0)


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int32", "int64", "float32", "float64"])
@pytest.mark.parametrize("n", [511, 1025, 4097, 300_001])
def test_many_of_one_value(n, dtype):
    value = 1 if dtype == "bool" else 3
    np.testing.assert_array_equal(
        array(cr.full((n,), value, dtype=getattr(cr, dtype))), np.full(n, value, dtype)
    )


def test_long_ranges():
    np.testing.assert_array_equal(array(cr.arange(200_001)), np.arange(200_001))
    np.testing.assert_array_equal(array(cr.arange(10, -400_000, -3)), np.arange(10, -400_000, -3))
