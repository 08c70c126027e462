"""Runs the suite for every installed library, each in a process of its own, and prints one table: times, ratios, and
the fraction of the machine's own limit, measured in the same run.

python benchmarks/compare.py                       all rows
python benchmarks/compare.py -k "matmul or GPT"    some rows
python benchmarks/compare.py --json out.json       keeps the times of all rounds, in microseconds
"""

from __future__ import annotations

import argparse
import json
import pathlib
import sys

import limit
from rows import Row
from test_rows import ROWS
from timing import LIBRARIES, Times, installed, ratio, selected, servers, time_row


def shown(us: float | None) -> str:
    return "" if us is None else f"{us:.2f}" if us < 100 else f"{us:.0f}"


def line(row: Row, times: Times, machine: limit.Machine | None, avx512: bool) -> str:
    """One row of the table."""
    best = {lib: min(each) for lib, each in times.items()}
    own = best["chainrule"]
    others = [(us, lib) for lib, us in best.items() if lib not in ("chainrule", "torch")]
    fastest = min(others, default=None)
    other = "" if fastest is None else f"{shown(fastest[0])} ({fastest[1]})"
    needs = row.needs
    share = "" if needs is None or machine is None else f"{machine.seconds(needs) * 1e8 / own:.0f}%"
    target = row.targets[avx512]
    quoted = met = ""
    if (measured := ratio(times, row.against)) is not None:
        times_faster, noise = measured
        quoted = f"{times_faster:.2f} ± {noise:.2f}" + (
            f" (of {row.against})" if row.against != "torch" else ""
        )
        met = "yes" if times_faster >= target and (fastest is None or own <= fastest[0]) else "no"
    cells = (row.name, shown(own), shown(best.get("torch")), other, share, quoted, f"{target:g}", met)
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("-k", default="", help='rows to run: words, apart by " or "')
    parser.add_argument("--seconds", type=float, default=0.15, help="time a row, library and round")
    parser.add_argument("--rounds", type=int, default=3, help="in which the libraries take turns")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=pathlib.Path, help="where to keep the times")
    parser.add_argument("--only", nargs="*", choices=LIBRARIES, help="libraries, chainrule always among them")
    args = parser.parse_args()
    wanted = [lib for lib in LIBRARIES if args.only is None or lib == "chainrule" or lib in args.only]

    import chainrule

    info = chainrule._core._build_info()
    avx512 = info["isa"] == "v4"
    names = selected((r.name for r in ROWS), args.k)
    meter = limit.Meter.start()
    machine = meter.measure(args.threads) if meter else None
    found: dict[str, Times] = {}
    with servers(installed(wanted), args.threads) as running:
        for i, name in enumerate(names):
            if sys.stderr.isatty():
                print(f"\r{i + 1}/{len(names)} {name:70}", end="", file=sys.stderr, flush=True)
            found[name] = time_row(running, name, args.seconds, args.rounds)
    if sys.stderr.isatty():
        print("\r" + " " * 80, end="\r", file=sys.stderr)
    if meter and machine:
        machine = machine.better(meter.measure(args.threads))

    print(f"chainrule {info['version']}, instruction set {info['isa']}, {args.threads} threads")
    if machine:
        print(f"This machine: {limit.shown(machine)}.")
    print(
        "\n| work | chainrule us | torch us | best other us | of the limit | times PyTorch's speed | target | |"
    )
    print("|" + "---|" * 8)
    for row in ROWS:
        if "chainrule" in found.get(row.name, {}):
            print(line(row, found[row.name], machine, avx512))
    if args.json is not None:
        args.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
