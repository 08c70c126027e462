"""In-place forms and `out=` give what the plain call gives, where they write and with the same gradient."""

import numpy as np
import pytest

from lib import NAME, array, cr, leaves, map_leaves, outputs, tensor
from registry import ROWS

INPLACE = [row for row in ROWS if row.inplace]
OUT = [row for row in ROWS if row.out]


def same(got, want, sample):
    """The same bits; PyTorch's depend on the alignment of the memory."""
    if NAME == "torch":
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6, err_msg=str(sample))
    else:
        np.testing.assert_array_equal(got, want, err_msg=str(sample))


def fitting(row, dtype):
    """The samples whose result can be written into their first tensor."""
    for sample in row.samples:
        args, kwargs = sample.draw(row, dtype)
        result = outputs(row.forms(cr)[0](*map_leaves(tensor, args), **map_leaves(tensor, kwargs)))[0]
        target = args[0]
        if (
            isinstance(target, np.ndarray)
            and sample.layout != "expanded"
            and target.shape == tuple(result.shape)
        ):
            if result.dtype == tensor(target).dtype:
                yield sample, args, kwargs, array(result)


@pytest.mark.parametrize(
    "row, dtype", [pytest.param(r, d, id=f"{r.label}-{d}") for r in INPLACE for d in r.dtypes]
)
def test_inplace_value(row, dtype):
    change = getattr(cr.Tensor, row.name + "_")
    for sample, args, kwargs, want in fitting(row, dtype):
        given, options = map_leaves(tensor, args), map_leaves(tensor, kwargs)
        target, version = given[0], given[0]._version
        assert change(*given, **options) is target, sample
        same(array(target), want, sample)
        assert target._version > version, sample


@pytest.mark.parametrize("row", [r for r in INPLACE if r.orders], ids=lambda r: r.label)
def test_inplace_gradient(row):
    """x.clone().op_(...) differentiates like op(x, ...)."""
    plain, change = row.forms(cr)[0], getattr(cr.Tensor, row.name + "_")
    for sample, args, kwargs, want in fitting(row, "float64"):
        flags = sample.differentiable()
        w = tensor(np.random.default_rng(0).normal(size=want.shape))
        grads = []
        for call in (plain, lambda x, *others, **options: change(x.clone(), *others, **options)):
            chosen = iter(flags)
            given, options = map_leaves(lambda a: tensor(a, requires_grad=next(chosen)), [args, kwargs])  # noqa: B023
            inputs = [t for t in leaves([given, options], cr.Tensor) if t.requires_grad]
            result = call(*given, **options)
            grads.append([array(g) for g in cr.autograd.grad(result, inputs, w)])
        for got, expected in zip(*grads, strict=True):
            same(got, expected, sample)


@pytest.mark.parametrize("row", INPLACE, ids=lambda r: r.label)
def test_inplace_cannot_grow(row):
    """An argument that would broadcast the target to a larger shape is refused, and nothing changes."""
    for _, args, kwargs, _ in fitting(row, row.dtypes[0]):
        small = tensor(args[0][:1].copy()) if args[0].ndim and args[0].shape[0] > 1 else None
        others = map_leaves(tensor, args[1:])
        if small is None or not any(isinstance(o, cr.Tensor) and o.shape == args[0].shape for o in others):
            continue
        before = array(small).copy()
        with pytest.raises(RuntimeError):
            getattr(small, row.name + "_")(*others, **kwargs)
        np.testing.assert_array_equal(array(small), before)


@pytest.mark.parametrize("row", [r for r in INPLACE if r.result == "float"], ids=lambda r: r.label)
def test_inplace_result_does_not_fit_integers(row):
    args, kwargs = row.samples[0].draw(row, "int64")
    given = map_leaves(tensor, args)
    before = array(given[0]).copy()
    with pytest.raises(RuntimeError, match=r"can't be cast|cannot be cast"):
        getattr(given[0], row.name + "_")(*given[1:], **kwargs)
    np.testing.assert_array_equal(array(given[0]), before)


