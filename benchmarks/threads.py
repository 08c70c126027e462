"""From which size on a second thread helps: times work on one thread and on all, over sizes.

python benchmarks/threads.py               the break-even of each kernel
python benchmarks/threads.py --denormals   what denormal numbers cost, with and without set_flush_denormal
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from typing import Any

import chainrule as cr
from timing import best_time, selected

# Sizes are numbers of elements; a matrix product of n x n has n^3 multiplications.
SWEEPS: dict[str, tuple[list[int], Callable[[int], Callable[[], Any]]]] = {}


def sweep(name: str, sizes: list[int]) -> Callable[..., Any]:
    def register(build: Callable[[int], Callable[[], Any]]) -> Any:
        SWEEPS[name] = sizes, build
        return build

    return register


ELEMENTS = [2**e for e in range(12, 21)]


@sweep("add", ELEMENTS)
def add(n: int) -> Callable[[], Any]:
    x, y, out = cr.randn(n), cr.randn(n), cr.empty(n)
    return lambda: cr.add(x, y, out=out)


@sweep("exp", ELEMENTS)
def exp(n: int) -> Callable[[], Any]:
    x, out = cr.randn(n), cr.empty(n)
    return lambda: cr.exp(x, out=out)


@sweep("sum", ELEMENTS)
def total(n: int) -> Callable[[], Any]:
    x = cr.randn(n)
    return lambda: x.sum()


@sweep("sum over rows of 256", ELEMENTS)
def row_sum(n: int) -> Callable[[], Any]:
    x = cr.randn(n // 256, 256)
    return lambda: x.sum(1)


@sweep("softmax over rows of 256", ELEMENTS)
def softmax(n: int) -> Callable[[], Any]:
    x = cr.randn(n // 256, 256)
    return lambda: x.softmax(1)


@sweep("matmul n x n", [32, 48, 64, 80, 96, 112, 128, 160, 192, 256])
def matmul(n: int) -> Callable[[], Any]:
    x, y = cr.randn(n, n), cr.randn(n, n)
    return lambda: x @ y


@sweep("gemv n x n", [64, 128, 192, 256, 384, 512, 1024])
def gemv(n: int) -> Callable[[], Any]:
    x, y = cr.randn(n, n), cr.randn(n)
    return lambda: x @ y


def break_even(names: list[str], threads: int, seconds: float) -> None:
    print(f"| work | n | 1 thread us | {threads} threads us | gain |\n" + "|---|---|---|---|---|")
    for name in names:
        sizes, build = SWEEPS[name]
        for n in sizes:
            work, times = build(n), {}
            for _ in range(3):
                for count in (1, threads):
                    cr.set_num_threads(count)
                    times[count] = min(times.get(count, 1e9), best_time(work, seconds) * 1e6)
            one, many = times[1], times[threads]
            print(f"| {name} | {n} | {one:.2f} | {many:.2f} | {one / many:.2f} |", flush=True)


def denormals(seconds: float) -> None:
    """A step of SGD on a network whose inputs, and with them all activations, have become denormal."""
    nn = cr.nn
    net = nn.Sequential(nn.Linear(256, 256, bias=False), nn.Tanh(), nn.Linear(256, 256, bias=False))
    x = cr.randn(64, 256)
    optimizer = cr.optim.SGD(net.parameters(), lr=0.0, momentum=0.9)

    def step() -> None:
        optimizer.zero_grad()
        net(x).square().sum().backward()
        optimizer.step()

    print("| training step | us |\n|---|---|")
    normal = best_time(step, seconds)
    print(f"| ordinary numbers | {normal * 1e6:.0f} |")
    x *= 1e-39
    for flush in (False, True):
        cr.set_flush_denormal(flush)
        name = "denormal numbers" + (", set_flush_denormal(True)" if flush else "")
        print(f"| {name} | {best_time(step, seconds) * 1e6:.0f} |")
    cr.set_flush_denormal(False)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("-k", default="", help='sweeps: words, apart by " or "')
    parser.add_argument("--seconds", type=float, default=0.02)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--denormals", action="store_true")
    args = parser.parse_args()
    if args.denormals:
        return denormals(10 * args.seconds)
    break_even(selected(SWEEPS, args.k), args.threads, args.seconds)


if __name__ == "__main__":
    main()
