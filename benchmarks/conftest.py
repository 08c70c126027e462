"""One process measures one library: pytest benchmarks --library torch."""

from __future__ import annotations

import importlib
import os

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--library",
        default="chainrule",
        choices=["chainrule", "torch", "numpy", "jax"],
        help="the library that this process measures",
    )
    parser.addoption("--threads", type=int, default=2, help="threads that the library may use")


def pytest_configure(config: pytest.Config) -> None:
    threads = str(config.getoption("--threads"))
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[variable] = threads
    # Old workarounds for OpenBLAS slow a current NumPy down.
    for variable in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):
        os.environ.pop(variable, None)


@pytest.fixture(scope="session")
def library(request: pytest.FixtureRequest):
    """The module under measurement, with its threads set."""
    name = request.config.getoption("--library")
    module = pytest.importorskip(name)
    threads = request.config.getoption("--threads")
    if hasattr(module, "set_num_threads"):
        module.set_num_threads(threads)
    if hasattr(module, "manual_seed"):
        module.manual_seed(0)
    for submodule in {"jax": ["jax.numpy"], "torch": ["torch.nn.functional"]}.get(name, []):
        importlib.import_module(submodule)
    return module
