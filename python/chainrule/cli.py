"""The command line: `chainrule demo` trains something real, `chainrule lessons` explains how.

Whatever goes wrong that the user can put right gets one line on standard error: exit status 2 for a bad
value, 1 for a library or a file that is missing, 128 + the signal's number for an interrupted run.
"""

from __future__ import annotations

import argparse
import io
import math
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import NoReturn

import chainrule as cr
from chainrule import lessons
from chainrule.demo.support import Refusal

DEFAULT_FOLDER = Path("chainrule-demo")


class Parser(argparse.ArgumentParser):
    """An ArgumentParser whose complaint is one line: what is wrong, without the usage."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}\n")


class Interrupted(BaseException):
    """A signal asked us to stop. Not an Exception, so that only clean-up code and `main` see it."""

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.signum = signum


def whole_number(low: int, high: int) -> Callable[[str], int]:
    """The argparse type of an integer in low..high."""

    def parse(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from None
        if not low <= number <= high:
            raise argparse.ArgumentTypeError(f"{number} is not between {low} and {high}")
        return number

    return parse


def learning_rate(text: str) -> float:
    """The argparse type of a positive finite number."""
    try:
        number = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None
    if not (math.isfinite(number) and number > 0):
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return number


def folder(text: str) -> Path:
    """The argparse type of a folder that exists, or can be made, and takes files."""
    path = Path(text)
    if not text:
        raise argparse.ArgumentTypeError("the folder's name is empty")
    nearest = next(place for place in (path, *path.absolute().parents) if place.exists())
    if not nearest.is_dir():
        raise argparse.ArgumentTypeError(f"{str(nearest)!r} is not a folder")
    try:
        tempfile.TemporaryFile(dir=nearest).close()
    except OSError:
        raise argparse.ArgumentTypeError(f"{str(nearest)!r} is not writable") from None
    return path


def build_parser() -> Parser:
    """The commands and their options."""
    parser = Parser(
        prog="chainrule", description="Automatic differentiation on the CPU, by example.", allow_abbrev=False
    )
    parser.add_argument("--version", action="version", version=f"chainrule {cr.__version__}")
    commands = parser.add_subparsers(dest="command", title="commands", metavar="COMMAND")

    demo = commands.add_parser(
        "demo",
        help="train on real data and draw what happened",
        description="digits: a convolutional network learns handwritten digits. "
        "delivery: a straight line learns delivery times, by batch, stochastic and mini-batch descent.",
        allow_abbrev=False,
    )
    demo.add_argument(
        "name", nargs="?", choices=("digits", "delivery"), default="digits", help="default: digits"
    )
    demo.add_argument(
        "--seed", type=whole_number(0, 2**63 - 1), default=0, help="of every random number (default: 0)"
    )
    demo.add_argument(
        "--epochs", type=whole_number(1, 100_000), help="passes over the data (default: 10, delivery 30)"
    )
    demo.add_argument("--lr", type=learning_rate, help="learning rate (default: 0.003, delivery 0.02)")
    demo.add_argument(
        "--out", type=folder, default=DEFAULT_FOLDER, help=f"folder for the files (default: {DEFAULT_FOLDER})"
    )

    lesson = commands.add_parser(
        "lessons",
        help="list the lessons, or run one",
        description="Without a name: lists the lessons. With one: runs it.",
        allow_abbrev=False,
    )
    lesson.add_argument("name", nargs="?", metavar="NAME", choices=lessons.NAMES, help="the lesson to run")
    lesson.add_argument("--out", type=folder, help="folder for the picture, of a lesson that draws one")
    return parser


def run_demo(arguments: argparse.Namespace) -> None:
    """`chainrule demo`: None stands for the demo's own default."""
    if arguments.name == "digits":
        from chainrule.demo import digits

        digits.run(
            arguments.seed, arguments.epochs or digits.EPOCHS, arguments.lr or digits.LR, arguments.out
        )
    else:
        from chainrule.demo import delivery

        delivery.run(
            arguments.seed, arguments.epochs or delivery.EPOCHS, arguments.lr or delivery.LR, arguments.out
        )


def run_lessons(arguments: argparse.Namespace) -> None:
    """`chainrule lessons`: the list, or one lesson and its picture."""
    if arguments.name is None:
        if arguments.out is not None:
            raise Refusal("chainrule lessons: --out needs the name of a lesson", status=2)
        lessons.print_list()
    else:
        lessons.run(arguments.name, arguments.out)


@contextmanager
def signals_raise() -> Iterator[None]:
    """Makes SIGINT and SIGTERM raise Interrupted, so that every `finally` between here and there runs.

    A second signal does not disturb them; one that our parent told us to ignore (nohup) stays ignored.
    """
    numbers = [n for n in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(n) != signal.SIG_IGN]

    def stop(signum: int, frame: FrameType | None) -> None:
        for number in numbers:
            signal.signal(number, signal.SIG_IGN)
        raise Interrupted(signum)

    before = {number: signal.signal(number, stop) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command in `argv` (default: the process's arguments) and returns the exit status."""
    parser = build_parser()
    arguments = parser.parse_args(argv)
    if arguments.command is None:
        parser.print_help()
        return 0
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # whoever reads a pipe sees each epoch as it ends
    try:
        with signals_raise():
            (run_demo if arguments.command == "demo" else run_lessons)(arguments)
    except Refusal as refusal:
        return complain(str(refusal), refusal.status)
    except Interrupted as interruption:
        return complain("chainrule: interrupted", 128 + interruption.signum)
    except BrokenPipeError:
        # The reader of our output has gone (`chainrule lessons | head`): leave quietly, and keep Python's own
        # last flush from complaining.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + 13
    except OSError as error:
        return complain(f"chainrule: {error}", 1)
    return 0


def complain(line: str, status: int) -> int:
    """Prints one line on standard error and returns `status`."""
    print(line, file=sys.stderr)
    return status
