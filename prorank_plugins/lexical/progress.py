"""Progress bars on request; the library that draws them is imported only then."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol


class Progress(Protocol):
    """What long work reports to."""

    def update(self, n: int) -> object:
        """``n`` more units are done."""
        ...


class _Silent:
    def update(self, n: int) -> None:
        """Take no notice."""


@contextmanager
def progress_bar(shown: bool, description: str, unit: str, total: int | None) -> Iterator[Progress]:
    """A tqdm bar on stderr or in the notebook if ``shown``, else something that takes no notice."""
    if not shown:
        yield _Silent()
        return
    from tqdm.auto import tqdm

    with tqdm(total=total, desc=description, unit=unit) as bar:
        yield bar
