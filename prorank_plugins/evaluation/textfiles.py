"""Text files of one record a line, plain or packed with gzip."""

from __future__ import annotations

import gzip
import io
import os
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from prorank_plugins.core.errors import DataFormatError


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Number (from 1) and content of every line that is not blank, without its line end.

    A file whose name ends in ``.gz`` is unpacked on the way.

    Raises:
        DataFormatError: the file is not UTF-8, or its gzip stream is damaged or cut short.
        FileNotFoundError: there is no such file.
    """
    opener = gzip.open if _is_packed(path) else open
    number = 0
    try:
        with opener(path, "rt", encoding="utf-8") as file:
            for number, line in enumerate(file, start=1):
                if not line.isspace():
                    yield number, line.removesuffix("\n")
    except UnicodeDecodeError as error:
        raise DataFormatError(
            f"{path}: not UTF-8 after line {number} ({error.reason}); expected UTF-8"
        ) from error
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataFormatError(
            f"{path}: damaged gzip stream after line {number} ({error}); fetch or pack the file again"
        ) from error


def write_lines(path: Path, lines: Iterable[str]) -> None:
    r"""Write lines, each ended by ``\n``, beside the target first: a failure leaves the old file whole.

    The same lines give the same bytes, also packed.

    Raises:
        DataFormatError: a line holds characters that UTF-8 cannot encode.
    """
    aside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with aside.open("wb") as raw:
            # No name and no time in the gzip header, so that equal content is equal bytes.
            packed = gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0) if _is_packed(path) else raw
            with io.TextIOWrapper(packed, encoding="utf-8", newline="\n") as file:
                file.writelines(f"{line}\n" for line in lines)
        aside.replace(path)
    except UnicodeEncodeError as error:
        raise DataFormatError(f"{path}: cannot write {error.object!r} as UTF-8 ({error.reason})") from error
    finally:
        aside.unlink(missing_ok=True)


def _is_packed(path: Path) -> bool:
    return path.suffix == ".gz"
