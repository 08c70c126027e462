"""save and load: round trips, files damaged, hostile or of another model, writing all or nothing."""

import json
import os
import pickle
import struct
import sys

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim
from chainrule.serialization import load, save

safetensors = pytest.importorskip("safetensors")


def value(t):
    return t.detach().numpy()


def model():
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))


def trained():
    net = model()
    optimizer = optim.Adam(net.parameters(), lr=0.01, amsgrad=True)
    for _ in range(3):
        optimizer.zero_grad()
        net(cr.ones(5, 3)).square().sum().backward()
        optimizer.step()
    return net, optimizer


def assert_same(a, b):
    assert type(a) is type(b) or (isinstance(a, dict) and isinstance(b, dict))
    if isinstance(a, cr.Tensor):
        assert a.dtype == b.dtype and a.shape == b.shape
        np.testing.assert_array_equal(value(a), value(b))
    elif isinstance(a, dict):
        assert list(a) == list(b)
        for key in a:
            assert_same(a[key], b[key])
    elif isinstance(a, (list, tuple)):
        assert len(a) == len(b)
        for x, y in zip(a, b):
            assert_same(x, y)
    else:
        assert a == b


def test_a_checkpoint_comes_back(tmp_path):
    net, optimizer = trained()
    checkpoint = {
        "model": net.state_dict(),
        "optimizer": optimizer.state_dict(),
        "epoch": 3,
        "best": (0.5, None),
    }
    save(checkpoint, tmp_path / "c.safetensors")
    back = load(tmp_path / "c.safetensors")
    assert_same(back, checkpoint)
    again = model()
    again.load_state_dict(back["model"])
    other = optim.Adam(again.parameters())
    other.load_state_dict(back["optimizer"])
    for net_, opt in ((net, optimizer), (again, other)):
        opt.zero_grad()
        net_(cr.ones(5, 3)).square().sum().backward()
        opt.step()
    for p, q in zip(net.parameters(), again.parameters()):
        np.testing.assert_array_equal(value(p), value(q))


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "int32", "uint8", "bool"])
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 0, 3), (2, 3)])
def test_every_dtype_and_shape(dtype, shape, tmp_path):
    t = cr.ones(shape, dtype=getattr(cr, dtype))
    save({"t": t}, tmp_path / "f")
    assert_same(load(tmp_path / "f")["t"], t)


def test_views_shared_memory_and_odd_values(tmp_path):
    base = cr.arange(12).reshape(3, 4)
    saved = {
        "t": base.t(),
        "column": base[:, 1],
        "same": base,
        "again": base,
        "nan": float("nan"),
        "inf": [float("inf"), -0.0],
        1: True,
        "deep": {"": [], "x": {}, "ünï": "ü"},
    }
    save(saved, str(tmp_path / "f"))
    back = load(str(tmp_path / "f"))
    assert np.isnan(back.pop("nan")) and np.isnan(saved.pop("nan"))
    assert_same(back, saved)


def test_names_that_meet_stay_apart(tmp_path):
    saved = {
        "a.b": cr.ones(1),
        "a": {"b": cr.zeros(1)},
        "": {"a": {"b": cr.ones(2)}},
        "__metadata__": cr.ones(3),
    }
    save(saved, tmp_path / "f")
    assert_same(load(tmp_path / "f"), saved)


def test_a_plain_state_dict_is_a_file_for_every_reader(tmp_path):
    import safetensors.numpy

    net = model()
    save(net.state_dict(), tmp_path / "f.safetensors")
    read = safetensors.numpy.load_file(tmp_path / "f.safetensors")
    assert set(read) == set(net.state_dict())
    np.testing.assert_array_equal(read["0.weight"], value(net[0].weight))
    safetensors.numpy.save_file({"x": np.arange(3.0)}, tmp_path / "g.safetensors")
    assert_same(load(tmp_path / "g.safetensors"), {"x": cr.arange(3.0, dtype=cr.float64)})


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        ({"x": np.ones(3)}, "'x' is of type ndarray"),
        ({"x": {"y": [1, object()]}}, "'x.y.1' is of type object"),
        ({("a", 1): 2}, "a key of type tuple"),
        ([cr.ones(1)], "dictionary"),
    ],
)
def test_what_cannot_be_saved_leaves_the_old_file(bad, says, tmp_path):
    save({"old": 1}, tmp_path / "f")
    with pytest.raises(TypeError, match=says):
        save(bad, tmp_path / "f")
    assert load(tmp_path / "f") == {"old": 1}
    assert os.listdir(tmp_path) == ["f"]


def test_an_interrupted_save_leaves_the_old_file(tmp_path, monkeypatch):
    import safetensors.numpy

    save({"old": 1}, tmp_path / "f")

    def interrupted(tensors, path, metadata):
        with open(path, "wb") as half:
            half.write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(safetensors.numpy, "save_file", interrupted)
    with pytest.raises(KeyboardInterrupt):
        save({"new": 2}, tmp_path / "f")
    assert load(tmp_path / "f") == {"old": 1}
    assert os.listdir(tmp_path) == ["f"]


