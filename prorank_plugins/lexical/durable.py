"""Where an index came from: a folder it writes its edits to, or one it was read from and may follow.

Opened for writing, an index appends each edit to a journal and waits for the disk before the edit counts. A
*checkpoint* puts the edited index in the place of the files and begins a new journal: when the journal has
become long, for an edit that is large itself, and on `LexicalIndex.compact` and ``save``. Files of segments
that have not changed are linked, not written.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from prorank_plugins.core.errors import ConfigError, CorruptIndexError, IndexFormatError
from prorank_plugins.core.journal import Journal, read_journal_from
from prorank_plugins.core.locking import WriterLock
from prorank_plugins.core.storage import ArtifactReader, ArtifactWriter
from prorank_plugins.lexical.content import Content, Edit
from prorank_plugins.lexical.edit_records import edit_record, net_edit
from prorank_plugins.lexical.persistence import (
    FORMAT,
    FORMAT_VERSION,
    JOURNAL,
    Found,
    KnownSegments,
    read_index,
)
from prorank_plugins.lexical.persistence_writing import SavedParts, write_content

# A journal of so many records or bytes is replayed in less than a second.
_MOST_RECORDS = 4096
_MOST_BYTES = 16_000_000
# Larger edits are written as segments at once.
_LARGE_DOCS = 5000
_LARGE_POSTINGS = 1_000_000


class Home(Protocol):
    """What becomes of an index's edits, besides being applied in memory. The index's lock is held."""

    def keep(self, edit: Edit, content: Content) -> None:
        """Make sure of an edit that is about to be applied to ``content``; it is not if this raises."""
        ...

    def settle(self, content: Content) -> None:
        """Called with what came of the edit, when it has been applied."""
        ...

    def keep_all(self, content: Content, options: Mapping[str, Any] | None = None) -> None:
        """Make sure of content that may take the place of the present one; None keeps the saved options."""
        ...

    def writes_to(self, path: Path) -> bool:
        """Whether edits are written to this folder."""
        ...

    def close(self) -> None:
        """Let other writers in. Does nothing the second time."""
        ...


class LoadedFrom:
    """The folder that an index in memory was read from, and how far.

    Args:
        found: what was read.
        mmap: whether files are mapped.
    """

    def __init__(self, found: Found, mmap: bool) -> None:
        self._mmap, self._analyzer = mmap, found.analyzer
        self._is_edited = False
        self._follow(found)

    def _follow(self, found: Found) -> None:
        self._source, self._place, self._check = found.source, found.place, found.check
        self._known = None if found.check is None else KnownSegments(found.source, found.base)

    def keep(self, edit: Edit, content: Content) -> None:
        """See `Home`: edits stay in memory."""
        self._is_edited = True

    def settle(self, content: Content) -> None:
        """See `Home`."""

    def keep_all(self, content: Content, options: Mapping[str, Any] | None = None) -> None:
        """See `Home`."""
        self._is_edited = True

    def writes_to(self, path: Path) -> bool:
        """See `Home`."""
        return False

    def close(self) -> None:
        """See `Home`."""

    def news(self, content: Content) -> Edit | Content | None:
        """What has been written to the folder since: an edit, all of another index, or nothing.

        Costs two look-ups in the file system when there is nothing.

        Args:
            content: as it was read.

        Raises:
            ConfigError: the index has edits of its own.
            IndexFormatError: the other index has another analyzer, or has or lacks documents.
            CorruptIndexError: damaged.
        """
        source, journal = self._source, self._source.data / JOURNAL
        if self._is_edited:
            raise ConfigError(
                f"the index loaded from {source.path} has been edited in memory and cannot follow the folder "
                "any more; load it again, or open it to edit the folder itself"
            )
        if source.is_current and _size(journal) == self._place:
            return None
        # What was read before may have been taken back, by a writer whose disk was full.
        with suppress(CorruptIndexError, ValueError):
            records, place = read_journal_from(journal, source.generation, self._place)
            if source.is_current:
                edit = net_edit(records, content) if records else None
                self._place = place
                return edit
        return self._another(content)

    def _another(self, content: Content) -> Content:
        known = self._known if self._check is not None and self._check.is_done else None
        found = read_index(self._source.path, self._mmap, self._analyzer, known)
        same_analyzer = found.source.content.get("analyzer") == self._source.content.get("analyzer")
        if not same_analyzer or found.content.state.keeps_documents != content.state.keeps_documents:
            raise IndexFormatError(
                f"{self._source.path} now holds another kind of index: with another analyzer, or with "
                "documents where there were none; load it again"
            )
        if found.pending is not None:
            found.pending()
        self._follow(found)
        return found.content


class OpenedAt:
    """The folder of an index that is open for writing.

    Args:
        found: what was read from it, or was made from that.
        lock: held for the folder.
    """

    def __init__(self, found: Found, lock: WriterLock) -> None:
        self._path, self._lock, self._analyzer = found.source.path, lock, found.analyzer
        self._options = found.options
        self._is_torn = False
        self._patience = 1
        self._journal: Journal | None = None
        self._saved: SavedParts | None = None
        if found.source.version == FORMAT_VERSION:
            self._saved = SavedParts(found.source, found.base)
            self._journal = Journal(found.source.data / JOURNAL, found.source.generation)
        else:
            self.keep_all(found.content)

    def keep(self, edit: Edit, content: Content) -> None:
        """See `Home`.

        Raises:
            OSError: it cannot be written.
            ConfigError: the index is not open any more, or a document's metadata is not JSON.
        """
        journal = self._open_journal()
        if edit.removed or edit.added:
            record = None if _is_large(edit) else edit_record(edit, content)
            if record is None or len(record) > _MOST_BYTES:
                self.keep_all(content.edited(edit))
            else:
                journal.append(record)
        self._is_torn = True

    def settle(self, content: Content) -> None:
        """See `Home`; makes a checkpoint of a long journal."""
        self._is_torn = False
        journal, patience = self._open_journal(), self._patience
        if journal.n_records >= patience * _MOST_RECORDS or journal.size >= patience * _MOST_BYTES:
            # The edit itself is on the disk: where a checkpoint cannot be written, the journal goes on.
            self._patience *= 2
            with suppress(OSError, ConfigError):
                self.keep_all(content)

    def keep_all(self, content: Content, options: Mapping[str, Any] | None = None) -> None:
        """See `Home`: a checkpoint.

        Raises:
            OSError: it cannot be written; the folder is as it was, or else the index is not open any more.
            ConfigError: the index is not open any more, or a document's metadata is not JSON.
        """
        self._check_open()
        options = self._options if options is None else dict(options)
        out, journal = ArtifactWriter(self._path, FORMAT, FORMAT_VERSION), None
        try:
            with out:
                described = write_content(out, content, self._analyzer, self._saved)
                journal = Journal(out.data / JOURNAL, out.generation)
                out.publish({**described, "options": options})
            saved = SavedParts(ArtifactReader(self._path, FORMAT, FORMAT_VERSION), content)
        except BaseException:
            # In place and not known to stay there: what comes next could be lost, so nothing may.
            self._is_torn = out.is_published
            if journal is not None:
                journal.close()
            raise
        if self._journal is not None:
            self._journal.close()
        self._journal, self._saved, self._options, self._patience = journal, saved, options, 1

    def writes_to(self, path: Path) -> bool:
        """See `Home`."""
        return self._lock.held and path.exists() and path.samefile(self._path)

    def close(self) -> None:
        """See `Home`."""
        if self._journal is not None:
            self._journal.close()
        self._lock.close()

    def _check_open(self) -> None:
        if not self._lock.held:
            why = "has been closed, or was opened before this process was forked from another"
        elif self._is_torn or (self._journal is not None and self._journal.is_closed):
            why = "cannot be written to since an edit was cut short; close it"
        else:
            return
        raise ConfigError(f"the index opened at {self._path} {why}. Open it again to go on editing.")

    def _open_journal(self) -> Journal:
        self._check_open()
        assert self._journal is not None
        return self._journal


def _is_large(edit: Edit) -> bool:
    n_docs = len(edit.removed) + sum(segment.n_docs for segment in edit.added)
    return n_docs > _LARGE_DOCS or sum(len(segment.docs) for segment in edit.added) > _LARGE_POSTINGS


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:
        return 0
