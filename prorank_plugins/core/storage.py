"""Folders of arrays and text that appear as a whole, are checked when read, and hold no pickle.

::

    <path>/manifest.json            format, version, what the writer says, size and SHA-256 of each file
    <path>/data-<generation>/...    the files

A writer fills a new ``data-`` folder, then puts the new manifest in the old one's place in a single
rename, then removes the folder the old manifest named. A crash at any point leaves the old artifact or
the new one; a reader that has mapped the old files keeps them (on Windows, where mapped files cannot be
removed, they stay until the next save). A reader that comes too late to map them asks
`ArtifactReader.is_current` and begins again.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import secrets
import shutil
import time
from collections.abc import Container, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, TypeAlias

import numpy as np
from numpy.typing import DTypeLike, NDArray

from prorank_plugins.core.errors import ConfigError, CorruptIndexError, IndexFormatError, IndexNotFoundError
from prorank_plugins.core.locking import LOCK
from prorank_plugins.core.signature import package_version

MANIFEST = "manifest.json"
_DATA = re.compile(r"data-[0-9a-f]{16}")
_FILE_NAME = re.compile(r"[a-z][a-z0-9_]*(\.[a-z]+)?")
_ABANDONED_SECONDS = 24 * 3600
_ALIGNMENT = 64

Stamp: TypeAlias = "tuple[int, int, int] | None"
"""What tells one manifest from the next without reading it."""


class _Hashing(io.RawIOBase):
    """A binary file that digests what is written to it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.size = 0
        self.digest = hashlib.sha256()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        self._file.write(view)
        self.digest.update(view)
        self.size += len(view)
        return len(view)


