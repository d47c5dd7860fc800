"""Folders of arrays and text that appear as a whole, are checked when read, and hold no pickle.

::

    <path>/manifest.json            format, version, what the writer says, size and SHA-256 of each file
    <path>/data-<generation>/...    the files

A writer fills a new ``data-`` folder, then puts the new manifest in the old one's place in a single
rename, then removes the folder the old manifest named. A crash at any point leaves the old artifact or
the new one; a reader that has mapped the old files keeps them (on Windows, where mapped files cannot be
removed, they stay until the next save).
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
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import DTypeLike, NDArray

from prorank_plugins.core.errors import ConfigError, CorruptIndexError, IndexFormatError, IndexNotFoundError
from prorank_plugins.core.signature import package_version

MANIFEST = "manifest.json"
_DATA = re.compile(r"data-[0-9a-f]{16}")
_FILE_NAME = re.compile(r"[a-z][a-z0-9_]*(\.[a-z]+)?")
_ABANDONED_SECONDS = 24 * 3600


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
        self._data = path / f"data-{secrets.token_hex(8)}"

    def __enter__(self) -> ArtifactWriter:
        check_target(self._path, str(self._header["format"]))
        self._path.mkdir(parents=True, exist_ok=True)
        self._data.mkdir()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            shutil.rmtree(self._data, ignore_errors=True)

    def array(self, name: str, array: NDArray[Any]) -> None:
        """Write an array as ``<name>.npy``."""
        self._write(
            f"{name}.npy",
            lambda out: np.lib.format.write_array(out, np.ascontiguousarray(array), allow_pickle=False),
        )

    def chunks(self, name: str, chunks: Iterable[bytes]) -> None:
        """Write pieces of bytes one after the other as the file ``name``."""

        def write(out: Any) -> None:
            for chunk in chunks:
                out.write(chunk)

        self._write(name, write)

    def _write(self, name: str, write: Any) -> None:
        assert _FILE_NAME.fullmatch(name), name
        with (self._data / name).open("wb") as file:
            hashing = _Hashing(file)
            write(hashing)
            file.flush()
            os.fsync(file.fileno())
        self._files[name] = {"bytes": hashing.size, "sha256": hashing.digest.hexdigest()}

    def publish(self, content: Mapping[str, Any]) -> None:
        """Put the artifact in place of what was there.

        Args:
            content: JSON data stored in the manifest.
        """
        manifest = {
            **self._header,
            "written_by": f"prorank-plugins {package_version()}",
            "data": self._data.name,
            "files": self._files,
            "content": content,
        }
        text = json.dumps(manifest, indent=1, ensure_ascii=False, allow_nan=False)
        temporary = self._data / MANIFEST
        with temporary.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        sync_folder(self._data)
        replaced = _data_folder_of(self._path)
        os.replace(temporary, self._path / MANIFEST)
        sync_folder(self._path)
        _remove_old(self._path, self._data.name, replaced)


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
        self._data = path / data

    def corrupt(self, what: str) -> CorruptIndexError:
        """The error for a damaged artifact, ready to be raised."""
        return CorruptIndexError(f"{self.path}: {what}. Restore the folder from a copy or build it again.")

    def __contains__(self, name: str) -> bool:
        return name in self._files

    def verify(self) -> None:
        """Compare every file's size and SHA-256 with the manifest.

        Raises:
            CorruptIndexError: a file is missing, cut short or changed.
        """
        for name in self._files:
            file = self._checked(name)
            digest = hashlib.sha256()
            with file.open("rb") as source:
                while chunk := source.read(1 << 20):
                    digest.update(chunk)
            if digest.hexdigest() != self._files[name].get("sha256"):
                raise self.corrupt(f"{file.name} has changed since it was written (SHA-256 differs)")

    def _checked(self, name: str) -> Path:
        entry = self._files.get(name)
        if not _FILE_NAME.fullmatch(name) or not isinstance(entry, dict):
            raise self.corrupt(f"{MANIFEST} does not list {name}")
        file = self._data / name
        size = file.stat().st_size if file.is_file() else None
        if size is None:
            raise self.corrupt(f"{file.relative_to(self.path)} is missing")
        if size != entry.get("bytes"):
            raise self.corrupt(f"{name} has {size} bytes, expected {entry.get('bytes')}")
        return file

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
        file = self._checked(name)
        if mmap and file.stat().st_size:
            return np.memmap(file, np.uint8, mode="r").view(np.ndarray)
        return np.frombuffer(file.read_bytes(), np.uint8)


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
        strangers = [entry.name for entry in path.iterdir() if not _DATA.fullmatch(entry.name)]
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
