"""Whole training runs give the same bits on every machine with fused multiply-add, at any number of threads."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lib import NAME
from test_threads_isa import levels

if NAME == "torch":
    pytest.skip("PyTorch makes no such promise", allow_module_level=True)

HERE = Path(__file__).parent
# What training.py prints. A change that alters these alters everybody's results: say so in the commit.
DIGESTS = {"mlp": "ea96c1019c96c816", "cnn": "cc678e5553fdcdfd", "gpt": "1a3995559e2199e5"}
# PyTorch's losses, first and last, of the same runs.
LOSSES = {
    "mlp": (0.0829918, 0.0763770),
    "cnn": (2.3088884, 2.2402229),
    "gpt": (3.9653947, 3.0403516),
}


@pytest.fixture(scope="module", params=[level for level in levels() if level != "v2"])
def runs(request):
    environment = os.environ | {
        "CHAINRULE_ISA": request.param,
        "PYTHONPATH": os.pathsep.join([str(HERE), *sys.path]),
    }
    command = [sys.executable, str(HERE / "training.py"), "1", "2", "3", "8"]
    return json.loads(subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True).stdout)


@pytest.mark.parametrize("model", DIGESTS)
def test_same_bits(runs, model):
    assert {threads: digest for threads, (digest, *_) in runs[model].items()} == dict.fromkeys(
        ("1", "2", "3", "8"), DIGESTS[model]
    )


@pytest.mark.parametrize("model", LOSSES)
def test_trains_like_pytorch(runs, model):
    assert runs[model]["1"][1:] == pytest.approx(LOSSES[model], rel=1e-4)
