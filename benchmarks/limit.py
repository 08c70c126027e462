"""The machine's own limit: arithmetic and bandwidth, measured by peak.cpp, and what a row needs of both.

python benchmarks/limit.py   prints what this machine reaches
"""

from __future__ import annotations

import bisect
import ctypes
import dataclasses
import os
import pathlib
import platform
import shutil
import subprocess
import sys
import tempfile

from needs import Needs

SOURCE = pathlib.Path(__file__).with_name("peak.cpp")
SIZES = [2**e for e in range(16, 29)]  # bytes of working sets, from the first cache to memory


@dataclasses.dataclass
class Machine:
    """Best rates so far, a second: of float32 and float64 arithmetic, and of bytes by kind and working set."""

    flops: dict[bool, float]
    reading: list[float]
    writing: list[float]

    def bandwidth(self, needs: Needs) -> float:
        """The better one of the measured working sets on both sides of this one: a limit that nobody passes."""
        rates = self.writing if needs.written else self.reading
        above = bisect.bisect_left(SIZES, needs.read + needs.written)
        return max(rates[max(above - 1, 0) : above + 1])

    def seconds(self, needs: Needs) -> float:
        """The least time that work with these needs can take."""
        moved = needs.read + needs.written
        return max(needs.flops / self.flops[needs.double], moved / self.bandwidth(needs) if moved else 0)

    def better(self, other: Machine) -> Machine:
        """The best of two measurements: what a busy machine reached once, it can reach."""
        return Machine(
            {wide: max(rate, other.flops[wide]) for wide, rate in self.flops.items()},
            [max(pair) for pair in zip(self.reading, other.reading)],
            [max(pair) for pair in zip(self.writing, other.writing)],
        )


class Meter:
    """peak.cpp, compiled for this machine; `None` from `start` where no compiler is at hand."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self.library = library
        library.peak_flops.restype = library.peak_bandwidth.restype = ctypes.c_double

    @staticmethod
    def start() -> Meter | None:
        compiler = (
            os.environ.get("CXX") or shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")
        )
        if compiler is None:
            return None
        tune = "-mcpu=native" if platform.machine() in ("arm64", "aarch64") else "-march=native"
        with tempfile.TemporaryDirectory() as folder:
            out = pathlib.Path(folder) / "peak.so"
            options = ["-O3", "-std=c++17", tune, "-ffp-contract=fast", "-fPIC", "-shared", "-pthread"]
            done = subprocess.run(
                [*compiler.split(), *options, str(SOURCE), "-o", str(out)],
                capture_output=True, text=True, check=False,
            )  # fmt: skip
            if done.returncode != 0:
                print(
                    f"no limits: {SOURCE.name} does not compile here\n{done.stderr[-1000:]}", file=sys.stderr
                )
                return None
            return Meter(ctypes.CDLL(str(out)))

    def measure(self, threads: int, tries: int = 3) -> Machine:
        """About two seconds."""
        flops = {wide: self.library.peak_flops(threads, int(wide), 5 * tries) for wide in (False, True)}
        reading, writing = (
            [self.library.peak_bandwidth(threads, ctypes.c_int64(size), kind, tries) for size in SIZES]
            for kind in (0, 1)
        )
        return Machine(flops, reading, writing)


def shown(machine: Machine) -> str:
    """One line: arithmetic, and bandwidth where the caches end."""
    at = {
        size: f"{reading / 1e9:.0f} and {writing / 1e9:.0f}"
        for size, reading, writing in zip(SIZES, machine.reading, machine.writing)
    }
    return (
        f"float32 {machine.flops[False] / 1e9:.0f} GFLOP/s, float64 {machine.flops[True] / 1e9:.0f}; "
        f"GB/s of reading, and of reading and writing: {at[2**18]} in 256 KiB, {at[2**22]} in 4 MiB, "
        f"{at[2**26]} in 64 MiB, {at[2**28]} in 256 MiB"
    )


def main() -> None:
    meter = Meter.start()
    if meter is None:
        sys.exit("a C++ compiler is needed")
    for threads in range(1, (os.cpu_count() or 1) + 1):
        print(f"{threads} threads: {shown(meter.measure(threads))}")


if __name__ == "__main__":
    main()
