"""The README's example runs and prints what the README says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

README = Path(__file__).resolve().parents[1] / "README.md"
pytestmark = pytest.mark.skipif(not README.exists(), reason="the tests stand without the README")


def blocks(language: str) -> list[str]:
    """What stands between ```language and ```."""
    return re.findall(
        rf"^```{language}\n(.*?)^```", README.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )


def test_the_example_prints_what_it_says(tmp_path: Path) -> None:
    pytest.importorskip("safetensors")
    (program,) = blocks("python")
    (promised,) = blocks("text")
    assert program.count("\n") <= 32
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    # The text as it stands; of the numbers, another order of rounding may count a point more or less.
    number = re.compile(r"\d+(?:\.\d+)?")
    assert number.sub("#", done.stdout) == number.sub("#", promised)
    printed, expected = (list(map(float, number.findall(text))) for text in (done.stdout, promised))
    assert printed == pytest.approx(expected, rel=0.01)


def test_the_two_commands_come_first() -> None:
    first, second = blocks("sh")[:2]
    assert first == "pip install '.[demo]' && chainrule demo\n"
    assert second == "pip install '.[test]' && pytest tests -q\n"
