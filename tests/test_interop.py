"""Tensors among NumPy arrays, Python numbers and sequences, pickles and copies."""

import copy
import io
import pickle

import numpy as np
import pytest

from lib import NAME, array, cr

DTYPES = ["float32", "float64", "int64", "int32", "uint8", "bool"]


@pytest.mark.parametrize("dtype", DTYPES)
def test_numpy_shares_memory(dtype):
    t = cr.ones((2, 3), dtype=getattr(cr, dtype))
    for a in (t.numpy(), np.asarray(t)):
        assert a.dtype == dtype and a.shape == (2, 3)
        a[0, 0] = 0
        assert t[0, 0].item() == 0
    assert np.asarray(t.t()).strides == t.numpy().T.strides
    assert np.array(t).base is None


def test_numpy_keeps_the_memory_alive():
    a = cr.arange(1000).numpy()
    junk = [cr.zeros(1000, dtype=cr.int64) for _ in range(10)]
    assert (a == np.arange(1000)).all() and junk


def test_numpy_functions_take_tensors():
    t = cr.arange(4.0)
    assert np.sum(np.asarray(t)) == 6
    a = np.arange(1.0, 5.0, dtype=np.float32)
    for got, want in (
        (np.add(t, 1), [1, 2, 3, 4]),
        (t + a, [1, 3, 5, 7]),
        (np.float64(2.0) * t, [0, 2, 4, 6]),
        (np.sqrt(t * t), [0, 1, 2, 3]),
        (t == a - 1, [True] * 4),
    ):
        assert isinstance(got, cr.Tensor)
        np.testing.assert_array_equal(array(got), want)
    if NAME != "torch":  # which compares identities
        assert (t != a).all() and (t < a).all() and not (a < t).any()


def test_asarray_casts():
    assert np.asarray(cr.arange(3), dtype=np.float32).dtype == np.float32


def test_dlpack_both_ways():
    t = cr.arange(6.0).reshape(2, 3)
    a = np.from_dlpack(t)
    a_is_shared = a.__array_interface__["data"][0] == t.data_ptr()
    assert a_is_shared and a.shape == (2, 3)
    b = np.arange(4.0)
    u = cr.from_dlpack(b)
    b[0] = 9
    assert float(u[0]) == 9
    np.testing.assert_array_equal(array(cr.from_dlpack(t.t())), array(t).T)
    with pytest.raises((RuntimeError, BufferError)):
        np.from_dlpack(cr.ones(1, requires_grad=True))


def test_item_and_numbers():
    assert cr.tensor(2.5).item() == 2.5 and cr.tensor([[3]]).item() == 3
    assert float(cr.tensor(2)) == 2.0 and int(cr.tensor(2.9)) == 2 and bool(cr.tensor([0])) is False
    assert [10, 20, 30][cr.tensor(1)] == 20
    assert type(cr.tensor(True).item()) is bool and type(cr.tensor(1).item()) is int
    for fails in (float, int, lambda t: t.item(), bool):
        with pytest.raises((RuntimeError, ValueError, TypeError)):
            fails(cr.ones(2))
    with pytest.raises(TypeError):
        [1, 2][cr.tensor(1.0)]


def test_sequences():
    t = cr.arange(6).reshape(3, 2)
    assert len(t) == 3 and [row.tolist() for row in t] == [[0, 1], [2, 3], [4, 5]]
    a, b, c = t
    assert b.tolist() == [2, 3] and a.shape == c.shape
    assert 4 in t and 7 not in t
    with pytest.raises(TypeError, match="0-d"):
        len(cr.tensor(1))
    with pytest.raises(TypeError, match="0-d"):
        iter(cr.tensor(1))
    for row in t:
        row.zero_()
    assert t.sum().item() == 0


def test_size():
    shape = cr.zeros(2, 3, 4).shape
    assert shape == (2, 3, 4) and shape[1] == 3 and shape[-2:] == (3, 4) and shape.numel() == 24
    assert isinstance(shape, tuple) and tuple(shape) == (2, 3, 4) and str(shape) == f"{NAME}.Size([2, 3, 4])"
    t = cr.zeros(2, 3, 4)
    assert t.size() == shape and t.size(1) == 3 and t.size(-1) == 4 and t.dim() == t.ndim == 3
    assert t.numel() == t.nelement() == 24 and t.element_size() == 4 and t.nbytes == 96
    assert t.stride() == (12, 4, 1) and t.stride(0) == 12 and t.storage_offset() == 0
    assert t.is_contiguous() and not t.transpose(0, 1).is_contiguous()
    with pytest.raises(IndexError):
        t.size(3)


@pytest.mark.parametrize("dtype", DTYPES)
def test_pickle(dtype):
    t = cr.arange(6).reshape(2, 3).to(getattr(cr, dtype))
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        back = pickle.loads(pickle.dumps(t, protocol))
        assert back.dtype == t.dtype
        np.testing.assert_array_equal(array(back), array(t))


