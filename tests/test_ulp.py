"""exp, log, log1p, expm1, tanh, sigmoid, erf, sin, cos and pow are within two units in the last place, everywhere.

Random bit patterns always; with CHAINRULE_EXHAUSTIVE=1 every float32, a minute or a few for each function.
"""

import math
import os

import numpy as np
import pytest

from lib import NAME, array, cr, tensor

if NAME == "torch":
    pytest.skip("these are this library's bounds", allow_module_level=True)

BOUND = 2
WIDER = {"float32": np.float64, "float64": np.longdouble}
DTYPES = [
    "float32",
    pytest.param(
        "float64",
        marks=pytest.mark.skipif(
            np.finfo(np.longdouble).nmant < 60, reason="needs a long double to compare with"
        ),
    ),
]


def erf(x):
    """2 / sqrt(pi) e^(-x^2) times the sum of 2^n x^(2 n + 1) / (2 n + 1)!!, in which no term cancels another."""
    a = np.minimum(np.abs(x), 6.5)
    total, term = a.copy(), a.copy()
    for n in range(1, 200 if x.size and np.nanmax(a) > 2 else 60):
        term = term * (2 * a * a) / (2 * n + 1)
        total += term
    root = np.sqrt(np.arctan(x.dtype.type(1)) * 4)
    return np.copysign(2 / root * np.exp(-a * a) * total, x)


def erf_of_floats(x):
    """The same for many float32, of which few are in the range that needs more than 2 x / sqrt(pi), or 1."""
    a = np.abs(x)
    y = np.where(a < 1, a * (2 / math.sqrt(math.pi)), 1.0)
    middle = (a > 1e-6) & (a < 4.5)
    y[middle] = np.fromiter(map(math.erf, a[middle].tolist()), np.float64)
    return np.copysign(np.where(np.isnan(x), x, y), x)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


FUNCTIONS = {
    "exp": np.exp,
    "log": np.log,
    "log1p": np.log1p,
    "expm1": np.expm1,
    "tanh": np.tanh,
    "sigmoid": sigmoid,
    "erf": erf,
    "sin": np.sin,
    "cos": np.cos,
}


def errors(got, want):
    """In units of the last place of the exact result; infinite where NaN, infinity or the sign of zero differ."""
    limits = np.finfo(got.dtype)
    _, exponent = np.frexp(want)
    lowest = limits.minexp + 1
    one = np.ldexp(want.dtype.type(1), np.maximum(exponent, lowest) - limits.nmant - 1)
    rounded = want.astype(got.dtype)
    same = ((got == rounded) & (np.signbit(got) == np.signbit(rounded))) | (np.isnan(got) & np.isnan(want))
    finite = np.isfinite(got) & np.isfinite(rounded)
    return np.where(
        same, 0, np.where(finite & ((got != 0) | (rounded != 0)), np.abs(got - want) / one, np.inf)
    )


def check(name, function, *args):
    with np.errstate(all="ignore"):
        want = function(*[a.astype(WIDER[a.dtype.name]) for a in args])
        error = errors(array(getattr(cr, name)(*map(tensor, args))), want)
    worst = np.argmax(error)
    shown = ", ".join(repr(a[worst]) for a in args)
    assert error[worst] <= BOUND, f"{name}({shown}): {float(error[worst])} units in the last place"


def random_bits(rng, dtype, count):
    integer = {"float32": np.uint32, "float64": np.uint64}[dtype]
    return rng.integers(0, np.iinfo(integer).max, count, integer, endpoint=True).view(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_random_numbers(name, dtype):
    rng = np.random.default_rng(0)
    check(name, FUNCTIONS[name], random_bits(rng, dtype, 100_000))
    for scale in (0.3, 1, 10, 100):
        check(name, FUNCTIONS[name], (scale * rng.standard_normal(50_000)).astype(dtype))
    check(name, FUNCTIONS[name], (1 + 2.0 ** rng.uniform(-30, 0, 50_000)).astype(dtype))


@pytest.mark.parametrize("dtype", DTYPES)
def test_random_powers(dtype):
    rng = np.random.default_rng(0)
    check("pow", np.power, random_bits(rng, dtype, 100_000), random_bits(rng, dtype, 100_000))
    x = np.abs(random_bits(rng, dtype, 200_000))
    x = np.concatenate([x[np.isfinite(x) & (x > 0)], rng.uniform(0.1, 10, 100_000).astype(dtype)])
    reach = np.log(float(np.finfo(dtype).max)) * 1.05 / np.log(x.astype(np.float64))
    y = (reach * rng.uniform(-1, 1, x.size)).astype(dtype)
    check("pow", np.power, x, y)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_hard_arguments(name, dtype):
    """Denormal and huge numbers, and the neighbours of multiples of pi / 2, where sin and cos have their zeros."""
    rng, limits = np.random.default_rng(0), np.finfo(dtype)
    integer = {"float32": np.uint32, "float64": np.uint64}[dtype]
    denormal = rng.integers(0, 1 << limits.nmant, 20_000, integer).view(dtype)
    huge = np.ldexp(rng.uniform(1, 2, 20_000), rng.integers(17, limits.maxexp, 20_000)).astype(dtype)
    quarters = np.concatenate([np.arange(2000), rng.integers(0, 1 << 40, 2000)])
    zeros = (quarters.astype(np.longdouble) * np.arctan(np.longdouble(1)) * 2).astype(dtype)
    near = np.concatenate([zeros, np.nextafter(zeros, limits.max), np.nextafter(zeros, limits.min)])
    for x in (denormal, huge, near):
        check(name, FUNCTIONS[name], np.concatenate([x, -x]))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("exponent", [3, 2, 1.5, -1, -2, -0.5, -1.5, 4, 0.25])
def test_powers_by_a_number(exponent, dtype):
    rng = np.random.default_rng(0)
    x = random_bits(rng, dtype, 50_000)
    x = np.concatenate([x, rng.standard_normal(50_000).astype(dtype)])
    with np.errstate(all="ignore"):
        want = np.power(x.astype(WIDER[dtype]), exponent)
        error = errors(array(tensor(x) ** exponent), want)
    worst = np.argmax(error)
    assert error[worst] <= BOUND, f"{x[worst]!r} ** {exponent}: {float(error[worst])} units in the last place"


@pytest.mark.skipif(
    "CHAINRULE_EXHAUSTIVE" not in os.environ, reason="takes minutes: set CHAINRULE_EXHAUSTIVE=1"
)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_float(name):
    function = erf_of_floats if name == "erf" else FUNCTIONS[name]
    for high in range(1 << 10):
        check(name, function, np.arange(high << 22, (high + 1) << 22, dtype=np.uint32).view(np.float32))
