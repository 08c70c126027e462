"""First derivatives agree with differences of the reference, second ones with differences of the first.

For y = f(x), a cotangent w and a direction v the library gives g(x, w) = J'w and, from its recorded gradient,
the derivatives of <g, v>: Hv in x (H the Hessian of <w, f>) and Jv in w. Each is a difference of a simpler
function.
"""

import numpy as np
import pytest

from checks import reference_call
from lib import array, cr, leaves, map_leaves, outputs, tensor
from registry import ROWS
from registry.row import lay

SMALL = 80  # elements: up to here every partial derivative is checked, beyond it two directions
DIFFERENTIABLE = [row for row in ROWS if row.orders]


class Problem:
    """One sample in float64, as a function of the vector of all its differentiable elements."""

    def __init__(self, row, sample):
        self.row, self.layout = row, sample.layout
        self.call = sample.draw(row, "float64")
        self.flags = sample.differentiable()
        chosen = [a for a, flag in zip(leaves(list(self.call)), self.flags, strict=True) if flag]
        self.shapes = [a.shape for a in chosen]
        self.x = np.concatenate([a.ravel() for a in chosen] or [np.zeros(0)])
        self.form = row.forms(cr)[0]
        self.rng = np.random.default_rng(1)
        self.w = [self.rng.normal(size=y.shape) for y in self.reference(self.x)]

    def pieces(self, x):
        """The vector as arrays, laid out in memory like the sample."""
        cuts = np.cumsum([int(np.prod(s)) for s in self.shapes])[:-1]
        parts = zip(np.split(x, cuts), self.shapes, strict=True) if self.shapes else ()
        return [lay(part.reshape(shape), self.layout) for part, shape in parts]

    def arguments(self, differentiable, convert):
        chosen, flags = iter(differentiable), iter(self.flags)
        return map_leaves(lambda a: next(chosen) if next(flags) else convert(a), list(self.call))

    def reference(self, x):
        args, kwargs = self.arguments(self.pieces(x), lambda a: a)
        results = map(np.asarray, outputs(reference_call(self.row, args, kwargs, "float64")))
        return [y for y in results if y.dtype.kind == "f"]

    def weighted(self, x):
        """<w, f(x)>, from the reference."""
        return sum(float((w * y).sum()) for w, y in zip(self.w, self.reference(x), strict=True))

    def leaves(self, x):
        return [tensor(part, requires_grad=True) for part in self.pieces(x)]

    def values(self, leaves):
        args, kwargs = self.arguments(leaves, tensor)
        return [y for y in outputs(self.form(*args, **kwargs)) if y.is_floating_point()]

    def gradient(self, leaves, w, **options):
        """J'w; None where f does not depend on a leaf."""
        results = [(y, v) for y, v in zip(self.values(leaves), w, strict=True) if y.requires_grad]
        return cr.autograd.grad(
            [y for y, _ in results], leaves, [v for _, v in results], allow_unused=True, **options
        )

    def gradient_at(self, x):
        leaves = self.leaves(x)
        return flat(self.gradient(leaves, [tensor(w) for w in self.w]), leaves)

    def values_at(self, x):
        values = self.values(self.leaves(x))
        return flat(values, values)


def flat(tensors, like):
    """One vector, with zeros for what is None."""
    parts = [np.zeros(t.shape) if g is None else array(g.clone()) for g, t in zip(tensors, like, strict=True)]
    return np.concatenate([part.ravel() for part in parts] or [np.zeros(0)])


def difference(function, x, direction, h):
    """The derivative along a direction, exact for polynomials of fourth degree."""
    near = function(x + h * direction) - function(x - h * direction)
    far = function(x + 2 * h * direction) - function(x - 2 * h * direction)
    return (8 * near - far) / (12 * h)


def close(got, want, rtol, where):
    scale = max(np.abs(want).max(initial=0), np.abs(got).max(initial=0), 1e-3)
    np.testing.assert_allclose(got, want, rtol=rtol, atol=rtol * scale, err_msg=str(where))


def problems(row):
    """The samples with something to differentiate. An expanded one has equal elements, where extrema have no
    derivative to compare with."""
    for sample in row.samples:
        if any(sample.differentiable()) and sample.layout != "expanded":
            yield sample, Problem(row, sample)


@pytest.mark.parametrize("row", DIFFERENTIABLE, ids=lambda r: r.label)
def test_first_derivative(row):
    for sample, problem in problems(row):
        x, got = problem.x, problem.gradient_at(problem.x)
        if x.size <= SMALL:
            want = np.array([difference(problem.weighted, x, e, 1e-5) for e in np.eye(x.size)])
            close(got, want, 1e-7, sample)
        elif not row.jumps:
            for v in problem.rng.normal(size=(2, x.size)):
                close(got @ v, difference(problem.weighted, x, v, 1e-6), 1e-5, sample)


