"""Which bytes of UTF-8 stand between runs, so that what is left between them can be analysed apart."""

from __future__ import annotations


class Separators:
    """All ASCII characters but letters, digits and two others.

    Args:
        kept: the two others; the same one twice if there is one.
        lowers: read ASCII capitals as small letters.
    """

    def __init__(self, kept: str, lowers: bool) -> None:
        ascii_part = "".join(char if char.isalnum() or char in kept else " " for char in map(chr, range(128)))
        self._table = (ascii_part.lower() if lowers else ascii_part).encode() + bytes(range(128, 256))
        self.for_kernel = (ord(kept[0]), ord(kept[1]), lowers)
        """Arguments of `prorank_plugins.lexical.kernels.separating.separate`."""

    def split(self, content: bytes) -> list[bytes]:
        """The runs of UTF-8, in order."""
        return content.translate(self._table).split()
