"""Hooks, the nodes of the graph, and the identity and life of tensors as Python objects."""

import copy
import gc
import pickle
import weakref

import numpy as np
import pytest

from lib import NAME, array, cr


def leaf(*values):
    return cr.tensor([float(v) for v in values], dtype=cr.float64, requires_grad=True)


def test_a_tensor_hook_sees_and_replaces_the_gradient():
    x, seen = leaf(2), []
    y = x * 3
    y.register_hook(lambda g: seen.append(float(g)))
    handle = y.register_hook(lambda g: g * 10)
    (y * 5).backward(retain_graph=True)
    assert seen == [5] and float(x.grad) == 150
    handle.remove()
    x.grad = None
    (y * 5).backward()
    assert float(x.grad) == 15


def test_hooks_of_a_leaf():
    x, seen = leaf(2), []
    x.register_hook(lambda g: g + 1)
    x.register_post_accumulate_grad_hook(lambda p: seen.append((p is x, float(p.grad))))
    (x * 3).backward()
    (x * 3).backward()
    assert seen == [(True, 4), (True, 8)]


def test_hooks_need_a_graph():
    with pytest.raises(RuntimeError):
        cr.ones(1).register_hook(lambda g: g)
    with pytest.raises(RuntimeError):
        (leaf(1) * 2).register_post_accumulate_grad_hook(lambda p: None)


def test_an_error_in_a_hook_comes_out():
    x = leaf(1)

    def fail(g):
        raise KeyError("mine")

    x.register_hook(fail)
    with pytest.raises(KeyError, match="mine"):
        (x * 2).backward()


def test_nodes():
    x = leaf(1)
    y = (x * 2).exp()
    node = y.grad_fn
    assert "Exp" in node.name() and "ExpBackward0" in repr(node)
    (below, index), *_ = node.next_functions
    assert "Mul" in below.name() and index == 0
    accumulate = below.next_functions[0][0]
    assert accumulate.name().endswith("AccumulateGrad") and accumulate.variable is x
    assert y.grad_fn is node


def test_the_graph_stays_after_its_python_names_are_gone():
    x = leaf(1)
    y = x * 2
    z = y * y
    del y
    gc.collect()
    z.backward()
    assert float(x.grad) == 8


def test_identity():
    x = leaf(1)
    (x * 2).backward()
    assert x.grad is x.grad
    x.grad.note = "kept"
    assert x.grad.note == "kept"
    y = x * 2
    y.tag = 5
    holder = [y]
    assert holder[0] is y and holder[0].tag == 5
    assert len({x, y, x}) == 2 and hash(x) == hash(x)


def test_weak_references():
    x = cr.ones(1)
    reference = weakref.ref(x)
    assert reference() is x
    del x
    gc.collect()
    assert reference() is None


def test_cycles_are_collected():
    """Through an attribute and through a hook's closure."""

    class Marker:
        pass

    def build(kind):
        marker, x = Marker(), leaf(1)
        y = x * 2
        if kind == "attribute":
            x.me = (x, marker)
        elif kind == "hook":
            x.register_hook(lambda g: (x, marker))
        elif kind == "hook of a node":
            y.register_hook(lambda g: (y, marker))
        return weakref.ref(marker)

    kinds = ["attribute", "hook"] + ["hook of a node"] * (NAME != "torch")
    references = {kind: build(kind) for kind in kinds}
    gc.collect()
    assert [kind for kind, reference in references.items() if reference() is not None] == []


def test_subclasses():
    class Special(cr.Tensor):
        pass

    x = cr.ones(2).as_subclass(Special)
    if NAME != "torch":
        assert type(Special(cr.ones(2))) is Special
    assert isinstance(x, Special) and isinstance(x, cr.Tensor)
    np.testing.assert_array_equal(array(x + 1), [2, 2])
    with pytest.raises(TypeError):
        cr.ones(1).as_subclass(int)


@pytest.mark.skipif(NAME == "torch", reason="PyTorch's subclasses give results of their class")
def test_subclasses_survive_in_the_graph():
    """A leaf that only the graph holds is still the object that it was; copies and pickles are of its class."""
    x = Kept(cr.ones(2))
    x.requires_grad_()
    x.note = "mine"
    y = (x * 2).sum()
    del x
    gc.collect()
    back = y.grad_fn.next_functions[0][0].next_functions[0][0].variable
    assert type(back) is Kept and back.note == "mine" and back.requires_grad
    y.backward()
    assert array(back.grad).tolist() == [2, 2]
    for twin in (copy.copy(back), copy.deepcopy(back), pickle.loads(pickle.dumps(back))):
        assert type(twin) is Kept and twin.note == "mine" and twin.requires_grad and twin is not back


class Kept(cr.Tensor):
    """Pickled by its name, so it stands here."""


def test_parameters():
    p = cr.nn.Parameter(cr.ones(2))
    assert isinstance(p, cr.Tensor) and p.requires_grad and p.is_leaf
    assert "Parameter containing" in repr(p)
    assert not isinstance(p * 2, cr.nn.Parameter)
    q = copy.deepcopy(p)
    assert isinstance(q, cr.nn.Parameter) and q is not p
    with cr.no_grad():
        q.zero_()
    assert (array(p) == 1).all()
    assert not cr.nn.Parameter(cr.ones(1), requires_grad=False).requires_grad
