"""Finding the operation that made the first NaN of a backward pass."""

from __future__ import annotations

from chainrule import _core


class set_detect_anomaly:
    """While on, each operation remembers the Python line that called it, and a backward that returns NaN raises
    RuntimeError naming the operation and that line. A function and a context manager; slow, for debugging.
    """

    def __init__(self, mode: bool, check_nan: bool = True) -> None:
        self._before: tuple[bool, bool] = _core._set_anomaly(mode, check_nan)

    def __enter__(self) -> None:
        return None

    def __exit__(self, *_: object) -> None:
        _core._set_anomaly(*self._before)


class detect_anomaly(set_detect_anomaly):
    """``with detect_anomaly(): ...``: set_detect_anomaly(True) for a block."""

    def __init__(self, check_nan: bool = True) -> None:
        super().__init__(True, check_nan)
