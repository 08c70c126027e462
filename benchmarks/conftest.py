"""One process measures one library: pytest benchmarks --library torch."""

from __future__ import annotations

import os

import pytest

from timing import LIBRARIES, environment, prepare


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--library", default="chainrule", choices=LIBRARIES, help="the library that this process measures"
    )
    parser.addoption("--threads", type=int, default=2, help="threads that the library may use")


def pytest_configure(config: pytest.Config) -> None:
    wanted = environment(config.getoption("--threads"))
    os.environ.clear()
    os.environ.update(wanted)


@pytest.fixture(scope="session")
def library(request: pytest.FixtureRequest):
    """The module under measurement, with its threads set."""
    name = request.config.getoption("--library")
    if name != "python":
        pytest.importorskip(name)
    return prepare(name, request.config.getoption("--threads"))
