"""Every row of the table, for the library that --library names."""

from __future__ import annotations

from typing import Any

import pytest

import work_kernels  # noqa: F401  (each registers its rows)
import work_small  # noqa: F401
import work_training  # noqa: F401
from rows import ROWS, Row


@pytest.mark.parametrize("row", ROWS, ids=lambda r: r.name)
def test_row(row: Row, library: Any, benchmark: Any) -> None:
    work = row.build(library)
    if work is None:
        pytest.skip(f"no {library.__name__} program for this row")
    work()
    benchmark.extra_info["row"] = row.name
    benchmark(work)