@pytest.mark.parametrize("row", OUT, ids=lambda r: r.label)
def test_out_value(row):
    form = getattr(cr, row.name)
    for sample in row.samples:
        args, kwargs = sample.draw(row, row.dtypes[0])
        given, options = map_leaves(tensor, args), map_leaves(tensor, kwargs)
        want = form(*given, **options)
        out = cr.empty(want.shape, dtype=want.dtype)
        assert form(*given, **options, out=out) is out
        same(array(out), array(want), sample)
        if want.ndim > 1:  # strides of the target are kept
            out = cr.empty(tuple(want.shape)[::-1], dtype=want.dtype).permute(*range(want.ndim)[::-1])
            form(*given, **options, out=out)
            same(array(out), array(want), sample)


@pytest.mark.parametrize(
    "row", [r for r in OUT if r.result != "bool" and "float32" in r.dtypes], ids=lambda r: r.label
)
def test_out_of_the_wrong_kind(row):
    args, kwargs = row.samples[0].draw(row, "float32")
    given = map_leaves(tensor, args)
    shape = getattr(cr, row.name)(*given, **kwargs).shape
    out = cr.full(shape, 7, dtype=cr.int64)
    with pytest.raises((RuntimeError, TypeError)):
        getattr(cr, row.name)(*given, **kwargs, out=out)
    assert (array(out) == 7).all()


PAIRS = {
    "sort": lambda x, **out: cr.sort(x, dim=1, **out),
    "topk": lambda x, **out: cr.topk(x, 2, **out),
    "kthvalue": lambda x, **out: cr.kthvalue(x, 2, **out),
    "max": lambda x, **out: cr.max(x, 1, **out),
    "min": lambda x, **out: cr.min(x, 1, **out),
}


@pytest.mark.parametrize("name", PAIRS)
def test_out_of_two(name):
    """Values and indices into a pair of tensors, or nothing into either."""
    x = cr.from_numpy(np.random.default_rng(0).normal(size=(4, 5)))
    want = PAIRS[name](x)
    out = cr.empty(0, dtype=cr.float64), cr.empty(0, dtype=cr.int64)
    got = PAIRS[name](x, out=out)
    assert got.values is out[0] and got.indices is out[1]
    same(array(out[0]), array(want.values), name)
    same(array(out[1]), array(want.indices), name)
    wrong = cr.full_like(want.values, 7.0), cr.zeros(want.indices.shape, dtype=cr.bool)
    for bad in (wrong, wrong[:1], wrong[0], 3):
        with pytest.raises((RuntimeError, TypeError)):
            PAIRS[name](x, out=bad)
    if NAME != "torch":
        assert (array(wrong[0]) == 7).all()


@pytest.mark.parametrize("row", [r for r in OUT if r.orders], ids=lambda r: r.label)
def test_out_does_not_record(row):
    """Nothing can be differentiated through `out=`, so a graph is refused."""
    args, kwargs = row.samples[0].draw(row, "float64")
    given = map_leaves(lambda a: tensor(a, requires_grad=True), args)
    with pytest.raises(RuntimeError, match="out"):
        getattr(cr, row.name)(*given, **kwargs, out=cr.empty(0, dtype=cr.float64))


UNARY_OUT = ["exp", "neg", "logical_not"]
BINARY_OUT = ["add", "sub", "lt", "maximum"]


def out_is(kind, y):
    """A target that lies in y's memory, and y as the operand that it lies in."""
    return {
        "itself": lambda: (y, y),
        "detached": lambda: (y.detach(), y),
        "transposed": lambda: (y.t(), y),
        "shifted": lambda: (y.view(-1)[3:], y.view(-1)[:-3]),
        "shifted back": lambda: (y.view(-1)[:-3], y.view(-1)[3:]),
        "element": lambda: (y, y[1, 1]),
        "row": lambda: (y, y[1]),
        "other columns": lambda: (y[:, :10], y[:, 10:20]),
    }[kind]()


OUT_KINDS = ["itself", "detached", "transposed", "shifted", "shifted back", "other columns"]


