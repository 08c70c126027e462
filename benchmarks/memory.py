"""The memory that training steps take, each library in a process of its own.

python benchmarks/memory.py               the GPT and CNN rows
python benchmarks/memory.py -k "ResNet"   others
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys

from test_rows import ROWS
from timing import environment, installed, prepare, selected

STEPS = 8


def status(key: str) -> float:
    """A line of /proc/self/status, in MB."""
    with open("/proc/self/status") as lines:
        return int(next(line for line in lines if line.startswith(key)).split()[1]) * 1024 / 1e6


def measure(library: str, name: str, threads: int) -> dict[str, float]:
    """Peak resident memory beyond that of the imported library, and what chainrule itself counts."""
    module = prepare(library, threads)
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")  # forgets the peak of the import
    before = status("VmRSS")
    work = next(r for r in ROWS if r.name == name).build(module)
    assert work is not None
    for _ in range(STEPS):
        work()
    found = {"peak": status("VmHWM") - before}
    if library == "chainrule":
        found["alive"] = module.cpu.max_memory_allocated() / 1e6
        found["kept"] = module.cpu.memory_reserved() / 1e6
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("-k", default="GPT or CNN", help='rows: words, apart by " or "')
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--measure", nargs=2, metavar=("LIBRARY", "ROW"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure:
        print(json.dumps(measure(*args.measure, args.threads)))
        return
    print("| training step | chainrule MB | torch MB | ratio | tensors alive, at most | kept between steps |")
    print("|" + "---|" * 6)
    for name in selected((r.name for r in ROWS), args.k):
        found = {}
        for library in installed(("chainrule", "torch")):
            command = [sys.executable, __file__, "--threads", str(args.threads), "--measure", library, name]
            done = subprocess.run(
                command, env=environment(args.threads), stdout=subprocess.PIPE, text=True, check=True
            )
            found[library] = json.loads(done.stdout)
        own, other = found["chainrule"], found.get("torch", {}).get("peak")
        compared = (f"{other:.0f}", f"{own['peak'] / other:.2f}") if other else ("", "")
        cells = (name.removeprefix("training step: "), f"{own['peak']:.0f}", *compared)
        print(f"| {' | '.join(cells)} | {own['alive']:.0f} | {own['kept']:.0f} |")


if __name__ == "__main__":
    main()
