"""topk and kthvalue find what a stable sort puts there, on every way that they take: lists kept in order, lists that
are cut, rows whose keys are counted by their first digits."""

import numpy as np
import pytest

from lib import NAME, array, cr, tensor

if NAME == "torch":
    pytest.skip("which of equal elements PyTorch picks is its own affair", allow_module_level=True)

DTYPES = ["float32", "float64", "int32", "int64", "uint8"]
KINDS = ["distinct", "equal", "special"]


def numbers(n, dtype, kind):
    rng = np.random.default_rng(n)
    if kind == "distinct":
        return (rng.permutation(n) - n // 3).astype(dtype)
    a = rng.integers(0, 40, n).astype(dtype)
    if kind == "special" and dtype.startswith("float"):
        a = rng.standard_normal(n).astype(dtype)
        a[rng.integers(0, n, n // 8)] = rng.choice([np.nan, -np.nan, np.inf, -np.inf, 0.0, -0.0], n // 8)
    return a


def order(a, largest):
    """NaN is larger than all numbers; of equal ones the first comes first."""
    places = np.unique(np.where(np.isnan(a), np.nan, a) + 0, return_inverse=True)[1].reshape(-1)
    return np.argsort(-places if largest else places, kind="stable")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n", [5, 50, 1024, 20_000])
def test_as_a_stable_sort(n, kind, dtype):
    a = numbers(n, dtype, kind)
    for largest in (False, True):
        want = order(a, largest)
        np.testing.assert_array_equal(array(cr.argsort(tensor(a), 0, largest, stable=True)), want)
        for k in {1, 2, n // 20, n // 9, n // 2, n} - {0}:
            values, places = cr.topk(tensor(a), k, largest=largest)
            np.testing.assert_array_equal(array(places), want[:k])
            np.testing.assert_array_equal(array(values), a[want[:k]])
    want = order(a, False)
    for k in {1, n // 20, n // 2, n} - {0}:
        value, place = cr.kthvalue(tensor(a), k)
        assert place.item() == want[k - 1]
        np.testing.assert_array_equal(array(value), a[want[k - 1]])


def test_falling_and_rising_rows():
    for a in (np.arange(3000, dtype=np.float32), np.arange(3000, 0, -1, dtype=np.float32)):
        for k in (3, 100):
            np.testing.assert_array_equal(array(cr.topk(tensor(a), k)[1]), np.argsort(-a)[:k])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", KINDS)
def test_threads_share_a_long_row(kind, dtype):
    n = 70_001
    a = np.stack([numbers(n, dtype, kind), numbers(n + 1, dtype, kind)[1:]])
    threads = cr.get_num_threads()
    try:
        for count in (1, 2, 3):
            cr.set_num_threads(count)
            for largest in (False, True):
                want = np.stack([order(row, largest) for row in a])
                values, places = cr.sort(tensor(a), 1, largest)
                np.testing.assert_array_equal(array(places), want)
                np.testing.assert_array_equal(array(values), np.take_along_axis(a, want, 1))
                places = cr.topk(tensor(a), n // 2, largest=largest)[1]
                np.testing.assert_array_equal(array(places), want[:, : n // 2])
    finally:
        cr.set_num_threads(threads)


def test_a_long_row_of_numbers_far_apart():
    a = np.random.default_rng(0).integers(-(2**63), 2**63 - 1, 100_000)
    np.testing.assert_array_equal(array(cr.argsort(tensor(a))), np.argsort(a, kind="stable"))


@pytest.mark.parametrize("n", [0, 1, 2, 7, 100])
@pytest.mark.parametrize("count", [1, 8, 21])
def test_places_in_a_sorted_row(n, count):
    rng = np.random.default_rng(0)
    row = np.sort(rng.integers(0, 20, n)).astype("float32")
    row[n // 2 + 1 :] = np.nan
    values = rng.integers(-1, 21, count).astype("float32")
    values[::5] = np.nan
    for right in (False, True):
        places = array(cr.searchsorted(cr.tensor(row), cr.tensor(values), right=right))
        np.testing.assert_array_equal(places, np.searchsorted(row, values, "right" if right else "left"))
