"""Everything around training that is no tensor: ``utils.data``."""

from . import data

__all__ = ["data"]
