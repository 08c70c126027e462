"""The lessons that `chainrule lessons` lists and runs: short programs that measure what they teach.

Each is a module with `run()`, which prints the lesson and returns the numbers that it measured; one that
draws a picture has `draw(measured)` too. The first line of a module's docstring is its line in the list.
"""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path
from typing import Any

from chainrule.demo.support import Refusal, require
from chainrule.lessons import page

# In the order of learning.
NAMES = (
    "derivative-rules",
    "partial-derivatives",
    "chain-rule",
    "value",
    "autograd-basics",
    "linear-regression",
    "network-by-hand",
    "training-loop",
    "learning-rate",
    "vanishing-gradients",
    "clipping",
)


def load(name: str) -> Any:
    """The module of a lesson."""
    return importlib.import_module(f"{__name__}.{name.replace('-', '_')}")


def summary(name: str) -> str:
    """What the lesson is about, in a line."""
    return (inspect.getdoc(load(name)) or "").partition("\n")[0]


def print_list() -> None:
    """Every lesson with its line; a star where there is a picture."""
    width = max(map(len, NAMES))
    for name in NAMES:
        print(f"{name:{width}} {'*' if hasattr(load(name), 'draw') else ' '} {summary(name)}")
    print("\nRun one with: chainrule lessons NAME    (* draws a picture with: --out FOLDER)")


def run(name: str, out: Path | None = None) -> Any:
    """Runs one lesson, draws its picture if there is a folder `out` for it, and returns what was measured."""
    lesson = load(name)
    if out is not None:
        if not hasattr(lesson, "draw"):
            raise Refusal(f"chainrule lessons: {name} draws no picture, so it takes no --out", status=2)
        require(f"chainrule lessons {name} --out", "matplotlib")
    page.title(summary(name))
    measured = lesson.run()
    if out is not None:
        from chainrule.demo import pictures

        path = out / f"{name}.png"
        pictures.save(lesson.draw(measured), path)
        print(f"\npicture: {path}")
    return measured
