"""Every operation gives the reference's values, from every sample, in every dtype that it takes."""

import numpy as np
import pytest

from checks import SPECIALS, check_close, expected_dtype, reference_call, sweep
from lib import array, cr, dtype_of, leaves, map_leaves, outputs, tensor
from registry import FLOATS, ROWS

CASES = [pytest.param(row, dtype, id=f"{row.label}-{dtype}") for row in ROWS for dtype in row.dtypes]


@pytest.mark.parametrize("row, dtype", CASES)
def test_value(row, dtype):
    for sample in row.samples:
        args, kwargs = sample.draw(row, dtype)
        want = outputs(reference_call(row, args, kwargs, dtype))
        for form in row.forms(cr):
            given, options = map_leaves(tensor, args), map_leaves(tensor, kwargs)
            before = [array(t).copy() for t in leaves([given, options], cr.Tensor)]
            got = outputs(form(*given, **options))
            assert len(got) == len(want), sample
            for g, w in zip(got, want, strict=True):
                assert tuple(g.shape) == np.shape(w), f"{sample}: {tuple(g.shape)} is not {np.shape(w)}"
                check_close(row, array(g), w, str(sample))
            assert dtype_of(got[0]) == expected_dtype(row, args, dtype), sample
            if row.name != "batch_norm":
                np.testing.assert_equal([array(t) for t in leaves([given, options], cr.Tensor)], before)


@pytest.mark.parametrize("row", [r for r in ROWS if r.view], ids=lambda r: r.label)
def test_view_shares_memory(row):
    """Writing through the result shows in the argument."""
    for sample in row.samples:
        args, kwargs = sample.draw(row, "float64")
        for form in row.forms(cr):
            given = map_leaves(tensor, args)
            for result in outputs(form(*given, **kwargs)):
                if result.numel() and 0 not in result.stride():
                    result.fill_(77.0)
                    assert (array(given[0]) == 77.0).any(), sample


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("row", [r for r in ROWS if r.special], ids=lambda r: r.label)
def test_special_values(row, dtype):
    """NaN, infinities, zeros, subnormal, huge and many ordinary numbers."""
    values = sweep(dtype, largest=1e4 if row.special == "finite" else None)
    first = row.samples[0]
    args, kwargs = first.draw(row, dtype)
    if len(args) == 2 and isinstance(args[1], np.ndarray):
        few = np.array(SPECIALS, dtype)
        mixed = np.random.default_rng(0).permutation(values)
        args = [
            np.concatenate([np.repeat(few, len(few)), values]),
            np.concatenate([np.tile(few, len(few)), mixed]),
        ]
    else:
        args[0] = values
    want = outputs(reference_call(row, args, kwargs, dtype))[0]
    got = array(row.forms(cr)[0](*map_leaves(tensor, args), **kwargs))
    check_close(row, got, want, "of special values")
