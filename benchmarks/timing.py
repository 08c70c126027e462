"""Times rows for several libraries, each in a process of its own, in turns: a machine that slows down for a while slows
them all.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import importlib
import importlib.util
import itertools
import json
import math
import os
import pathlib
import statistics
import subprocess
import sys
import time
import types
from collections.abc import Callable, Iterable, Iterator
from typing import Any

HERE = pathlib.Path(__file__).parent
LIBRARIES = ("chainrule", "torch", "numpy", "jax", "python")

AVX2 = {
    "ATEN_CPU_CAPABILITY": "avx2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "MKL_ENABLE_INSTRUCTIONS": "AVX2",
    "NPY_DISABLE_CPU_FEATURES": "AVX512F AVX512CD AVX512_SKX AVX512_CLX AVX512_CNL AVX512_ICL AVX512_SPR X86_V4",
    "OPENBLAS_CORETYPE": "Haswell",
    "XLA_FLAGS": "--xla_cpu_max_isa=AVX2",
}

Times = dict[str, list[float]]  # library: the best time of each round, in microseconds


def installed(wanted: Iterable[str] = LIBRARIES) -> list[str]:
    return [lib for lib in wanted if lib == "python" or importlib.util.find_spec(lib) is not None]


def environment(threads: int) -> dict[str, str]:
    """Without old workarounds for OpenBLAS, which slow a current NumPy down. CHAINRULE_ISA=v3 compares with AVX2
    everywhere."""
    own = {v: str(threads) for v in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}
    kept = {k: v for k, v in os.environ.items() if k not in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")}
    return kept | own | (AVX2 if os.environ.get("CHAINRULE_ISA") == "v3" else {})


def prepare(name: str, threads: int) -> Any:
    """The library as a module, with its threads and seed set."""
    if name == "python":
        return types.ModuleType(name)
    # The only thing that JAX listens to.
    if threads < (os.cpu_count() or 1) and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    module = importlib.import_module(name)
    if hasattr(module, "set_num_threads"):
        module.set_num_threads(threads)
    if hasattr(module, "manual_seed"):
        module.manual_seed(0)
    for submodule in {"jax": ["jax.numpy"], "torch": ["torch.nn.functional"]}.get(name, []):
        importlib.import_module(submodule)
    return module


def best_time(work: Callable[[], Any], seconds: float) -> float:
    """The shortest time of a call, in seconds, among samples of at least 200 us each."""

    def sample(calls: int) -> float:
        start = time.perf_counter()
        for _ in itertools.repeat(None, calls):
            work()
        return time.perf_counter() - start

    gc.collect()
    gc.disable()
    try:
        first = sample(1)
        first = min(first, *(sample(1) for _ in range(1 if first > seconds else 3)))
        calls = max(1, math.ceil(2e-4 / first))
        if calls > 1:
            sample(calls)
        best, end = math.inf, time.perf_counter() + seconds
        for done in itertools.count():
            if done >= 2 and time.perf_counter() > end:
                return best / calls
            if first > 0.05:
                gc.collect()  # of what plain Python leaves behind
            best = min(best, sample(calls))
    finally:
        gc.enable()
    raise AssertionError


def serve(name: str, threads: int, table: str) -> None:
    """Answers requests for rows, a line of JSON each, until there are no more."""
    rows = {r.name: r for r in importlib.import_module(table).ROWS}
    library = prepare(name, threads)
    current, work = "", None
    answers = os.fdopen(os.dup(1), "w")  # what a library prints goes elsewhere
    os.dup2(2, 1)
    for line in sys.stdin:
        request = json.loads(line)
        try:
            if request["row"] != current:
                current, work = request["row"], None
                work = rows[current].build(library)
            answer = {"us": None if work is None else best_time(work, request["seconds"]) * 1e6}
        except Exception as error:
            work, answer = None, {"us": None, "error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=answers, flush=True)


class Server:
    """A process that measures one library."""

    def __init__(self, library: str, threads: int, table: str) -> None:
        self.library, self.failed = library, list[str]()  # rows that raised
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / "timing.py"), library, "--threads", str(threads), "--table", table],
            env=environment(threads), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def time(self, row: str, seconds: float) -> float | None:
        assert self.process.stdin is not None and self.process.stdout is not None
        print(json.dumps({"row": row, "seconds": seconds}), file=self.process.stdin, flush=True)
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"the process of {self.library} ended in the row {row!r}")
        answer = json.loads(line)
        if "error" in answer:
            self.failed.append(row)
            print(f"{self.library}, {row}: {answer['error']}", file=sys.stderr)
        return answer["us"]  # type: ignore[no-any-return]

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


@contextlib.contextmanager
def servers(libraries: Iterable[str], threads: int, table: str = "test_rows") -> Iterator[list[Server]]:
    """`table` is the module whose ROWS are measured."""
    running = [Server(library, threads, table) for library in libraries]
    try:
        yield running
    finally:
        for server in running:
            server.close()


def time_row(running: list[Server], row: str, seconds: float, rounds: int) -> Times:
    """Rounds of the libraries in turn; those that have no program for the row are left out."""
    times: Times = {}
    for round_ in range(rounds):
        for server in running:
            if round_ == 0 or server.library in times:
                us = server.time(row, seconds)
                if us is not None:
                    times.setdefault(server.library, []).append(us)
    return times


def ratio(times: Times, against: str) -> tuple[float, float] | None:
    """How many times as fast as `against`, by the best times; and its noise, by how far the rounds' median is from
    their best (a single round that somebody disturbed says nothing)."""
    if against not in times or "chainrule" not in times:
        return None
    quotient = min(times[against]) / min(times["chainrule"])
    agreement = math.prod(
        min(each) / statistics.median(each) for each in (times[against], times["chainrule"])
    )
    return quotient, quotient * (1 - agreement)


def selected(names: Iterable[str], select: str) -> list[str]:
    """Those that contain one of the words, which stand apart by " or "."""
    words = [w.strip().lower() for w in select.split(" or ")]
    return [n for n in names if any(w in n.lower() for w in words)]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description="Used by compare.py, guard.py and sizes.py: measures one library."
    )
    parser.add_argument("library", choices=LIBRARIES)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--table", default="test_rows", help="the module with the rows")
    arguments = parser.parse_args()
    serve(arguments.library, arguments.threads, arguments.table)