@pytest.mark.parametrize("row", [r for r in DIFFERENTIABLE if r.orders > 1], ids=lambda r: r.label)
def test_second_derivative(row):
    for sample, problem in problems(row):
        if 0 < problem.x.size <= (SMALL if row.jumps else 4 * SMALL):
            check_second(problem, sample)


def check_second(problem, sample):
    v = problem.rng.normal(size=problem.x.size)
    x, w = problem.leaves(problem.x), [tensor(each, requires_grad=True) for each in problem.w]
    grads = zip(problem.gradient(x, w, create_graph=True), problem.pieces(v), strict=True)
    along = [(g, tensor(d)) for g, d in grads if g is not None and g.requires_grad]
    if not along:
        return
    second = cr.autograd.grad([g for g, _ in along], [*x, *w], [d for _, d in along], allow_unused=True)
    close(flat(second[: len(x)], x), difference(problem.gradient_at, problem.x, v, 1e-5), 1e-6, sample)
    close(flat(second[len(x) :], w), difference(problem.values_at, problem.x, v, 1e-5), 1e-7, sample)


@pytest.mark.parametrize("row", DIFFERENTIABLE, ids=lambda r: r.label)
def test_gradient_of_an_expanded_argument(row):
    """Strides of 0 change nothing: the gradient is that of a copy."""
    for sample in row.samples:
        if sample.layout == "expanded":
            problem = Problem(row, sample)
            got = problem.gradient_at(problem.x)
            problem.layout = None
            close(got, problem.gradient_at(problem.x), 1e-12, sample)


def test_equal_extrema_share_the_gradient():
    """amax and the maximum of everything divide it evenly; max along a dimension gives it to one."""
    for reduce in (lambda x: x.amax(1), lambda x: cr.stack([row.max() for row in x])):
        x = tensor(np.array([[1.0, 3.0, 3.0], [2.0, 2.0, 2.0]]), requires_grad=True)
        reduce(x).backward(tensor(np.array([1.0, 3.0])))
        np.testing.assert_allclose(array(x.grad), [[0, 0.5, 0.5], [1, 1, 1]])
    x = tensor(np.array([[1.0, 3.0, 3.0]]), requires_grad=True)
    values, indices = x.max(1)
    values.sum().backward()
    assert array(x.grad)[0, int(indices)] == 1 and array(x.grad).sum() == 1


def test_gradient_at_the_kinks():
    """Where there is no derivative PyTorch's choice counts: 0 for relu and abs, half for a tie of two,
    all of it for a number at the bound of clamp."""
    zero = tensor(np.zeros(1), requires_grad=True)
    for function, want in ((cr.relu, 0.0), (cr.abs, 0.0), (lambda x: cr.maximum(x, x.detach()), 0.5)):
        assert float(cr.autograd.grad(function(zero).sum(), zero)[0]) == want
    for function in (lambda x: x**0, lambda x: cr.atan2(x, x), lambda x: cr.atan2(x, -x)):
        assert float(cr.autograd.grad(function(zero).sum(), zero)[0]) == 0
    edges = tensor(np.array([-1.0, 0.0, 1.0]), requires_grad=True)
    for bounds in (
        {"min": edges.detach()},
        {"max": edges.detach()},
        {"min": edges.detach() - 1, "max": edges.detach()},
    ):
        np.testing.assert_array_equal(
            array(cr.autograd.grad(edges.clamp(**bounds).sum(), edges)[0]), [1, 1, 1]
        )
    np.testing.assert_array_equal(array(cr.autograd.grad(edges.clamp(-1, 1).sum(), edges)[0]), [1, 1, 1])


@pytest.mark.parametrize("kept", [False, True])
def test_layer_norm_adds_to_what_its_input_was_given(kept):
    """A residual connection: the layer's kernel adds to the gradient that came past it, unless somebody looks at it."""
    r = np.random.default_rng(0)
    data, w, b, g = (cr.tensor(r.standard_normal(s)) for s in ((7, 33), (33,), (33,), (7, 33)))

    def gradients(residual):
        x = data.clone().requires_grad_()
        h = x * 2
        if kept:
            h.retain_grad()
        y = cr.nn.functional.layer_norm(h, (33,), w, b)
        other = (h * 3 if residual else h.detach()) * g
        (other.sum() + (y * g).sum()).backward()
        return x.grad, h.grad if kept else None

    both, at = gradients(True)
    alone, _ = gradients(False)
    np.testing.assert_allclose(array(both), array(alone + 6 * g), rtol=1e-13)
    if kept:
        np.testing.assert_allclose(array(at), array(both) / 2, rtol=1e-13)
