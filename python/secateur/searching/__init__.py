"""Search: the cheapest circuit of at least some accuracy."""

from secateur.searching.cheapest import Found, search
from secateur.searching.space import Space

__all__ = ["Found", "Space", "search"]
