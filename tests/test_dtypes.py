"""Type promotion follows the rule in reference/dtypes.py, for all pairs of tensors and numbers."""

import itertools

import numpy as np
import pytest

import reference as ref
from lib import NAME, array, cr, dtype_of

DTYPES = ref.dtypes.DTYPES
FLOATING = ("float32", "float64")
NUMBERS = (True, 2, 2.5)


def ones(dtype, ndim):
    return cr.ones((2,) * ndim, dtype=getattr(cr, dtype))


def operands():
    """Tensors of one dimension and of none, and Python numbers."""
    yield from ((dtype, ndim) for dtype in DTYPES for ndim in (0, 1))
    yield from NUMBERS


def build(operand):
    return ones(*operand) if isinstance(operand, tuple) else operand


def is_bool(operand):
    return operand is True or (isinstance(operand, tuple) and operand[0] == "bool")


PAIRS = [
    (a, b) for a, b in itertools.product(operands(), repeat=2) if isinstance(a, tuple) or isinstance(b, tuple)
]


@pytest.mark.parametrize("pair", PAIRS, ids=str)
def test_pairs(pair):
    promoted = ref.dtypes.result_type(*pair)
    a, b = map(build, pair)
    assert dtype_of(a * b) == promoted
    assert dtype_of(a + b) == promoted
    assert dtype_of(a < b) == "bool"
    assert dtype_of(a / b) == (promoted if promoted in FLOATING else "float32")
    if promoted != "bool":
        assert dtype_of(a // b) == promoted
    if is_bool(pair[0]) or is_bool(pair[1]):
        with pytest.raises(RuntimeError, match=r"[Ss]ubtract"):
            a - b
    else:
        assert dtype_of(a - b) == promoted
    if promoted in ("uint8", "int32", "int64", "bool"):
        assert dtype_of(a & b) == promoted
    assert dtype_of(cr.zeros(0, dtype=cr.result_type(a, b))) == promoted


@pytest.mark.parametrize("pair", [p for p in PAIRS if isinstance(p[0], tuple)], ids=str)
def test_inplace_keeps_the_dtype_or_refuses(pair):
    a, b = map(build, pair)
    if isinstance(b, cr.Tensor) and b.ndim > a.ndim:
        return
    if ref.dtypes.can_cast(ref.dtypes.result_type(*pair), pair[0][0]):
        a *= b
        assert dtype_of(a) == pair[0][0]
    else:
        with pytest.raises(RuntimeError, match=r"can't be cast|cannot be cast"):
            a *= b
        assert (array(a) == 1).all()


@pytest.mark.parametrize("pair", list(itertools.product(DTYPES, repeat=2)), ids=str)
def test_joining_and_choosing_promote(pair):
    a, b = (ones(dtype, 1) for dtype in pair)
    promoted = ref.dtypes.result_type((pair[0], 1), (pair[1], 1))
    assert dtype_of(cr.cat([a, b])) == promoted
    assert dtype_of(cr.stack([a, b])) == promoted
    assert dtype_of(cr.where(ones("bool", 1), a, b)) == promoted
    assert cr.promote_types(a.dtype, b.dtype) == getattr(cr, promoted)
    assert cr.can_cast(a.dtype, b.dtype) == ref.dtypes.can_cast(*pair)


@pytest.mark.parametrize("pair", list(itertools.product(DTYPES, repeat=2)), ids=str)
def test_conversion(pair):
    """Casting truncates floats, and anything but zero is true."""
    source, target = pair
    values = (
        np.array([0, 1, 2, 200], source) if source not in FLOATING else np.array([0, 0.5, 1.9, 200.7], source)
    )
    given = cr.from_numpy(values)
    for converted in (given.to(getattr(cr, target)), given.type(getattr(cr, target))):
        assert dtype_of(converted) == target
        np.testing.assert_array_equal(array(converted), values.astype(target))
    assert given.to(given.dtype) is given


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("n", [3, 16, 19, 333])
def test_floating_to_int64(dtype, n):
    """Towards zero; a run of numbers in which one is out of the vectors' reach goes one by one."""
    rng = np.random.default_rng(n)
    near = (rng.normal(size=n) * 10.0 ** rng.integers(-2, 15, n)).astype(dtype)
    far = near.copy()
    far[:: max(1, n // 3)] = 2.0**62
    edges = np.array([-0.0, 0.5, -0.5, 2.0**51, -(2.0**51), 2.0**51 - 1, 2.0**53, 1 - 2.0**51] * 4, dtype)
    for x in (near, far, edges):
        assert array(cr.tensor(x).to(cr.int64)).tolist() == [int(v) for v in x]


def test_integers_of_any_size_round_once():
    """int64 to float32: to the nearest, ties to even, also where a double between would round a second time."""
    edges = np.array([2**24 + 1, 2**25 + 3, 2**51 - 1, 2**51, 2**53 + 1, 2**60 + 2**36 + 1, 2**63 - 1])
    random = np.random.default_rng(1).integers(-(2**63), 2**63 - 1, 1000) >> np.arange(1000) % 62
    numbers = np.concatenate([edges, -edges, random, np.array([-(2**63), 0, 1, -1])])
    for start in range(3):
        given = numbers[start:]
        np.testing.assert_array_equal(array(cr.tensor(given).float()), given.astype(np.float32))


@pytest.mark.parametrize("dtype", DTYPES)
def test_shorthands(dtype):
    a = ones(dtype, 1)
    short = {"float": "float32", "double": "float64", "long": "int64", "int": "int32", "bool": "bool"}
    for method, target in short.items():
        assert dtype_of(getattr(a, method)()) == target
    assert a.is_floating_point() == (dtype in FLOATING)


def test_defaults_of_creation():
    assert dtype_of(cr.tensor(1)) == "int64"
    assert dtype_of(cr.tensor(1.0)) == "float32"
    assert dtype_of(cr.tensor(True)) == "bool"
    assert dtype_of(cr.tensor([1, 2.0])) == "float32"
    assert dtype_of(cr.tensor([True, 2])) == "int64"
    assert dtype_of(cr.tensor([])) == "float32"
    assert dtype_of(cr.tensor(np.float64(1))) == "float64"
    assert dtype_of(cr.tensor([np.float64(1), 2])) == dtype_of(cr.tensor([2.5, np.float64(1)])) == "float64"
    assert dtype_of(cr.tensor([np.float32(1), 2])) == "float32"
    assert dtype_of(cr.tensor([np.int32(1), np.int32(2)])) == "int32"
    assert dtype_of(cr.tensor([cr.tensor(1, dtype=cr.uint8), np.int32(2)])) == "int32"
    assert dtype_of(cr.arange(3)) == "int64"
    assert dtype_of(cr.arange(3.0)) == "float32"
    assert dtype_of(cr.full((2,), 1)) == "int64"
    assert dtype_of(cr.full((2,), 1.0)) == "float32"
    assert dtype_of(cr.full((2,), True)) == "bool"
    for create in (cr.zeros, cr.ones, cr.empty, cr.rand, cr.randn, cr.eye):
        assert dtype_of(create(2)) == "float32"
    assert dtype_of(cr.linspace(0, 1, 3)) == "float32"
    assert dtype_of(cr.randperm(3)) == dtype_of(cr.randint(3, (2,))) == "int64"


def test_set_default_dtype():
    assert cr.get_default_dtype() == cr.float32
    cr.set_default_dtype(cr.float64)
    try:
        assert cr.get_default_dtype() == cr.float64
        assert dtype_of(cr.zeros(2)) == dtype_of(cr.tensor(1.0)) == dtype_of(cr.arange(3) / 2) == "float64"
        assert dtype_of(cr.arange(3) * 0.5) == "float64"
        assert dtype_of(cr.ones(2, dtype=cr.float32) * 0.5) == "float32"
        assert dtype_of(cr.exp(cr.arange(3))) == "float64"
    finally:
        cr.set_default_dtype(cr.float32)
    with pytest.raises(TypeError):
        cr.set_default_dtype(cr.int64)


def test_sums_of_integers_are_int64():
    for dtype in ("bool", "uint8", "int32", "int64"):
        a = ones(dtype, 1)
        assert dtype_of(a.sum()) == dtype_of(a.prod()) == dtype_of(a.cumsum(0)) == "int64"
        assert dtype_of(a.sum(dtype=cr.float64)) == "float64"
        with pytest.raises(RuntimeError, match="mean"):
            a.mean()
    assert int(cr.full((300,), 1, dtype=cr.uint8).sum()) == 300


def test_integers_have_no_gradient():
    with pytest.raises(RuntimeError, match="floating"):
        ones("int64", 1).requires_grad_()
    with pytest.raises(RuntimeError):
        cr.tensor([1, 2], requires_grad=True)


@pytest.mark.parametrize("pair", [p for p in PAIRS if isinstance(p[0], tuple)], ids=str)
def test_inplace_bits_keep_the_dtype_or_refuse(pair):
    a, b = map(build, pair)
    promoted = ref.dtypes.result_type(*pair)
    if promoted in FLOATING or (isinstance(b, cr.Tensor) and b.ndim > a.ndim):
        return
    same = a
    if ref.dtypes.can_cast(promoted, pair[0][0]):
        a &= b
        a |= b
        a ^= b
        if promoted != "bool":
            a <<= b
            a >>= b
        assert a is same and dtype_of(a) == pair[0][0]
    else:
        for change in ("__iand__", "__ior__", "__ixor__", "__ilshift__", "__irshift__"):
            with pytest.raises(RuntimeError, match=r"can't be cast|cannot be cast"):
                getattr(a, change)(b)
        assert (array(a) == 1).all()


@pytest.mark.parametrize(
    "dtype, number",
    [
        ("uint8", 300),
        ("uint8", -300),
        ("uint8", 1e10),
        ("uint8", float("nan")),
        ("int32", 2**40),
        ("int32", 3e9),
        ("int64", 1e30),
        ("int64", float("inf")),
    ],
)
def test_numbers_that_integers_cannot_hold(dtype, number):
    """Refused, by name and before anything has changed, wherever a number is written."""
    dtype, mask = getattr(cr, dtype), cr.tensor([True, False])
    x = cr.ones(2, dtype=dtype)
    for op, write in (
        ("tensor", lambda: cr.tensor(number, dtype=dtype)),
        ("tensor", lambda: cr.tensor([1, number], dtype=dtype)),
        ("fill_", lambda: x.fill_(number)),
        ("__setitem__", lambda: x.__setitem__(0, number)),
        ("__setitem__", lambda: x.__setitem__(mask, number)),
        ("masked_fill_", lambda: x.masked_fill_(mask, number)),
        ("index_fill_", lambda: x.index_fill_(0, cr.tensor([0]), number)),
        ("scatter_", lambda: x.scatter_(0, cr.tensor([0]), number)),
    ):
        with pytest.raises((RuntimeError, ValueError), match=r"overflow|unpacking") as raised:
            write()
        assert NAME == "torch" or str(raised.value).startswith(f"{op}: ")
    assert x.tolist() == [1, 1] and x._version == 0


def test_negative_numbers_wrap_into_uint8():
    assert cr.tensor(-1, dtype=cr.uint8).item() == cr.full((), -1, dtype=cr.uint8).item() == 255


def test_booleans_have_no_negative():
    with pytest.raises(RuntimeError):
        -ones("bool", 1)


def test_integers_divide_by_zero():
    for operation in (lambda a, b: a // b, lambda a, b: a % b):
        with pytest.raises((RuntimeError, ZeroDivisionError), match=r"[Zz]ero"):
            operation(cr.tensor([1, 2]), cr.tensor([1, 0]))


def test_matmul_wants_one_dtype():
    with pytest.raises(RuntimeError):
        cr.ones(2, 2) @ cr.ones(2, 2, dtype=cr.float64)


@pytest.mark.parametrize("dtype", ["uint8", "int32", "int64"])
@pytest.mark.parametrize(
    "sizes", [(1, 300, 70), (3, 1025, 257), (4, 0, 3), (9, 17, 33), (130, 5, 2), (131, 1030, 66)]
)
def test_products_of_integers_wrap(dtype, sizes):
    rng = np.random.default_rng(0)
    m, k, n = sizes
    low, high = np.iinfo(dtype).min // 2, np.iinfo(dtype).max // 2
    a, b = (rng.integers(low, high, shape).astype(dtype) for shape in ((m, k), (k, n)))
    c = rng.integers(low, high, (m, n)).astype(dtype)
    lefts = cr.tensor(a), cr.tensor(a.T.copy()).t()
    rights = cr.tensor(b), cr.tensor(b.T.copy()).t()
    for left, right in itertools.product(lefts, rights):
        np.testing.assert_array_equal(array(left @ right), a @ b)
    added = cr.addmm(cr.tensor(c), lefts[0], rights[1], beta=3, alpha=2)
    np.testing.assert_array_equal(array(added), 2 * (a @ b) + 3 * c)


@pytest.mark.parametrize("dtype", ["uint8", "int32", "int64"])
@pytest.mark.parametrize("n", [65, 1000])
def test_an_integer_for_a_whole_row(dtype, n):
    a, column = (np.arange(1, 1 + 3 * size, dtype=dtype).reshape(3, size) for size in (n, 1))
    functions = {
        "add": np.add,
        "sub": np.subtract,
        "mul": np.multiply,
        "maximum": np.maximum,
        "minimum": np.minimum,
        "remainder": np.remainder,
        "bitwise_xor": np.bitwise_xor,
        "lt": np.less,
    }
    a = np.maximum(a, 1)
    for name, function in functions.items():
        f = getattr(cr, name)
        np.testing.assert_array_equal(array(f(cr.tensor(a), cr.tensor(column))), function(a, column))
        np.testing.assert_array_equal(array(f(cr.tensor(column), cr.tensor(a))), function(column, a))
        one = cr.tensor(column[:1, 0]).expand(n)
        np.testing.assert_array_equal(array(f(one, one)), function(*2 * [np.repeat(column[:1, 0], n)]))
