"""The rows side by side with PyTorch, where it is installed: values, dtypes and gradients."""

import numpy as np
import pytest

from lib import NAME, array, cr, dtype_of, leaves, map_leaves, outputs, tensor
from registry import FLOATS, ROWS

torch = pytest.importorskip("torch")
if NAME == "torch":
    pytest.skip("PyTorch is what is tested", allow_module_level=True)


def both(row, sample, dtype, requires_grad=False):
    """The call in both libraries: their inputs and results."""
    for lib in (cr, torch):
        args, kwargs = sample.draw(row, dtype)
        flags = iter(sample.differentiable())

        def convert(a, lib=lib, flags=flags):
            return tensor(a, lib, requires_grad and next(flags) and dtype in FLOATS)

        given, options = map_leaves(convert, [args, kwargs])
        inputs = [t for t in leaves([given, options], lib.Tensor) if t.requires_grad]
        yield inputs, outputs(row.forms(lib)[0](*given, **options))


def close(got, want, where, factor=1.0):
    assert tuple(got.shape) == tuple(want.shape), where
    assert dtype_of(got) == dtype_of(want), where
    if want.is_floating_point():
        got, want = array(got), array(want)
        finite = np.abs(want[np.isfinite(want)]).max(initial=0)
        rtol = factor * (1e-5 if want.dtype == np.float32 else 1e-11)
        np.testing.assert_allclose(got, want, rtol=rtol, atol=rtol * finite, err_msg=str(where))
    else:
        np.testing.assert_array_equal(array(got), array(want), err_msg=str(where))


@pytest.mark.parametrize("row", ROWS, ids=lambda r: r.label)
def test_values(row):
    for dtype in row.dtypes:
        for sample in row.samples:
            (_, got), (_, want) = both(row, sample, dtype)
            for g, w in zip(got, want, strict=True):
                close(g, w, (dtype, sample))


@pytest.mark.parametrize("row", [r for r in ROWS if r.orders], ids=lambda r: r.label)
def test_gradients(row):
    if row.name == "__rmod__":
        pytest.skip("PyTorch has none")
    for dtype in FLOATS:
        for sample in row.samples:
            if not any(sample.differentiable()):
                continue
            grads = []
            for inputs, results in both(row, sample, dtype, requires_grad=True):
                rng, lib = np.random.default_rng(0), torch if grads else cr
                pairs = [
                    (y, rng.normal(size=tuple(y.shape)).astype(dtype)) for y in results if y.requires_grad
                ]
                cotangents = [lib.from_numpy(np.asarray(w)) for _, w in pairs]
                grads.append(lib.autograd.grad([y for y, _ in pairs], inputs, cotangents, allow_unused=True))
            for g, w in zip(*grads, strict=True):
                if w is None:  # where PyTorch knows that all is zero
                    assert g is None or not array(g).any(), sample
                else:
                    close(g, w, (dtype, sample), factor=4)


@pytest.mark.parametrize("row", [r for r in ROWS if not r.call], ids=lambda r: r.label)
def test_found_in_the_same_places(row):
    for place in row.where:
        theirs, ours = (
            (lib.nn.functional if "." in place else getattr(lib, place, lib)) for lib in (torch, cr)
        )
        assert hasattr(ours, row.name) or not hasattr(theirs, row.name), f"{place}.{row.name}"
    if row.inplace:
        assert hasattr(cr.Tensor, row.name + "_")
