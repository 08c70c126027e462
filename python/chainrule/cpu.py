"""torch.cpu's names, and for this library's caching allocator those that torch.cuda has for its own."""

from __future__ import annotations

from typing import Any

from chainrule._core import _empty_cache, _memory_stats, _reset_peak

__all__ = [
    "current_device",
    "device_count",
    "empty_cache",
    "is_available",
    "max_memory_allocated",
    "memory_allocated",
    "memory_reserved",
    "reset_peak_memory_stats",
    "synchronize",
]


def is_available() -> bool:
    return True


def device_count() -> int:
    return 1


def current_device() -> str:
    return "cpu"


def synchronize(device: Any = None) -> None:
    """Nothing to wait for: an operation is done when it returns."""


def memory_allocated(device: Any = None) -> int:
    """Bytes of tensors that are alive."""
    return _memory_stats()["live"]


def max_memory_allocated(device: Any = None) -> int:
    """The most that was alive at a time, since the start or reset_peak_memory_stats."""
    return _memory_stats()["peak"]


def memory_reserved(device: Any = None) -> int:
    """Bytes that the allocator holds, for tensors that are alive and for those to come."""
    stats = _memory_stats()
    return stats["live"] + stats["cached"]


def reset_peak_memory_stats(device: Any = None) -> None:
    _reset_peak()


def empty_cache() -> None:
    """Gives memory that no tensor needs back to the system."""
    _empty_cache()
