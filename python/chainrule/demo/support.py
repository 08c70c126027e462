"""What the demos and the command line share: refusing politely, and writing files whole or not at all."""

from __future__ import annotations

import importlib.util
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import chainrule as cr


class Refusal(Exception):
    """One line for the user about something that they can put right, and its exit status."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


def require(program: str, *modules: str) -> None:
    """Refuses when an optional library that `program` needs is missing, before any work is done."""
    distributions = {"sklearn": "scikit-learn"}
    missing = [
        distributions.get(module, module) for module in modules if importlib.util.find_spec(module) is None
    ]
    if missing:
        raise Refusal(
            f"{program}: {' and '.join(missing)} missing; try: pip install 'chainrule[demo]'", status=1
        )


@contextmanager
def one_thread() -> Iterator[None]:
    """A block that computes on one thread: right for steps of a millisecond or two, above all on a busy machine."""
    before = cr.get_num_threads()
    cr.set_num_threads(1)
    try:
        yield
    finally:
        cr.set_num_threads(before)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yields a temporary name beside `path`; it becomes `path` when the block ends, and goes when it fails.

    Whoever looks at `path`, at any moment, sees the old file or the new one, never half of one.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.stem}-", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        # mkstemp makes files for the owner's eyes only; give this one the mode that any other new file gets.
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
