"""Run by test_threads_isa.py in a process of its own: python bits.py OUTPUT THREADS...

Computes every row, values and gradients, at each number of threads; prints a digest of each and writes the
arrays of the first, so that another instruction set can be compared bit by bit or within a tolerance.
"""

import hashlib
import json
import sys

import numpy as np

from lib import array, cr, map_leaves, outputs, tensor
from registry import FLOATS, ROWS


def results(row):
    """Arrays of values and gradients of every sample, in both precisions."""
    for dtype in FLOATS if row.dtypes[:2] == FLOATS else row.dtypes[:1]:
        for sample in row.samples:
            args, kwargs = sample.draw(row, dtype)
            flags = iter(sample.differentiable())
            given, options = map_leaves(
                lambda a: tensor(a, requires_grad=next(flags) and row.orders > 0),  # noqa: B023
                [args, kwargs],
            )
            values = outputs(row.forms(cr)[0](*given, **options))
            yield from map(array, values)
            recorded = [y for y in values if y.requires_grad]
            if recorded:
                rng = np.random.default_rng(0)
                cotangents = [tensor(rng.normal(size=tuple(y.shape)).astype(dtype)) for y in recorded]
                cr.autograd.backward(recorded, cotangents)
                inputs = []
                map_leaves(inputs.append, [given, options], cr.Tensor)
                yield from (array(t.grad) for t in inputs if t.requires_grad and t.grad is not None)


def main(output, *threads):
    digests, arrays = {}, {}
    for n in map(int, threads):
        cr.set_num_threads(n)
        for row in ROWS:
            found = list(results(row))
            digest = hashlib.sha256(b"".join(np.ascontiguousarray(a).tobytes() for a in found)).hexdigest()
            digests.setdefault(row.label, {})[n] = digest
            if n == int(threads[0]):
                arrays.update({f"{row.label}/{i}": a for i, a in enumerate(found)})
    np.savez(output, **arrays)
    print(json.dumps(digests))


if __name__ == "__main__":
    main(*sys.argv[1:])