@pytest.mark.parametrize("n", [20, 300])  # gathered rows and long ones, and what threads share
@pytest.mark.parametrize(
    "name, kind",
    [(name, kind) for name in [*UNARY_OUT, *BINARY_OUT] for kind in OUT_KINDS]
    + [(name, kind) for name in BINARY_OUT for kind in ["element", "row"]],
)
def test_out_shares_memory(name, kind, n):
    """The operands are read before they are written; PyTorch refuses what overlaps in part."""
    memory = np.random.default_rng(0).normal(size=(n, n)).astype("float32")
    out, operand = out_is(kind, tensor(memory.copy()))
    if name in ("lt", "logical_not"):
        out = cr.empty(out.shape, dtype=cr.bool)
    other = np.random.default_rng(1).normal(size=tuple(out.shape)).astype("float32")
    args = (operand,) if name in UNARY_OUT else (operand, tensor(other))
    if NAME == "torch" and kind in ("transposed", "shifted", "shifted back", "element", "row"):
        return
    plain = getattr(cr, name)(*[arg.clone() for arg in args])
    version = out._version
    assert getattr(cr, name)(*args, out=out) is out
    same(array(out), array(plain), kind)
    assert out._version > version


def test_out_shares_numpy_memory():
    """Two tensors of one array: neither knows of the other."""
    memory = np.arange(1000, dtype="float32")
    x, out = cr.from_numpy(memory[:-1]), cr.from_numpy(memory[1:])
    if NAME != "torch":
        cr.add(x, 1, out=out)
        np.testing.assert_array_equal(memory[1:], np.arange(1, 1000))


PRODUCTS_OUT = {
    "mm": (2, lambda x, a, b, **out: cr.mm(a, b, **out)),
    "matmul": (3, lambda x, a, b, **out: cr.matmul(a, b, **out)),
    "bmm": (3, lambda x, a, b, **out: cr.bmm(a, b, **out)),
    "mv": (2, lambda x, a, b, **out: cr.mv(a, b[0], **out)),
    "addmm": (2, lambda x, a, b, **out: cr.addmm(x, a, b, beta=0.5, alpha=2, **out)),
    "addmv": (2, lambda x, a, b, **out: cr.addmv(x[0], a, b[0], beta=0.5, alpha=2, **out)),
    "baddbmm": (3, lambda x, a, b, **out: cr.baddbmm(x, a, b, beta=0.5, alpha=2, **out)),
}


@pytest.mark.parametrize("name", PRODUCTS_OUT)
@pytest.mark.parametrize("over", ["memory of its own", "left", "right", "added", "NumPy's"])
def test_out_of_products(name, over):
    """In the memory of `out`, whatever lies there; PyTorch refuses the operands of the product."""
    dims, form = PRODUCTS_OUT[name]
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=(3,) * (dims - 2) + (40, 40)).astype("float32") for _ in range(3)]
    x, a, b = map(cr.from_numpy, arrays)
    want = form(*(cr.tensor(array) for array in arrays))
    if NAME == "torch" and over in ("left", "right", "NumPy's"):
        return
    own = cr.full(want.shape, float("nan"))
    out = {"left": a, "right": b, "added": x, "NumPy's": cr.from_numpy(arrays[1])}.get(over, own)
    out = out if out.shape == want.shape else out[0]
    address, version = out.data_ptr(), out._version
    assert form(x, a, b, out=out) is out
    same(array(out), array(want), name)
    assert out.data_ptr() == address and out._version > version


@pytest.mark.parametrize("name", ["addmm_", "addmv_", "baddbmm_"])
@pytest.mark.parametrize("recorded", [False, True])
def test_products_are_added_in_place(name, recorded):
    rng = np.random.default_rng(0)
    shape = (3, 30, 30) if name == "baddbmm_" else (30, 30)
    a, b = (cr.tensor(rng.normal(size=shape), requires_grad=recorded) for _ in range(2))
    b = b[0] if name == "addmv_" else b
    x = cr.tensor(rng.normal(size=(a @ b).shape))
    want = 0.5 * x + 2 * (a @ b)
    view, version = x.view(-1), x._version
    assert getattr(x, name)(a, b, beta=0.5, alpha=2) is x
    np.testing.assert_allclose(array(view.detach()), array(want.detach()).reshape(-1), rtol=1e-12)
    assert x._version > version and x.requires_grad == recorded


