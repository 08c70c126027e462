"""Every operation, layer, loss and optimizer that the tests drive: one row each, one file a family."""

from . import elementwise, functional, joining, linalg, losses, reductions, shapes
from .row import FLOATS, A, E, Op

ROWS: list[Op] = [
    row
    for family in (elementwise, reductions, shapes, joining, linalg, functional, losses)
    for row in family.ROWS
]

__all__ = ["FLOATS", "ROWS", "A", "E", "Op"]