def test_pickle_keeps_what_matters():
    x = cr.ones(2, requires_grad=True)
    assert pickle.loads(pickle.dumps(x)).requires_grad
    p = pickle.loads(pickle.dumps(cr.nn.Parameter(cr.ones(2))))
    assert isinstance(p, cr.nn.Parameter)
    view = pickle.loads(pickle.dumps(cr.arange(6).reshape(2, 3).t()))
    np.testing.assert_array_equal(array(view), np.arange(6).reshape(2, 3).T)
    stream = io.BytesIO()
    pickle.dump({"a": cr.zeros(0), "b": cr.tensor(3.0)}, stream)
    loaded = pickle.loads(stream.getvalue())
    assert loaded["a"].shape == (0,) and loaded["b"].item() == 3


def test_copies():
    x = cr.ones(2, requires_grad=True)
    deep = copy.deepcopy(x)
    assert deep.requires_grad and deep.is_leaf and deep is not x
    with cr.no_grad():
        deep.zero_()
    assert (array(x) == 1).all()
    shallow = copy.copy(cr.ones(2))
    assert (array(shallow) == 1).all()
    nested = copy.deepcopy({"a": x, "b": [x]})
    assert nested["a"] is nested["b"][0]
    with pytest.raises(RuntimeError, match=r"leaf|leaves|explicitly"):
        copy.deepcopy(x * 2)


def test_comparison():
    a, b = cr.tensor([1.0, 2.0]), cr.tensor([1.0, 2.0 + 1e-9])
    assert cr.equal(a, a.clone()) and not cr.equal(a, cr.zeros(2)) and not cr.equal(a, cr.zeros(3))
    assert cr.allclose(a, b) and not cr.allclose(a, a + 1) and a.allclose(b)
    nan = cr.tensor([float("nan")])
    assert not cr.allclose(nan, nan) and cr.allclose(nan, nan, equal_nan=True) and not cr.equal(nan, nan)


def test_truth_is_ambiguous():
    with pytest.raises(RuntimeError, match="ambiguous"):
        bool(cr.ones(2))


def test_device():
    t = cr.ones(2)
    assert str(t.device) == "cpu" and t.device.type == "cpu" and not t.is_cuda
    assert t.to("cpu") is t and t.cpu() is t
    assert cr.zeros(1, device="cpu").device == cr.device("cpu")
    for wrong in ("gpu", "cuda:x", "cpu:-1", ""):
        with pytest.raises(RuntimeError):
            cr.device(wrong)
        with pytest.raises(RuntimeError):
            t.to(wrong)
    here = cr.device("cpu")
    assert here == t.device and here.index is None and repr(here) == "device(type='cpu')"
    assert cr.device("cpu", 0) == cr.device("cpu:0") != here and cr.device("cpu:0").index == 0
    assert str(cr.device("cpu", 0)) == "cpu:0"
    assert pickle.loads(pickle.dumps(here)) == here
    assert cr.zeros(1, device=here).device == cr.nn.Linear(1, 1, device=here).weight.device == here


def test_to():
    """A dtype, a device or another tensor, by place and by name."""
    t, here = cr.ones(2), cr.device("cpu")
    assert t.to(here) is t.to(device=here) is t.to(device="cpu") is t.to(t) is t
    assert t.to(here, cr.int64).dtype == t.to(device=here, dtype=cr.int64).dtype == cr.int64
    assert t.to("cpu", cr.float64).dtype == t.to(dtype=cr.float64).dtype == cr.float64
    assert t.to(cr.zeros(1, dtype=cr.uint8)).dtype == cr.uint8
    assert t.to(cr.float32, copy=True) is not t
    assert cr.nn.Linear(1, 1).to(here, cr.float64).weight.dtype == cr.float64
    for wrong in ({"dtype": "cpu"}, {"device": 3}, {"device": cr.float32}):
        with pytest.raises((TypeError, RuntimeError)):
            t.to(**wrong)


def test_type():
    assert cr.ones(1).type() == f"{NAME}.FloatTensor" and cr.tensor([1]).type() == f"{NAME}.LongTensor"
    assert cr.ones(1).type(cr.float64).dtype == cr.float64


def test_threads():
    before = cr.get_num_threads()
    cr.set_num_threads(3)
    assert cr.get_num_threads() == 3
    cr.set_num_threads(before)
    with pytest.raises((RuntimeError, ValueError)):
        cr.set_num_threads(0)
    assert cr.get_num_threads() == before


@pytest.mark.skipif(NAME == "torch", reason="PyTorch refuses elsewhere")
def test_foreign_arrays():
    for bad in (np.zeros(2, ">f8"), np.array(["a"]), np.array([object()]), np.zeros(2, np.complex64)):
        with pytest.raises((TypeError, ValueError)):
            cr.from_numpy(bad)
        with pytest.raises((TypeError, ValueError, RuntimeError)):
            cr.tensor(bad)
    with pytest.raises(TypeError):
        cr.from_numpy([1, 2])
