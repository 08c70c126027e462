"""autograd.Function: derivatives written by the user."""

import gc
import weakref

import numpy as np
import pytest

from lib import array, cr


def leaf(*values):
    return cr.tensor([float(v) for v in values], dtype=cr.float64, requires_grad=True)


class Cube(cr.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return 3 * x**2 * g


def test_value_and_gradients():
    x = leaf(1, 2)
    y = Cube.apply(x)
    assert "Cube" in y.grad_fn.name()
    y.sum().backward()
    np.testing.assert_array_equal(array(y), [1, 8])
    np.testing.assert_array_equal(array(x.grad), [3, 12])
    (first,) = cr.autograd.grad(Cube.apply(x).sum(), x, create_graph=True)
    (second,) = cr.autograd.grad(first.sum(), x)
    np.testing.assert_array_equal(array(second), [6, 12])


def test_attributes_options_and_missing_gradients():
    class Scale(cr.autograd.Function):
        @staticmethod
        def forward(ctx, x, factor, unused):
            ctx.factor = factor
            assert ctx.needs_input_grad == (True, False, False)
            return x * factor

        @staticmethod
        def backward(ctx, g):
            return g * ctx.factor, None, None

    x = leaf(1)
    Scale.apply(x, 3.0, cr.ones(1)).backward()
    assert float(x.grad) == 3


def test_several_outputs_and_those_without_gradient():
    class Parts(cr.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            count = cr.tensor([x.numel()])
            ctx.mark_non_differentiable(count)
            return x * 2, x * 3, count

        @staticmethod
        def backward(ctx, g2, g3, _):
            return g2 * 2 + g3 * 3

    x = leaf(1)
    a, b, count = Parts.apply(x)
    assert a.requires_grad and b.requires_grad and not count.requires_grad
    (a + 10 * b).backward()
    assert float(x.grad) == 32
    x.grad = None
    Parts.apply(x)[0].backward()  # the other output's gradient arrives as zeros
    assert float(x.grad) == 2


def test_no_zeros_when_not_wanted():
    class Parts(cr.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.set_materialize_grads(False)
            return x * 2, x * 3

        @staticmethod
        def backward(ctx, g2, g3):
            assert g3 is None
            return g2 * 2

    x = leaf(1)
    Parts.apply(x)[0].backward()
    assert float(x.grad) == 2


def test_results_that_are_no_tensors():
    """They come out as they are, and backward sees None for each."""

    class Mixed(cr.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return "name", x * 2, None, 3, x * 5

        @staticmethod
        def backward(ctx, *grads):
            assert [g is None for g in grads] == [True, False, True, True, False]
            return grads[1] * 2 + grads[4] * 5

    x = leaf(1)
    name, a, nothing, number, b = Mixed.apply(x)
    assert (name, nothing, number) == ("name", None, 3)
    (a + b).backward()
    assert float(x.grad) == 7


def test_mark_dirty():
    class Double(cr.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            x.mul_(2)
            ctx.mark_dirty(x)
            return x

        @staticmethod
        def backward(ctx, g):
            return g * 2

    x = leaf(3)
    y = x * 1
    z = Double.apply(y)
    assert z is y and float(y) == 6
    z.backward()
    assert float(x.grad) == 2


def test_once_differentiable():
    class Square(cr.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x * x

        @staticmethod
        @cr.autograd.function.once_differentiable
        def backward(ctx, g):
            return 2 * ctx.saved_tensors[0] * g

    x = leaf(3)
    (g,) = cr.autograd.grad(Square.apply(x), x, create_graph=True)
    assert float(g) == 6
    with pytest.raises(RuntimeError, match=r"twice|does not require grad|not have been used"):
        cr.autograd.grad(g, x)


def test_wrong_numbers_of_gradients():
    class Two(cr.autograd.Function):
        @staticmethod
        def forward(ctx, x, y):
            return x * y

        @staticmethod
        def backward(ctx, g):
            return g

    with pytest.raises(RuntimeError, match="gradient"):
        Two.apply(leaf(1), leaf(1)).backward()


def test_a_saved_tensor_changed_in_place_is_noticed():
    x = leaf(2)
    y = x * 1
    z = Cube.apply(y)
    y.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        z.backward()


def test_forward_does_not_record():
    class Look(cr.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            assert not cr.is_grad_enabled() and not (x * 2).requires_grad
            return x.clone()

        @staticmethod
        def backward(ctx, g):
            return g

    Look.apply(leaf(1)).backward()


def test_an_error_comes_out_as_it_is():
    class Fails(cr.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, g):
            raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        Fails.apply(leaf(1)).backward()


def test_contexts_in_cycles_are_collected():
    class Marker:
        pass

    class Cycle(cr.autograd.Function):
        @staticmethod
        def forward(ctx, x, marker):
            ctx.marker, ctx.me = marker, ctx
            return x.clone()

        @staticmethod
        def backward(ctx, g):
            return g, None

    marker = Marker()
    reference = weakref.ref(marker)
    y = Cycle.apply(leaf(1), marker)
    del y, marker
    gc.collect()
    assert reference() is None
