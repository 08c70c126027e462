"""How a tensor prints: PyTorch's digits, widths and summaries."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from chainrule import _core
from chainrule._core import Tensor


@dataclasses.dataclass
class _Options:
    precision: int = 4
    threshold: float = 1000
    edgeitems: int = 3
    linewidth: int = 80
    sci_mode: bool | None = None


_options = _Options()
_PROFILES = {
    "default": _Options(),
    "short": _Options(precision=2, edgeitems=2),
    "full": _Options(threshold=math.inf),
}


def set_printoptions(
    precision: int | None = None,
    threshold: float | None = None,
    edgeitems: int | None = None,
    linewidth: int | None = None,
    profile: str | None = None,
    sci_mode: bool | None = None,
) -> None:
    """Sets the digits after the point, the number of elements from which a tensor is summarised, how many are shown
    at each edge then, the characters a line, and scientific notation (None: when the range of values asks for it).
    ``profile`` is "default", "short" or "full".
    """
    global _options
    if profile is not None:
        if profile not in _PROFILES:
            raise ValueError(f"set_printoptions: profile must be one of {sorted(_PROFILES)}, got {profile!r}")
        _options = dataclasses.replace(_PROFILES[profile])
    given: dict[str, Any] = {
        "precision": precision,
        "threshold": threshold,
        "edgeitems": edgeitems,
        "linewidth": linewidth,
    }
    _options = dataclasses.replace(
        _options, **{k: v for k, v in given.items() if v is not None}, sci_mode=sci_mode
    )


class _Formatter:
    """The width and form that all shown elements share; PyTorch fits them to the finite elements other than zero."""

    def __init__(self, values: list[Any], floating: bool) -> None:
        self.floating = floating
        self.whole, self.scientific = True, False
        fitted = [v for v in values if math.isfinite(v) and v != 0] if floating else values
        if floating and fitted:
            largest, smallest = max(map(abs, fitted)), min(map(abs, fitted))
            self.whole = all(v == math.ceil(v) for v in fitted)
            self.scientific = (
                largest / smallest > 1000.0 or largest > 1.0e8 or (not self.whole and smallest < 1.0e-4)
            )
        if floating and _options.sci_mode is not None:
            self.scientific = _options.sci_mode
        self.width = max([1, *(len(self._text(v)) for v in fitted)])

    def _text(self, v: Any) -> str:
        if not self.floating:
            return str(v)
        if self.scientific:
            return f"{v:.{_options.precision}e}"
        if self.whole:
            text = f"{v:.0f}"
            return text + "." if math.isfinite(v) else text
        return f"{v:.{_options.precision}f}"

    def __call__(self, v: Any) -> str:
        return self._text(v).rjust(self.width)


def _row(values: list[str], indent: int, width: int) -> str:
    per_line = max(1, (_options.linewidth - indent) // (width + 2))
    lines = [", ".join(values[i : i + per_line]) for i in range(0, len(values), per_line)]
    return "[" + (",\n" + " " * (indent + 1)).join(lines) + "]"


def _edges(t: Tensor, summarise: bool) -> list[Any]:
    """Indices along the first dimension that are shown, with None for the gap."""
    n, edge = t.shape[0], _options.edgeitems
    if not summarise or n <= 2 * edge:
        return list(range(n))
    return [*range(edge), None, *range(n - edge, n)]


def _nested(t: Tensor, indent: int, summarise: bool, formatter: _Formatter) -> str:
    if t.dim() == 0:
        return formatter(t.item())
    if t.dim() == 1:
        data = t.tolist()
        cells = [" ..." if i is None else formatter(data[i]) for i in _edges(t, summarise)]
        return _row(cells, indent, formatter.width)
    rows = [
        "..." if i is None else _nested(t.select(0, i), indent + 1, summarise, formatter)
        for i in _edges(t, summarise)
    ]
    separator = "," + "\n" * (t.dim() - 1) + " " * (indent + 1)
    return "[" + separator.join(rows) + "]"


def _shown_values(t: Tensor, summarise: bool) -> list[Any]:
    if t.dim() == 0:
        return [t.item()]
    if t.dim() == 1:
        data = t.tolist()
        return [data[i] for i in _edges(t, summarise) if i is not None]
    return [
        v for i in _edges(t, summarise) if i is not None for v in _shown_values(t.select(0, i), summarise)
    ]


def tensor_repr(self: Tensor) -> str:
    """What repr() and print() show of a tensor."""
    prefix = "tensor("
    plain = self.detach()
    suffixes = []
    if self.numel() == 0:
        body = "[]"
        if self.dim() != 1:
            suffixes.append(f"size={tuple(self.shape)}")
        show_dtype = self.dtype != _core.get_default_dtype()
    else:
        summarise = self.numel() > _options.threshold
        formatter = _Formatter(_shown_values(plain, summarise), self.is_floating_point())
        body = _nested(plain, len(prefix), summarise, formatter)
        show_dtype = self.dtype not in (_core.get_default_dtype(), _core.int64, _core.bool)
    if show_dtype:
        suffixes.append(f"dtype={self.dtype}")
    if self.grad_fn is not None:
        suffixes.append(f"grad_fn=<{self.grad_fn.name()}>")
    elif self.requires_grad:
        suffixes.append("requires_grad=True")
    out = prefix + body
    last_line = len(out) - out.rfind("\n") + 1
    for text in suffixes:
        if last_line + len(text) + 2 > _options.linewidth:
            out += ",\n" + " " * len(prefix) + text
            last_line = len(prefix) + len(text)
        else:
            out += ", " + text
            last_line += len(text) + 2
    return out + ")"
