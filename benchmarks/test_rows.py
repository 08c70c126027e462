"""Every row of the table, for the library that --library names."""

from __future__ import annotations

import sys
from typing import Any

import pytest

import work_kernels  # noqa: F401  (each registers its rows)
import work_small  # noqa: F401
import work_training  # noqa: F401
from rows import ROWS, Row
from work_value import PlainValue, moons_step


@pytest.mark.parametrize("row", ROWS, ids=lambda r: r.name)
def test_row(row: Row, library: Any, benchmark: Any) -> None:
    work = row.build(library)
    if work is None:
        pytest.skip(f"no {library.__name__} program for this row")
    work()
    benchmark.extra_info["row"] = row.name
    benchmark(work)


def test_scalar_engines_agree() -> None:
    chainrule = pytest.importorskip("chainrule")
    sys.setrecursionlimit(100_000)
    assert moons_step(chainrule.Value, 5)() == pytest.approx(moons_step(PlainValue, 5)(), rel=1e-12)
