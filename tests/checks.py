"""What the drivers of the registry share: numbers worth trying, expected dtypes, tolerances."""

import numpy as np

import reference as ref
from lib import map_leaves
from registry.row import FLOATS

SPECIALS = [
    np.nan,
    np.inf,
    -np.inf,
    0.0,
    -0.0,
    1.0,
    -1.0,
    2.0,
    -2.0,
    0.5,
    -0.5,
    3.0,
    1e-40,
    -1e-40,
    1e30,
    -1e30,
]


def sweep(dtype, largest=None):
    """Every magnitude of the dtype, and a fine grid over the range where functions bend."""
    limits = np.finfo(dtype)
    top, tiny = np.log10(largest or float(limits.max) / 2), np.log10(float(limits.smallest_subnormal) * 2)
    magnitudes = 10.0 ** np.linspace(tiny, top, 801)
    specials = [v for v in SPECIALS if largest is None or abs(v) < largest or np.isnan(v)]
    fine = np.linspace(-120, 120, 1501), np.linspace(-4, 4, 801), np.linspace(-800, 800, 321)
    return np.concatenate([specials, magnitudes, -magnitudes, *fine]).astype(dtype)


def reference_call(row, args, kwargs, dtype):
    """The reference on the same numbers in float64; integers stay, unless the result is floating."""
    floating = dtype in FLOATS or row.result == "float"

    def widen(a):
        return a.astype(np.float64) if a.dtype.name == dtype and floating else a

    return row.reference(*map_leaves(widen, args), **map_leaves(widen, kwargs))


def expected_dtype(row, args, dtype):
    if row.result == "promoted":
        return ref.dtypes.result_type(
            *[(a.dtype.name, a.ndim) if isinstance(a, np.ndarray) else a for a in args]
        )
    kept = {"same": dtype, "float": "float32", "sum": "int64"}.get(row.result, row.result)
    return dtype if row.result in ("float", "sum") and dtype in FLOATS else kept


def check_close(row, got, want, where):
    """float64 within 1e-12, float32 within the row's bound, all else exactly."""
    want = np.asarray(want)
    if got.dtype.name not in FLOATS:
        np.testing.assert_array_equal(got, want, err_msg=where)
        return
    rounded = want.astype(got.dtype)
    same = (got == rounded) | (np.isnan(got) & np.isnan(rounded))
    bad = ~same & ~(np.abs(got - want) <= allowed(row, want, got.dtype))
    if bad.any():
        first = tuple(np.argwhere(bad)[0])
        pair = f"{got[first]!r}, expected {want[first]!r}"
        raise AssertionError(f"{row.label} {where}: {bad.sum()} of {bad.size} differ; at {first}: {pair}")


def allowed(row, want, dtype):
    """How far a result may be from the reference: by element for elementwise functions, else overall."""
    if row.ulp is not None:
        one = np.spacing(np.abs(want).astype(dtype))
        flushed = np.finfo(dtype).smallest_normal if row.special == "normal" else 0
        return flushed + ((row.ulp + 0.5) * one if dtype == np.float32 else 1e-12 * np.abs(want) + 2 * one)
    finite = np.abs(want[np.isfinite(want)])
    return (row.rtol if dtype == np.float32 else 1e-12) * finite.max(initial=0)
