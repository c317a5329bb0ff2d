"""Daily prices of many instruments as dense arrays, from wherever they are kept."""

from ._market import Market

__all__ = ["Market"]
