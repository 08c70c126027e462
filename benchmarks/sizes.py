"""Square matrix products over sizes, even and odd, against the fastest of the other libraries that are installed.

python benchmarks/sizes.py                   all sizes
python benchmarks/sizes.py --sizes 48 63 64  some of them
"""

from __future__ import annotations

import argparse
from typing import Any

from needs import product
from rows import Row, Work
from timing import LIBRARIES, installed, servers, time_row
from work_kernels import numpy_matmul

# fmt: off
SIZES = [8, 12, 16, 24, 31, 33, 48, 63, 65, 80, 96, 100, 127, 129, 192, 200, 250, 256, 300, 384, 500, 511, 512, 768,
         1000, 1024, 1500, 2048]
# fmt: on


def target(n: int) -> float:
    """Times the speed of the fastest other library."""
    return 1.3 if n <= 96 else 1.0


def square(n: int) -> Row:
    def both(lib: Any) -> Work:
        a = lib.randn(n, n)
        return lambda: a @ a

    def jax(jax: Any) -> Work:
        a = jax.random.normal(jax.random.key(0), (n, n))
        f = jax.jit(lambda a: a @ a)
        return lambda: f(a).block_until_ready()

    peers = {"numpy": numpy_matmul(n), "jax": jax}
    return Row(str(n), (target(n), target(n)), both, product(n, n, n), peers, "torch")


ROWS = [square(n) for n in SIZES]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", type=int, nargs="*", choices=SIZES, default=SIZES, metavar="N")
    parser.add_argument("--seconds", type=float, default=0.1, help="time a size, library and round")
    parser.add_argument("--rounds", type=int, default=3, help="in which the libraries take turns")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", nargs="*", choices=LIBRARIES, help="libraries, chainrule always among them")
    args = parser.parse_args()
    wanted = [x for x in LIBRARIES if x != "python" and (args.only is None or x in ("chainrule", *args.only))]
    print(f"{'n':>5} {'chainrule us':>13} {'GFLOP/s':>8}   times the speed of")
    with servers(installed(wanted), args.threads, "sizes") as running:
        for row in ROWS:
            n = int(row.name)
            if n not in args.sizes:
                continue
            times = {
                lib: min(each) for lib, each in time_row(running, row.name, args.seconds, args.rounds).items()
            }
            own = times.pop("chainrule")
            others = "  ".join(f"{lib} {us / own:5.2f}" for lib, us in times.items())
            behind = "" if min(times.values()) >= target(n) * own else f"  below {target(n):g}"
            print(f"{n:5} {own:13.2f} {2e-3 * n**3 / own:8.1f}   {others}{behind}", flush=True)


if __name__ == "__main__":
    main()
