"""Bad arguments are refused: the right exception, a message that names the operation, and nothing changed."""

import re

import numpy as np
import pytest

from lib import NAME, array, cr, leaves, map_leaves, tensor
from registry import ROWS

CASES = [
    pytest.param(row, error, id=f"{row.label}-{i}") for row in ROWS for i, error in enumerate(row.errors)
]


@pytest.mark.parametrize("row, error", CASES)
def test_error(row, error):
    refuses(row, error, row.forms(cr))


@pytest.mark.parametrize("row, error", [p for p in CASES if p.values[0].inplace])
def test_inplace_error(row, error):
    """The same arguments are refused by the in-place form, before it has written anything."""
    refuses(row, error, [getattr(cr.Tensor, row.name + "_")])


def refuses(row, error, forms):
    args, kwargs = error.draw(row, "float32")
    for form in forms:
        given, options = map_leaves(tensor, args), map_leaves(tensor, kwargs)
        tensors = leaves([given, options], cr.Tensor)
        before = [(array(t).copy(), t._version) for t in tensors]
        with pytest.raises(error.type) as caught:
            form(*given, **options)
        for t, (content, version) in zip(tensors, before, strict=True):
            np.testing.assert_array_equal(array(t), content)
            assert t._version == version
        if NAME != "torch":
            says = error.says or row.name.strip("_")
            assert re.search(says, str(caught.value)), f"{says!r} is not in: {caught.value}"
