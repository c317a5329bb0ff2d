"""Daily prices of many instruments as dense arrays, from wherever they are kept."""

from ._market import Market
from ._read import read_quotes

__all__ = ["Market", "read_quotes"]
