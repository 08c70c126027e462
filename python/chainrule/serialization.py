"""save and load: state dictionaries in safetensors files.

A file holds tensors and, as JSON beside them, how dictionaries, lists, numbers and strings stand around them.
Nothing in it is ever run, so a file from a stranger can do no more than be refused. A plain dictionary of
names and tensors, as ``Module.state_dict`` gives it, is a file that every safetensors reader understands, and
theirs load here.
"""

from __future__ import annotations

import json
import os
import types
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from ._core import Tensor, tensor

__all__ = ["load", "save"]

_KEY = "chainrule"  # of the JSON in the file's metadata
_SCALARS = (bool, int, float, str, type(None))


def save(obj: Mapping[str, Any], f: str | os.PathLike[str]) -> None:
    """Writes dictionaries, lists and tuples of tensors, numbers and strings, as ``state_dict`` gives them.

    The file appears complete or not at all: it is written under another name beside its place and renamed.
    Raises TypeError, before anything is written, for a value of any other type, OSError when the file cannot
    be written, ImportError without safetensors.
    """
    if not isinstance(obj, Mapping):
        raise TypeError(f"save: expected a dictionary, got {type(obj).__name__}")
    package = _safetensors("save")
    arrays: dict[str, np.ndarray[Any, Any]] = {}
    structure = _packed(obj, "", arrays)
    with _replacing(os.fspath(f)) as temporary:
        try:
            package.numpy.save_file(arrays, temporary, metadata={_KEY: json.dumps(structure)})
        except package.SafetensorError as error:
            raise OSError(f"save: cannot write {os.fspath(f)!r}: {error}") from error


def load(f: str | os.PathLike[str], map_location: str | None = None, *, weights_only: bool = True) -> Any:
    """What ``save`` wrote, or the tensors of any safetensors file by name.

    Raises RuntimeError, saying why, when the file is truncated or no such file, FileNotFoundError when there
    is none, ImportError without safetensors. ``map_location`` may name the CPU; ``weights_only=False`` is a
    ValueError, as nothing else is ever loaded.
    """
    if map_location is not None and str(map_location) != "cpu":
        raise RuntimeError(
            f"load: chainrule computes on the CPU; expected map_location 'cpu', got {map_location!r}"
        )
    if not weights_only:
        raise ValueError("load: weights_only=False would run what is in the file, which chainrule never does")
    package = _safetensors("load")
    path = os.fspath(f)
    if not os.path.exists(path):
        raise FileNotFoundError(f"load: there is no file {path!r}")
    try:
        with package.safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            tensors = {name: tensor(file.get_tensor(name)) for name in file.keys()}
        if _KEY not in metadata:
            return tensors
        return _unpacked(json.loads(metadata[_KEY]), tensors)
    except (
        package.SafetensorError,
        OSError,
        ValueError,
        TypeError,
        KeyError,
        RecursionError,
        MemoryError,
    ) as error:
        raise RuntimeError(
            f"load: {path!r} is damaged or no safetensors file that chainrule reads: {error}"
        ) from error


def _safetensors(what: str) -> types.ModuleType:
    try:
        import safetensors
        import safetensors.numpy
    except ImportError:
        raise ImportError(f"{what} needs the package safetensors: pip install safetensors") from None
    return safetensors


def _packed(value: Any, path: str, arrays: dict[str, np.ndarray[Any, Any]]) -> Any:
    """The value as JSON: a scalar as itself, anything else as [kind, content]. Tensors go to ``arrays``."""
    if isinstance(value, Tensor):
        arrays[path] = np.ascontiguousarray(value.detach().numpy()).reshape(tuple(value.shape))
        return ["tensor", path]
    if isinstance(value, _SCALARS):
        return value
    if isinstance(value, Mapping):
        pairs = []
        for key, member in value.items():
            if not isinstance(key, _SCALARS):
                raise TypeError(f"save: a key of type {type(key).__name__} in {path or 'the dictionary'!r}")
            pairs.append([key, _packed(member, _free(path, key, arrays), arrays)])
        return ["dict", pairs]
    if isinstance(value, (list, tuple)):
        members = [_packed(member, _free(path, i, arrays), arrays) for i, member in enumerate(value)]
        return ["tuple" if isinstance(value, tuple) else "list", members]
    raise TypeError(
        f"save: {path!r} is of type {type(value).__name__}; a state dictionary holds tensors, numbers, "
        "strings, None, lists, tuples and dictionaries"
    )


def _free(path: str, key: Any, arrays: Mapping[str, Any]) -> str:
    """A dotted name for a member, changed until no other tensor has it, as 'a.b' and 'b' in 'a' may."""
    name = f"{path}.{key}" if path else str(key)
    while name in arrays or name in ("", "__metadata__"):
        name += "'"
    return name


def _unpacked(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    """The inverse of ``_packed``; ValueError or KeyError for JSON that it cannot have written."""
    if isinstance(value, _SCALARS):
        return value
    kind, content = value
    if kind == "tensor":
        return tensors[content]
    if kind == "dict":
        return {key: _unpacked(member, tensors) for key, member in content}
    if kind in ("list", "tuple"):
        members = [_unpacked(member, tensors) for member in content]
        return tuple(members) if kind == "tuple" else members
    raise ValueError(f"unknown kind {kind!r}")


@contextmanager
def _replacing(path: str) -> Iterator[str]:
    """A temporary name in the directory of ``path``; what is there in the end takes the place of ``path``."""
    path = os.path.realpath(path)  # A link stays a link.
    folder, name = os.path.split(path)
    if not os.path.isdir(folder):
        raise FileNotFoundError(f"save: there is no directory {folder!r}")
    temporary = os.path.join(folder, f".{name}.{os.getpid()}.tmp")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        if os.path.exists(temporary):
            os.remove(temporary)
