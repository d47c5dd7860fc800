"""What a contestant of the lexical benchmarks must be able to do."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar

BASELINE = "prorank BMX"
"""The contestant that the others are compared with."""


class Engine(ABC):
    """One library. An instance holds one index; what ``search`` returns is the library's own answer.

    Importing an engine's module imports no library: its constructor does.

    Attributes:
        name: for tables.
        modules: what must be importable.
        install: the command line that brings them.
        contestants: ``{label: label of the contestant with the same formula}``, one for each way to search.
        most_docs: larger collections are not given to it.
        most_docs_of: the same for some of its contestants.
        most_queries: so many at most are asked of it.
    """

    name: ClassVar[str]
    modules: ClassVar[tuple[str, ...]] = ()
    install: ClassVar[str] = "pip install prorank-plugins"
    contestants: ClassVar[dict[str, str]]
    most_docs: ClassVar[float] = float("inf")
    most_docs_of: ClassVar[dict[str, float]] = {}
    most_queries: ClassVar[int | None] = None

    def __init__(self, folder: Path | None = None) -> None:
        """Import the library.

        Args:
            folder: where the index is or will be saved; None for one that lives as long as the instance.
        """
        self.folder = folder

    @abstractmethod
    def build_tokens(self, documents: Iterable[list[str]]) -> None:
        """Index documents that are analysed already. A generator is fine."""

    @abstractmethod
    def build_raw(self, texts: Iterable[str]) -> None:
        """Index texts with the library's own English analysis: our stop words, Snowball stems."""

    @abstractmethod
    def save(self) -> None:
        """Leave an index made by `build_tokens` in ``folder``, ready to be searched."""

    @abstractmethod
    def load(self) -> None:
        """Open the index in ``folder``, mapped into memory where the library can."""

    def prepare(self, queries: Sequence[list[str]]) -> Any:
        """What `search_many` takes for these queries, made before the clock starts."""
        return queries

    @abstractmethod
    def search(self, contestant: str, query: list[str], k: int) -> Any:
        """One query, as terms."""

    @abstractmethod
    def search_many(self, contestant: str, prepared: Any, k: int) -> Any:
        """Many queries in the library's fastest way."""

    @abstractmethod
    def rows(self, answer: Any) -> list[int]:
        """Positions of the documents that an answer of `search` names, best first."""

    def folder_or_fail(self) -> Path:
        """The folder.

        Raises:
            ValueError: the engine was made without one.
        """
        if self.folder is None:
            raise ValueError(f"{self.name} was made without a folder; pass one to save or load")
        return self.folder
