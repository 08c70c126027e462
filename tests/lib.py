"""The library under test, and the bridge between it and NumPy.

CHAINRULE_TEST_LIB=torch runs the same suite on PyTorch: that is how the reference itself is checked.
"""

import importlib
import os
import subprocess
import sys
import textwrap

import numpy as np

# Threads that wait do not spin: on a busy machine they would take the time of those that work.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
NAME = os.environ.get("CHAINRULE_TEST_LIB", "chainrule")
cr = importlib.import_module(NAME)
# Tests of memory mean something where the system tells the peak, and without the sanitizer, which holds freed memory
# back and needs the address space for itself.
TELLS_MEMORY = sys.platform == "linux" and "asan" not in os.environ.get("LD_PRELOAD", "")


def run(program, timeout=120):
    """A program in a process of its own; what it printed."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    source = f"import {NAME} as cr\n" + textwrap.dedent(program)
    done = subprocess.run(
        [sys.executable, "-c", source], capture_output=True, text=True, timeout=timeout, env=environment
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.strip()


def dtype_of(tensor):
    """'float32' and so on."""
    return str(tensor.dtype).rpartition(".")[2]


def tensor(array, lib=cr, requires_grad=False):
    """A tensor that owns its memory, with the strides of the array (also those of 0, which expand)."""
    once = tuple(
        slice(1) if stride == 0 and n else slice(None) for n, stride in zip(*layout(array), strict=True)
    )
    base = array[once]
    buffer = np.copy(base, order="K") if dense(base) else spread(base)
    made = lib.from_numpy(buffer)
    made = made.expand(array.shape) if base.shape != array.shape else made
    return made.requires_grad_() if requires_grad else made


def layout(array):
    return array.shape, array.strides


def dense(array):
    """Do the elements fill their memory, in whatever order of dimensions?"""
    return not array.size or sum(s * (n - 1) for n, s in zip(*layout(array), strict=True)) < array.nbytes


def spread(array):
    """A copy that keeps the gap after each element of the last dimension."""
    buffer = np.zeros((*array.shape[:-1], 2 * array.shape[-1]), array.dtype)
    buffer[..., ::2] = array
    return buffer[..., ::2]


def map_leaves(function, value, kind=np.ndarray):
    """The same lists, tuples and dictionaries, with the function applied to every array in them."""
    if isinstance(value, kind):
        return function(value)
    if isinstance(value, dict):
        return {key: map_leaves(function, each, kind) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)([map_leaves(function, each, kind) for each in value])
    return value


def leaves(value, kind=np.ndarray):
    found = []
    map_leaves(found.append, value, kind)
    return found


def outputs(result):
    """The results of an operation as a flat list."""
    if isinstance(result, (tuple, list)):
        return [each for part in result for each in outputs(part)]
    return [result]


def array(tensor):
    return tensor.detach().numpy() if hasattr(tensor, "detach") else np.asarray(tensor)
