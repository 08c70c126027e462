"""Runs the suite for every installed library, each in a process of its own, and prints one table of ratios.

python benchmarks/compare.py                  all rows
python benchmarks/compare.py -k matmul        some rows, by pytest's -k
python benchmarks/compare.py --json out.json  keeps the times, in microseconds
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import pathlib
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE))

import test_rows  # noqa: E402,F401  (registers the rows)
from rows import ROWS  # noqa: E402

LIBRARIES = ("chainrule", "torch", "numpy", "jax")


def measure(library: str, select: str, seconds: float, threads: int) -> dict[str, float]:
    """The best time of each row in microseconds."""
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder) / "times.json"
        command = [
            sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(HERE), "--library", library,
            "--threads", str(threads), "--benchmark-json", str(out), "--benchmark-max-time", str(seconds),
            "--benchmark-min-rounds", "5", "--benchmark-disable-gc", "--benchmark-warmup", "on",
            "--benchmark-warmup-iterations", "3",
        ]  # fmt: skip
        if select:
            command += ["-k", select]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if not out.exists():
            sys.exit(f"the benchmarks of {library} did not run:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
        rows = json.loads(out.read_text())["benchmarks"]
        return {r["extra_info"]["row"]: r["stats"]["min"] * 1e6 for r in rows}


def shown(us: float | None) -> str:
    return "" if us is None else f"{us:.2f}" if us < 100 else f"{us:.0f}"


def table(times: dict[str, dict[str, float]], avx512: bool) -> str:
    lines = [
        "| work | chainrule us | torch us | best other us | times PyTorch's speed | target | |",
        "|" + "---|" * 7,
    ]
    for row in ROWS:
        own = times["chainrule"].get(row.name)
        if own is None:
            continue
        torch = times.get("torch", {}).get(row.name)
        others = [(times[lib][row.name], lib) for lib in ("numpy", "jax") if row.name in times.get(lib, {})]
        best = min(others, default=None)
        target = row.target[1 if avx512 else 0]
        ratio = None if torch is None else torch / own
        met = "" if ratio is None else "yes" if ratio >= target and (best is None or own <= best[0]) else "no"
        other = "" if best is None else f"{shown(best[0])} ({best[1]})"
        quoted = "" if ratio is None else f"{ratio:.2f}"
        lines.append(
            f"| {row.name} | {shown(own)} | {shown(torch)} | {other} | {quoted} | {target:g} | {met} |"
        )
    value = times["chainrule"].get("scalar moons MLP, chainrule")
    plain = times["chainrule"].get("scalar moons MLP, plain Python")
    if value and plain:
        met = "yes" if plain / value >= 15 else "no"
        lines.append(
            f"| scalar Value: moons MLP, 100 samples | {shown(value)} | | {shown(plain)} (plain Python) "
            f"| {plain / value:.1f} times plain Python | 15 | {met} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("-k", default="", help="rows to run, as pytest's -k")
    parser.add_argument("--seconds", type=float, default=0.5, help="time a row")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=pathlib.Path, help="where to keep the times")
    parser.add_argument("--only", nargs="*", choices=LIBRARIES, help="libraries, chainrule always among them")
    args = parser.parse_args()
    wanted = args.only if args.only is not None else list(LIBRARIES)
    libraries = [lib for lib in LIBRARIES if lib == "chainrule" or lib in wanted]
    libraries = [lib for lib in libraries if importlib.util.find_spec(lib) is not None]
    times = {lib: measure(lib, args.k, args.seconds, args.threads) for lib in libraries}
    if args.json is not None:
        args.json.write_text(json.dumps(times, indent=1) + "\n")
    import chainrule

    info = chainrule._core._build_info()
    print(f"chainrule {info['version']}, instruction set {info['isa']}, {args.threads} threads")
    print(table(times, avx512="v4" in info["levels"]))


if __name__ == "__main__":
    main()
