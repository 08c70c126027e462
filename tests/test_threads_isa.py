"""The same bits at any number of threads and on every instruction set with fused multiply-add."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lib import NAME, cr
from registry import ROWS

if NAME == "torch":
    pytest.skip("PyTorch makes no such promise", allow_module_level=True)

HERE = Path(__file__).parent
THREADS = ("2", "1", "3", "8")


def levels():
    """The levels that this machine runs, best first; there is only "base" where it is no x86-64."""
    return cr._core._build_info()["levels"][::-1]


@pytest.fixture(scope="session")
def runs(tmp_path_factory):
    """For each level: digests by row and number of threads, and the arrays."""
    folder, processes = tmp_path_factory.mktemp("bits"), {}
    for level in levels():
        counts = THREADS if level == levels()[0] else THREADS[:1]
        environment = os.environ | {
            "CHAINRULE_ISA": level,
            "PYTHONPATH": os.pathsep.join([str(HERE), *sys.path]),
        }
        command = [sys.executable, str(HERE / "bits.py"), str(folder / f"{level}.npz"), *counts]
        processes[level] = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    found = {}
    for level, process in processes.items():
        printed, _ = process.communicate(timeout=600)
        assert process.returncode == 0, level
        found[level] = json.loads(printed), np.load(folder / f"{level}.npz")
    return found


@pytest.mark.parametrize("row", ROWS, ids=lambda r: r.label)
def test_threads(runs, row):
    for level, (digests, _) in runs.items():
        assert len(set(digests[row.label].values())) == 1, f"{level}: {digests[row.label]}"


@pytest.mark.parametrize("row", ROWS, ids=lambda r: r.label)
def test_levels_with_fused_multiply_add(runs, row):
    digests = {level: runs[level][0][row.label]["2"] for level in ("v3", "v4") if level in runs}
    assert len(set(digests.values())) <= 1, digests


@pytest.mark.parametrize("row", ROWS, ids=lambda r: r.label)
def test_level_without_it_is_close(runs, row):
    if "v2" not in runs:
        pytest.skip("not x86-64")
    best = next(iter(runs))
    for name in runs[best][1].files:
        if name.rpartition("/")[0] == row.label:
            got, want = runs["v2"][1][name], runs[best][1][name]
            rtol = {"float32": 2e-5, "float64": 1e-11}.get(want.dtype.name, 0)
            scale = np.abs(want[np.isfinite(want)]).max(initial=0) if want.dtype.kind == "f" else 0
            np.testing.assert_allclose(got, want, rtol=rtol, atol=rtol * scale, err_msg=name)
