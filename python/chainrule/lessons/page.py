"""How the lessons look on a terminal: titles, paragraphs, formulas, tables and a small chart.

Each block brings the empty line above it.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence

WIDTH = 96


def title(text: str) -> None:
    """The lesson's first line, underlined."""
    print(f"{text}\n{'=' * len(text)}")


def section(text: str) -> None:
    """A heading within the lesson."""
    print(f"\n{text}\n{'-' * len(text)}")


def say(text: str) -> None:
    """A paragraph, wrapped to the page."""
    print("\n" + textwrap.fill(" ".join(text.split()), WIDTH))


def formula(*lines: str) -> None:
    """Lines that stand as they are, indented."""
    print("\n" + "\n".join(f"    {line}".rstrip() for line in lines))


def cell(value: object) -> str:
    """A number to six significant digits, anything else as itself."""
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def table(headers: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Numbers to the right, words to the left, columns as wide as they need."""
    cells = [[cell(value) for value in row] for row in rows]
    widths = [max(len(text) for text in column) for column in zip(headers, *cells, strict=True)]
    left = [isinstance(value, str) for value in rows[0]]

    def line(texts: Sequence[str]) -> str:
        padded = [
            text.ljust(width) if to_left else text.rjust(width)
            for text, width, to_left in zip(texts, widths, left, strict=True)
        ]
        return "  " + "   ".join(padded).rstrip()

    print("\n" + line(headers))
    print("  " + "   ".join("-" * width for width in widths))
    for texts in cells:
        print(line(texts))


def chart(curves: Mapping[str, Sequence[float]], height: int = 14, width: int = 72) -> None:
    """Positive numbers over their index, on a logarithmic scale, each curve in its name's first letter."""
    values = [math.log10(value) for curve in curves.values() for value in curve if 0 < value < math.inf]
    low, high = min(values), max(values)
    last = max(len(curve) for curve in curves.values()) - 1
    canvas = [[" "] * (width + 1) for _ in range(height + 1)]
    for name, curve in curves.items():
        for column in range(width + 1):
            value = curve[min(round(column / width * last), len(curve) - 1)]
            if 0 < value < math.inf:
                row = round((high - math.log10(value)) / (high - low) * height)
                canvas[row][column] = name[0]
    print()
    for row, marks in enumerate(canvas):
        label = f"{10 ** (high - (high - low) * row / height):8.1e}" if row % (height // 2) == 0 else ""
        print(f"  {label:>8} |{''.join(marks).rstrip()}")
    print(f"  {'':8} +{'-' * width}\n  {'':8}  0{last:>{width - 1}}")
    print(f"  {'':8}  " + ", ".join(f"{name[0]}: {name}" for name in curves))