REFUSED = {
    "graph": lambda x, out: cr.mul(x.requires_grad_(), 2.0, out=out),
    "graph of out": lambda x, out: cr.mul(x, 2.0, out=out.requires_grad_()),
    "expanded": lambda x, out: cr.mul(x, 2.0, out=out[:1].expand(3)),
    "shapes": lambda x, out: cr.mul(x, cr.zeros(2), out=out),
}
INTEGERS_REFUSED = {
    "integer divisor": lambda x, out: cr.floor_divide(cr.arange(3), cr.tensor([1, 1, 0]), out=out),
    "negative power": lambda x, out: cr.pow(cr.arange(3), cr.tensor([1, 1, -1]), out=out),
}


@pytest.mark.parametrize("case", REFUSED if NAME == "torch" else REFUSED | INTEGERS_REFUSED)
def test_out_is_untouched_by_what_is_refused(case):
    dtype = cr.int64 if case in INTEGERS_REFUSED else cr.float32
    out = cr.full((3,), 7, dtype=dtype)
    with pytest.raises(RuntimeError):
        (REFUSED | INTEGERS_REFUSED)[case](cr.ones(3), out)
    assert (array(out.detach()) == 7).all()


# x op_ other, and its gradients in x and in the other, as of tensors that share nothing.
ARITHMETIC = {
    "add_": (lambda x, o: x + o, lambda x, o: (1 + 0 * x, 1 + 0 * x)),
    "sub_": (lambda x, o: x - o, lambda x, o: (1 + 0 * x, -1 + 0 * x)),
    "mul_": (lambda x, o: x * o, lambda x, o: (o, x)),
    "div_": (lambda x, o: x / o, lambda x, o: (1 / o, -x / o**2)),
}
SAME_MEMORY = {"itself": lambda y: y, "view": lambda y: y.view(3, 3), "detached": lambda y: y.detach()}
SAME_MEMORY |= {
    f"detached {name}": lambda y, f=f: f(y.detach()) for name, f in [("view", SAME_MEMORY["view"])]
}
OVERLAPPING = {"transposed": lambda y: y.t(), "row": lambda y: y[1], "element": lambda y: y[1, 1]}
OVERLAPPING |= {f"detached {name}": lambda y, f=f: f(y.detach()) for name, f in OVERLAPPING.items()}


def nine():
    x = (cr.arange(9.0, dtype=cr.float64).reshape(3, 3) + 1).requires_grad_()
    return x, x * 1


@pytest.mark.parametrize("other", SAME_MEMORY)
@pytest.mark.parametrize("op", ARITHMETIC)
def test_operand_is_what_is_written(op, other):
    """The operand is read before it is written; who needs it for the gradient says that it is gone."""
    value, gradients = ARITHMETIC[op]
    x, y = nine()
    before = array(y).copy()
    getattr(y, op)(SAME_MEMORY[other](y))
    np.testing.assert_array_equal(array(y), value(before, before))
    lost = op in ("mul_", "div_") and other != "itself"
    if NAME == "torch" and op in ("mul_", "div_"):
        lost = True  # also what the operation itself writes
    if lost:
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            y.sum().backward()
        return
    y.sum().backward()
    to_x, to_other = gradients(before, before)
    np.testing.assert_allclose(array(x.grad), to_x if "detached" in other else to_x + to_other)


@pytest.mark.parametrize("other", OVERLAPPING)
@pytest.mark.parametrize("op", ARITHMETIC)
def test_operand_overlaps_what_is_written(op, other):
    _, y = nine()
    before = array(y).copy()
    with pytest.raises(RuntimeError, match="single memory location"):
        getattr(y, op)(OVERLAPPING[other](y))
    np.testing.assert_array_equal(array(y), before)