def test_a_full_disk_is_an_os_error(tmp_path, monkeypatch):
    import safetensors.numpy

    def full(tensors, path, metadata):
        raise safetensors.SafetensorError("No space left on device")

    monkeypatch.setattr(safetensors.numpy, "save_file", full)
    with pytest.raises(OSError, match=r"save: cannot write .*: No space left on device"):
        save({"n": 1}, tmp_path / "f")
    assert os.listdir(tmp_path) == []


def test_a_link_stays_a_link_and_its_target_changes(tmp_path):
    save({"n": 1}, tmp_path / "f")
    os.symlink(tmp_path / "f", tmp_path / "link")
    save({"n": 2}, tmp_path / "link")
    assert os.path.islink(tmp_path / "link") and load(tmp_path / "f") == {"n": 2}


def test_missing_files_and_directories(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no file"):
        load(tmp_path / "nothing")
    with pytest.raises(FileNotFoundError, match="there is no directory"):
        save({}, tmp_path / "no" / "f")


def test_a_truncated_file_is_refused_at_every_length(tmp_path):
    net = nn.Linear(2, 2)
    save(net.state_dict(), tmp_path / "whole")
    whole = (tmp_path / "whole").read_bytes()
    for size in range(len(whole)):
        (tmp_path / "cut").write_bytes(whole[:size])
        with pytest.raises(RuntimeError, match="is damaged or no safetensors file"):
            load(tmp_path / "cut")


def written(path, header, data=b""):
    text = json.dumps(header).encode() if not isinstance(header, bytes) else header
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


class Bomb:
    def __reduce__(self):
        return sys.exit, ("a file was run",)


@pytest.mark.parametrize(
    "make",
    [
        lambda path: path.write_bytes(pickle.dumps(Bomb())),
        lambda path: path.write_bytes(b"\xff" * 200),
        lambda path: written(path, b"{" * 50),
        lambda path: written(path, {"x": {"dtype": "F32", "shape": [4], "data_offsets": [0, 8]}}, b"0" * 8),
        lambda path: written(
            path, {"x": {"dtype": "F32", "shape": [1 << 62, 4], "data_offsets": [0, 8]}}, b"0" * 8
        ),
        lambda path: written(path, {"x": {"dtype": "F99", "shape": [2], "data_offsets": [0, 8]}}, b"0" * 8),
        lambda path: written(path, {"x": {"dtype": "F32", "shape": [2], "data_offsets": [0, 800]}}, b"0" * 8),
        lambda path: written(path, {"__metadata__": {"chainrule": "{"}}),
        lambda path: written(path, {"__metadata__": {"chainrule": '["tensor", "gone"]'}}),
        lambda path: written(path, {"__metadata__": {"chainrule": '["call", "os.system"]'}}),
        lambda path: written(path, {"__metadata__": {"chainrule": '["dict", [[["list", []], 1]]]'}}),
        lambda path: written(path, {"__metadata__": {"chainrule": '["dict", 3]'}}),
        lambda path: written(path, {"__metadata__": {"chainrule": '["tensor", []]'}}),
        lambda path: written(path, {"__metadata__": {"chainrule": "[" * 100_000}}),
        lambda path: written(path, {"__metadata__": {"chainrule": '["list",[' * 5000 + "]]" * 5000}}),
    ],
)
def test_a_hostile_file_is_refused(make, tmp_path):
    path = tmp_path / "f"
    make(path)
    with pytest.raises(RuntimeError, match="is damaged or no safetensors file"):
        load(path)


def test_the_file_of_another_model_leaves_the_model_as_it_was(tmp_path):
    net = model()
    before = {name: value(t).copy() for name, t in net.state_dict().items()}
    save(nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(4)).state_dict(), tmp_path / "f")
    with pytest.raises(RuntimeError, match=r"size mismatch for 0\.weight"):
        net.load_state_dict(load(tmp_path / "f"))
    for name, t in net.state_dict().items():
        np.testing.assert_array_equal(value(t), before[name])


def test_without_safetensors_the_error_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "safetensors", None)
    with pytest.raises(ImportError, match="pip install safetensors"):
        save({}, tmp_path / "f")
    with pytest.raises(ImportError, match="pip install safetensors"):
        load(tmp_path / "f")


def test_options_of_torch_load(tmp_path):
    save({"n": 1}, tmp_path / "f")
    assert load(tmp_path / "f", map_location="cpu", weights_only=True) == {"n": 1}
    with pytest.raises(RuntimeError, match="expected map_location 'cpu', got 'cuda'"):
        load(tmp_path / "f", map_location="cuda")
    with pytest.raises(ValueError, match="weights_only=False"):
        load(tmp_path / "f", weights_only=False)
