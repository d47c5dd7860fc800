"""What IPython prints at a terminal of results that show themselves as markup in notebooks."""

from __future__ import annotations

from typing import Protocol


class Printer(Protocol):
    """The part of IPython's pretty printer that is used."""

    def text(self, text: str) -> None:
        """Write."""
        ...


def print_str(shown: object, printer: Printer, cycle: bool) -> None:
    """Print ``str(shown)`` in place of the whole ``repr``; a class has it as its ``_repr_pretty_``.

    IPython looks for that name in the class itself, so it cannot be inherited beside a ``__repr__``.
    """
    printer.text(str(shown))