@pytest.mark.parametrize("op", ARITHMETIC)
def test_operand_is_another_part_of_the_base(op):
    value, gradients = ARITHMETIC[op]
    x, y = nine()
    before = array(y).copy()
    getattr(y[0], op)(y[1].clone())
    np.testing.assert_array_equal(array(y)[0], value(before[0], before[1]))
    np.testing.assert_array_equal(array(y)[1:], before[1:])
    y.sum().backward()
    want = np.ones((3, 3))
    to_first, to_second = gradients(before[0], before[1])
    want[0], want[1] = to_first, 1 + to_second
    np.testing.assert_allclose(array(x.grad), want)
    with pytest.raises(RuntimeError, match="single memory location"):
        getattr(y[:2], op)(y[1:].detach())


# What optimizers written by hand are made of: one pass over x, with the numbers of the composition.
STEPS = {
    "add_": (lambda x, a, b, s: x.add_(a, alpha=s), lambda x, a, b, s: x + a * s),
    "sub_": (lambda x, a, b, s: x.sub_(a, alpha=s), lambda x, a, b, s: x - a * s),
    "addcmul_": (lambda x, a, b, s: x.addcmul_(a, b, value=s), lambda x, a, b, s: x + a * b * s),
    "addcdiv_": (lambda x, a, b, s: x.addcdiv_(a, b, value=s), lambda x, a, b, s: x + a / b * s),
    "lerp_": (
        lambda x, a, b, s: x.lerp_(a, s),
        lambda x, a, b, s: x + s * (a - x) if abs(s) < 0.5 else a - (a - x) * (1 - s),
    ),
}


@pytest.mark.skipif(NAME == "torch", reason="PyTorch fuses some of them")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("op", STEPS)
def test_scaled_terms_in_one_pass(op, dtype):
    step, definition = STEPS[op]
    rng = np.random.default_rng(0)
    x, a, b = (rng.uniform(0.5, 2, (70, 90)).astype(dtype) for _ in range(3))
    for scale in (-0.25, 0.75, 1.0):
        s = x.dtype.type(scale)
        for layout in ("rows", "columns", "row of a", "slice"):
            y, p, q = (tensor(v.copy()) for v in (x, a, b))
            want = definition(x, a, b, s)
            if layout == "columns":
                y, p = (tensor(v.T.copy()).T for v in (x, a))
            if layout == "row of a":
                p, want = p[3], definition(x, a[3], b, s)
            if layout == "slice":
                y = tensor(np.repeat(x, 2, 1))[:, ::2]
            assert step(y, p, q, scale) is y
            np.testing.assert_array_equal(array(y), want)


@pytest.mark.parametrize("op", STEPS)
def test_scaled_terms_beside_the_plain_loop(op):
    """Recorded, of another dtype, or of x's own memory: composed, as ever."""
    step, definition = STEPS[op]
    x, a = np.arange(1.0, 10).reshape(3, 3), np.full((3, 3), 3.0)
    leaf = tensor(x).requires_grad_()
    y = leaf * 1
    step(y, tensor(a), tensor(a), 0.25)
    y.sum().backward()
    np.testing.assert_allclose(array(leaf.grad), np.full((3, 3), 0.75 if op == "lerp_" else 1.0))
    y = tensor(x)
    step(y, y, y, 0.25)
    np.testing.assert_allclose(array(y), definition(x, x, x, 0.25))
    y, version = tensor(x), 0
    step(y, tensor(a), tensor(a), 0.25)
    assert y._version > version
    with pytest.raises(RuntimeError, match=r"leaf|shape"):
        step(leaf, tensor(a), tensor(a), 0.25)
    with pytest.raises(RuntimeError):
        step(tensor(x[0]), tensor(a), tensor(a), 0.25)


def test_clamp_in_place():
    x = np.array([-2.0, -1.0, 0.5, np.nan, 1.0, 3.0])
    for bounds in ({"min": -1}, {"max": 1}, {"min": -1, "max": 1}):
        y = tensor(x)
        assert y.clamp_(**bounds) is y
        np.testing.assert_array_equal(array(y), np.clip(x, bounds.get("min"), bounds.get("max")))
        y = tensor(np.arange(6))
        y.clamp_(**bounds)
        np.testing.assert_array_equal(array(y), np.clip(np.arange(6), bounds.get("min"), bounds.get("max")))