class ArtifactWriter:
    """Writes an artifact; nothing is visible before `publish`. Use as a context manager.

    Args:
        path: the artifact's folder; made if it does not exist.
        format_name: what kind of artifact this is.
        format_version: version of its layout.

    Raises:
        ConfigError: ``path`` is a file, or holds something else than an artifact of this kind.
    """

    def __init__(self, path: Path, format_name: str, format_version: int) -> None:
        self._path = path
        self._header = {"format": format_name, "format_version": format_version}
        self._files: dict[str, dict[str, Any]] = {}
        self.generation = secrets.token_hex(8)
        """Random; tells what one `publish` wrote from everything else."""
        self.data = path / f"data-{self.generation}"
        """The folder that is being filled."""
        self.is_published = False

    def __enter__(self) -> ArtifactWriter:
        check_target(self._path, str(self._header["format"]))
        self._path.mkdir(parents=True, exist_ok=True)
        self.data.mkdir()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None and not self.is_published:
            shutil.rmtree(self.data, ignore_errors=True)

    def array(self, name: str, array: NDArray[Any]) -> None:
        """Write an array as ``<name>.npy``."""
        self._write(
            f"{name}.npy",
            lambda out: np.lib.format.write_array(out, np.ascontiguousarray(array), allow_pickle=False),
        )

    def arrays(self, name: str, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Write arrays one after the other as the file ``name``; the manifest says where each lies.

        A file of many arrays opens as fast as one of a single array.
        """
        table: dict[str, list[Any]] = {}

        def write(out: Any) -> None:
            for key, array in arrays.items():
                out.write(bytes(-out.size % _ALIGNMENT))
                table[key] = [array.dtype.str, out.size, array.size]
                out.write(np.ascontiguousarray(array).reshape(-1).view(np.uint8))

        self._write(name, write)
        self._files[name]["arrays"] = table

    def reuse(self, name: str, source: ArtifactReader, old_name: str | None = None) -> None:
        """Take over a file of an artifact in the same folder, without reading it where links can be made."""
        old_name = name if old_name is None else old_name
        file = source.file(old_name)
        try:
            os.link(file, self.data / name)
        except OSError:
            shutil.copyfile(file, self.data / name)
            with (self.data / name).open("rb+") as copied:
                os.fsync(copied.fileno())
        self._files[name] = source.entry(old_name)

    def chunks(self, name: str, chunks: Iterable[bytes]) -> None:
        """Write pieces of bytes one after the other as the file ``name``."""

        def write(out: Any) -> None:
            for chunk in chunks:
                out.write(chunk)

        self._write(name, write)

    def _write(self, name: str, write: Any) -> None:
        assert _FILE_NAME.fullmatch(name), name
        with (self.data / name).open("wb") as file:
            hashing = _Hashing(file)
            write(hashing)
            file.flush()
            os.fsync(file.fileno())
        self._files[name] = {"bytes": hashing.size, "sha256": hashing.digest.hexdigest()}

    def publish(self, content: Mapping[str, Any]) -> None:
        """Put the artifact in place of what was there.

        Args:
            content: JSON data stored in the manifest.

        Raises:
            OSError: it could not be written. With ``is_published``, it is in place all the same, and only not
                known to outlive a power cut.
        """
        manifest = {
            **self._header,
            "written_by": f"prorank-plugins {package_version()}",
            "data": self.data.name,
            "files": self._files,
            "content": content,
        }
        text = json.dumps(manifest, indent=1, ensure_ascii=False, allow_nan=False)
        temporary = self.data / MANIFEST
        with temporary.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        sync_folder(self.data)
        replaced = _data_folder_of(self._path)
        os.replace(temporary, self._path / MANIFEST)
        self.is_published = True
        sync_folder(self._path)
        _remove_old(self._path, self.data.name, replaced)


class ArtifactReader:
    """Reads an artifact that `ArtifactWriter` published.

    Args:
        path: the artifact's folder.
        format_name: the kind expected.
        newest_version: the newest layout this release reads.

    Raises:
        IndexNotFoundError: nothing there.
        CorruptIndexError: no manifest, or one that is not whole.
        IndexFormatError: another kind of artifact or a newer layout.
    """

    def __init__(self, path: Path, format_name: str, newest_version: int) -> None:
        self.path = path
        self.stamp = manifest_stamp(path)
        manifest = _read_manifest(path)
        found = manifest.get("format")
        if found != format_name:
            raise IndexFormatError(
                f"{path} holds {found!r}, expected {format_name!r}; give the path of another folder"
            )
        self.version = manifest.get("format_version")
        if not isinstance(self.version, int) or self.version > newest_version:
            raise IndexFormatError(
                f"{path}/{MANIFEST} has format_version {self.version}; this release reads up to "
                f"{newest_version}. Upgrade prorank-plugins or rebuild the index."
            )
        files, content, data = manifest.get("files"), manifest.get("content"), manifest.get("data")
        if not isinstance(files, dict) or not isinstance(content, dict):
            raise self.corrupt(f"{MANIFEST} lacks its list of files or its content")
        self._files: dict[str, Any] = files
        if not isinstance(data, str) or not _DATA.fullmatch(data):
            raise self.corrupt(f"{MANIFEST} names the data folder {data!r}")
        self.content: dict[str, Any] = content
        self.generation = data.removeprefix("data-")
        """As the `ArtifactWriter` had it."""
        self._data = path / data
        # What was read or mapped, until it is verified: the files themselves may be gone by then.
        self._unverified: dict[str, NDArray[np.uint8]] = {}

    @property
    def is_current(self) -> bool:
        """Whether no other manifest has taken the place of the one that was read."""
        return manifest_stamp(self.path) == self.stamp

    def corrupt(self, what: str) -> CorruptIndexError:
        """The error for a damaged artifact, ready to be raised."""
        return CorruptIndexError(f"{self.path}: {what}. Restore the folder from a copy or build it again.")

    def __contains__(self, name: str) -> bool:
        return name in self._files

    def verify(self, but: Container[str] = ()) -> None:
        """Compare every file's size and SHA-256 with the manifest.

        What `bytes` and `arrays` have given since is compared as they gave it, even if the artifact has been
        replaced meanwhile.

        Args:
            but: files to pass over.

        Raises:
            CorruptIndexError: a file is missing, cut short or changed.
        """
        for name, entry in self._files.items():
            if name in but:
                continue
            if hashlib.sha256(self.bytes(name, mmap=True).data).hexdigest() != entry.get("sha256"):
                raise self.corrupt(f"{name} has changed since it was written (SHA-256 differs)")
        self._unverified.clear()

    def _checked(self, name: str) -> Path:
        entry = self._files.get(name)
        if not _FILE_NAME.fullmatch(name) or not isinstance(entry, dict):
            raise self.corrupt(f"{MANIFEST} does not list {name}")
        file = self._data / name
        try:
            size = file.stat().st_size
        except OSError as error:
            raise self.corrupt(f"{file.relative_to(self.path)} is missing ({error})") from error
        if size != entry.get("bytes"):
            raise self.corrupt(f"{name} has {size} bytes, expected {entry.get('bytes')}")
        return file

    def entry(self, name: str) -> dict[str, Any]:
        """What the manifest says of a file."""
        return dict(self._files[name])

    def file(self, name: str) -> Path:
        """The path of a file, whose size is right."""
        return self._checked(name)

    @property
    def data(self) -> Path:
        """The folder with the files; another one as soon as the artifact is replaced."""
        return self._data

    @property
    def n_bytes(self) -> int:
        """Size of all files together, as the manifest has it."""
        return sum(int(entry.get("bytes", 0)) for entry in self._files.values())

    def arrays(
        self, name: str, dtypes: Mapping[str, DTypeLike | tuple[DTypeLike, ...]], mmap: bool
    ) -> dict[str, NDArray[Any]]:
        """The one-dimensional arrays of a file that `ArtifactWriter.arrays` wrote, read-only.

        Args:
            name: as given to the writer.
            dtypes: the type each array must have, or a tuple of those it may have; arrays that are not named
                may be there or not, and are left out.
            mmap: map the file instead of reading it.
        """
        content = self.bytes(name, mmap)
        table = self._files[name].get("arrays")
        if not isinstance(table, dict):
            raise self.corrupt(f"{MANIFEST} does not say where the arrays of {name} are")
        return {key: self._part(name, content, table.get(key), allowed) for key, allowed in dtypes.items()}

    def _part(self, name: str, content: NDArray[np.uint8], place: Any, allowed: Any) -> NDArray[Any]:
        kinds = {
            np.dtype(kind).str: np.dtype(kind)
            for kind in (allowed if isinstance(allowed, tuple) else (allowed,))
        }
        match place:
            case [str(kind), int(offset), int(size)] if kind in kinds:
                end = offset + size * kinds[kind].itemsize
                if offset >= 0 and offset % kinds[kind].itemsize == 0 and size >= 0 and end <= len(content):
                    return content[offset:end].view(kinds[kind])
        raise self.corrupt(
            f"{MANIFEST} gives {place!r} as the place of an array in {name}, which is not there"
        )

    def array(
        self, name: str, dtypes: Iterable[DTypeLike], mmap: bool, length: int | None = None
    ) -> NDArray[Any]:
        """A one-dimensional array, read-only.

        Args:
            name: as given to the writer.
            dtypes: the types that are allowed.
            mmap: map the file instead of reading it.
            length: elements expected; None for any.
        """
        file = self._checked(f"{name}.npy")
        try:
            array = np.load(file, mmap_mode="r" if mmap else None, allow_pickle=False)
        except (ValueError, OSError, EOFError, SyntaxError, RecursionError) as error:
            raise self.corrupt(f"{file.name} is not a readable array ({error})") from error
        if array.ndim != 1 or array.dtype not in [np.dtype(dtype) for dtype in dtypes]:
            raise self.corrupt(f"{file.name} holds {array.ndim}-dimensional {array.dtype}")
        if length is not None and len(array) != length:
            raise self.corrupt(f"{file.name} has {len(array)} elements, expected {length}")
        plain: NDArray[Any] = array.view(np.ndarray)
        plain.flags.writeable = False
        return plain

    def bytes(self, name: str, mmap: bool) -> NDArray[np.uint8]:
        """A file's bytes as a read-only array."""
        if (known := self._unverified.get(name)) is not None:
            return known
        file = self._checked(name)
        try:
            if mmap and self._files[name]["bytes"]:
                content = np.memmap(file, np.uint8, mode="r").view(np.ndarray)
            else:
                content = np.frombuffer(file.read_bytes(), np.uint8)
        except OSError as error:
            raise self.corrupt(f"{name} cannot be read ({error})") from error
        self._unverified[name] = content
        return content


def check_target(path: Path, format_name: str) -> None:
    """Refuse a path that an artifact of this kind cannot be saved to.

    Raises:
        ConfigError: a file, or a folder that holds something else.
    """
    if not path.exists():
        return
    if not path.is_dir():
        raise ConfigError(f"{path} is a file; give the path of a folder to save to")
    if not (path / MANIFEST).exists():
        names = [entry.name for entry in path.iterdir()]
        strangers = [name for name in names if name != LOCK and not _DATA.fullmatch(name)]
        if strangers:
            raise ConfigError(
                f"{path} is a folder with other content ({strangers[0]!r}); save to an empty or new folder"
            )
        return
    try:
        found = _read_manifest(path).get("format")
    except CorruptIndexError:
        found = None
    if found != format_name:
        raise ConfigError(
            f"{path} holds {found or 'an unreadable manifest'}, not {format_name}; save somewhere else"
        )


def _read_manifest(path: Path) -> dict[str, Any]:
    if not path.exists():
        raise IndexNotFoundError(
            f"there is no saved index at {path}; check the path, or build and save one first"
        )
    try:
        manifest = json.loads((path / MANIFEST).read_text("utf-8"))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise CorruptIndexError(
            f"{path} holds no {MANIFEST}: it is no index, or its copy or first save was cut short. "
            "Save it again, or give the path of another folder."
        ) from error
    except (ValueError, RecursionError, OSError) as error:
        raise CorruptIndexError(
            f"{path}/{MANIFEST} cannot be read ({error}). Restore the folder from a copy or build it again."
        ) from error
    if not isinstance(manifest, dict):
        raise CorruptIndexError(f"{path}/{MANIFEST} holds no JSON object. Build the index again.")
    return manifest


def _data_folder_of(path: Path) -> str | None:
    """The data folder that the manifest in place names, None where there is no readable one."""
    try:
        data = _read_manifest(path).get("data")
    except (CorruptIndexError, IndexNotFoundError):
        return None
    return data if isinstance(data, str) and _DATA.fullmatch(data) else None


def manifest_stamp(path: Path) -> Stamp:
    """The stamp of the manifest in a folder, None if there is none."""
    try:
        found = (path / MANIFEST).stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def remove_leftovers(path: Path, generation: str) -> None:
    """Remove all data folders but one, for the only writer: those that a crash left behind."""
    for entry in path.iterdir():
        if _DATA.fullmatch(entry.name) and entry.name != f"data-{generation}":
            shutil.rmtree(entry, ignore_errors=True)


def _remove_old(path: Path, current: str, replaced: str | None) -> None:
    """Remove the replaced data folder, and those that crashed writers left a day ago or longer."""
    for entry in path.iterdir():
        if entry.name == current or not _DATA.fullmatch(entry.name):
            continue
        try:
            abandoned = time.time() - entry.stat().st_mtime > _ABANDONED_SECONDS
        except OSError:
            continue
        if entry.name == replaced or abandoned:
            shutil.rmtree(entry, ignore_errors=True)


def sync_folder(path: Path) -> None:
    """Make renames and new files in a folder durable, where the system can."""
    if os.name == "nt":
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
