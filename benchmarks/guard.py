"""Fails when a row falls behind what it should reach beside PyTorch.

python benchmarks/guard.py            all rows, about a minute and a half; exit status 1 names the rows that regressed
python benchmarks/guard.py --record   keeps in guard.json what the rows reach that miss their target on this machine

A row is held to its own target, or, where it is known to miss that with this instruction set, to the ratio in
guard.json. It falls behind when its ratio is lower by more than the noise of the same run; and it fails when it does
so again and again, each time measured longer and in new processes.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import sys

from rows import Row
from test_rows import ROWS
from timing import Times, ratio, selected, servers, time_row

TABLE = pathlib.Path(__file__).with_name("guard.json")
LEAST_NOISE = 0.03  # of the ratio: rounds may agree by chance
UNSURE = 0.1  # of the ratio: with more noise than that a row is measured again before it is recorded
MARGIN = 0.05  # of what was measured, for the next machine with the same instruction set
REPEATS = [(1, 3), (3, 5), (6, 7)]  # times the seconds a round, and rounds


Ratios = dict[str, tuple[float, float]]  # with their noise


def measure(rows: list[Row], threads: int, seconds: float, rounds: int) -> Ratios:
    """The ratio of each row and its noise."""
    found = {}
    with servers(["chainrule", "torch"], threads) as running:
        for row in rows:
            times: Times = time_row(running, row.name, seconds, rounds)
            if (measured := ratio(times, "torch")) is not None:
                quotient, noise = measured
                found[row.name] = quotient, max(noise, LEAST_NOISE * quotient)
        if broken := sorted({name for server in running for name in server.failed}):
            sys.exit(f"no times for {'; '.join(broken)}")
    return found


def floors(rows: list[Row], level: str) -> dict[str, float]:
    """What each row must reach with an instruction set."""
    known = json.loads(TABLE.read_text()).get(level, {}) if TABLE.exists() else {}
    return {r.name: known.get(r.name, r.targets[level == "v4"]) for r in rows}


def record(rows: list[Row], level: str, threads: int, seconds: float) -> None:
    """Rows that stand in the table and were not measured keep what they have."""
    table = json.loads(TABLE.read_text()) if TABLE.exists() else {}
    names = {r.name for r in ROWS}
    kept = {name: value for name, value in table.get(level, {}).items() if name in names}
    measured: Ratios = {}
    for longer, rounds in REPEATS:
        unsure = [
            r for r in rows if r.name not in measured or measured[r.name][1] > UNSURE * measured[r.name][0]
        ]
        measured |= measure(unsure, threads, longer * seconds, rounds)
    for row in rows:
        kept.pop(row.name, None)
        if row.name in measured:
            quotient, noise = measured[row.name]
            safe = round(quotient - noise - MARGIN * quotient, 2)
            if safe < row.targets[level == "v4"]:
                kept[row.name] = safe
    table[level] = dict(sorted(kept.items()))
    TABLE.write_text(json.dumps(dict(sorted(table.items())), indent=1) + "\n")
    print(f"{TABLE.name}: {len(kept)} rows are held to a ratio of their own with {level}")


def guard(rows: list[Row], level: str, threads: int, seconds: float) -> int:
    wanted, suspects = floors(rows, level), rows
    for longer, rounds in REPEATS:
        measured = measure(suspects, threads, longer * seconds, rounds)
        behind = [r for r in suspects if r.name in measured and sum(measured[r.name]) < wanted[r.name]]
        print(f"{len(measured)} rows measured, {len(behind)} behind")
        for row in behind:
            quotient, noise = measured[row.name]
            print(f"  {row.name}: {quotient:.2f} ± {noise:.2f}, should be {wanted[row.name]:g}")
        suspects = behind
        if not suspects:
            return 0
    print("Slower than they were, beside PyTorch: " + "; ".join(r.name for r in suspects))
    return 1


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("-k", default="", help='rows: words, apart by " or "')
    parser.add_argument("--seconds", type=float, default=0.05, help="time a row, library and round")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--record", action="store_true")
    args = parser.parse_args()

    import chainrule

    level = chainrule._core._build_info()["isa"]
    names = selected((r.name for r in ROWS), args.k)
    rows = [r for r in ROWS if r.name in names and r.against == "torch"]
    if args.record:
        record(rows, level, args.threads, args.seconds)
        return 0
    return guard(rows, level, args.threads, args.seconds)


if __name__ == "__main__":
    sys.exit(main())
