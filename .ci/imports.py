"""Import time and memory beside NumPy's, each in fresh processes: python .ci/imports.py"""

import statistics
import subprocess
import sys

PROBE = """
import time
start = time.perf_counter()
import {module}
seconds = time.perf_counter() - start
resident = 0
try:
    resident = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmRSS"))
except OSError:
    pass
print(seconds * 1e3, resident / 1024)
"""


def measure(module: str, runs: int = 9) -> tuple[float, float]:
    """Median milliseconds to import, and MiB resident afterwards."""
    rows = []
    for _ in range(runs):
        out = subprocess.run(
            [sys.executable, "-c", PROBE.format(module=module)], check=True, capture_output=True, text=True
        ).stdout
        rows.append([float(x) for x in out.split()])
    return statistics.median(r[0] for r in rows), statistics.median(r[1] for r in rows)


def main() -> None:
    numpy, chainrule = measure("numpy"), measure("chainrule")
    print(f"import numpy:     {numpy[0]:6.1f} ms, {numpy[1]:5.1f} MiB resident")
    print(f"import chainrule: {chainrule[0]:6.1f} ms, {chainrule[1]:5.1f} MiB resident (NumPy's included)")
    print(f"chainrule adds:   {chainrule[0] - numpy[0]:6.1f} ms, {chainrule[1] - numpy[1]:5.1f} MiB")


if __name__ == "__main__":
    main()
