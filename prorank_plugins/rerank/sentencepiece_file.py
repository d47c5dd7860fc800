"""A SentencePiece ``tokenizer.model`` as the ``tokenizer.json`` that says the same.

Read without protobuf, which the conversion in transformers asks for: of the format
(sentencepiece_model.proto) only a list of pieces and a few switches matter. The library sentencepiece is
the oracle in the tests. A compiled table of replacements is applied by the library tokenizers, as in every
converted tokenizer; it composes a few characters (half-width kana with voice marks) otherwise.
"""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prorank_plugins.core.errors import ModelError

_BLANK = "▁"
_UNIGRAM, _BPE = 1, 2
_NORMAL, _UNKNOWN, _CONTROL, _USER_DEFINED = 1, 2, 3, 4

Value = int | bytes


@dataclass(frozen=True)
class _Piece:
    text: str
    score: float
    kind: int


@dataclass(frozen=True)
class _Model:
    """What of a model file changes ids.

    Attributes:
        pieces: by id.
        kind: `_UNIGRAM` or `_BPE`.
        falls_to_bytes: unknown characters become bytes.
        normalizer: a compiled table of replacements, or empty.
        adds_blank: a blank is put before every text.
        trims: blanks at both ends go, runs of them become one.
    """

    pieces: list[_Piece]
    kind: int
    falls_to_bytes: bool
    normalizer: bytes
    adds_blank: bool
    trims: bool


def tokenizer_json(folder: Path) -> str:
    """The definition of the tokenizer in a folder with ``tokenizer.model``.

    Tokens that ``tokenizer_config.json`` or ``added_tokens.json`` add are in it. Pieces that the model file
    calls control or user-defined symbols are added tokens, too.

    Raises:
        ModelError: a file is damaged, or its model is neither BPE nor unigram.
    """
    try:
        model = _read_model((folder / "tokenizer.model").read_bytes())
        added = _added_tokens(folder)
    except (OSError, ValueError, TypeError, KeyError, AttributeError, struct.error) as error:
        raise ModelError(f"{folder}/tokenizer.model cannot be read ({error}); download it again") from error
    for number, piece in enumerate(model.pieces):
        if piece.kind in (_UNKNOWN, _CONTROL, _USER_DEFINED):
            runs_of_blanks = piece.kind == _USER_DEFINED and not piece.text.replace(_BLANK, " ").strip()
            added.setdefault(number, (piece.text, not runs_of_blanks))
    user_defined = {number for number, piece in enumerate(model.pieces) if piece.kind == _USER_DEFINED}
    normalizers: list[dict[str, Any]] = []
    if model.normalizer:
        table = base64.b64encode(model.normalizer).decode()
        normalizers.append({"type": "Precompiled", "precompiled_charsmap": table})
    if model.trims:
        normalizers.append({"type": "Strip", "strip_left": True, "strip_right": True})
        normalizers.append({"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "})
    if model.adds_blank:
        normalizers.append({"type": "Prepend", "prepend": _BLANK})
    normalizers.append({"type": "Replace", "pattern": {"String": " "}, "content": _BLANK})
    return json.dumps({
        "version": "1.0", "truncation": None, "padding": None, "pre_tokenizer": None, "post_processor": None,
        "added_tokens": [
            # User-defined pieces are found after blanks are replaced, but not where a blank comes first.
            _added(number, *added[number], normalized=number in user_defined and not model.adds_blank)
            for number in sorted(added)
        ],
        "normalizer": {"type": "Sequence", "normalizers": normalizers},
        "decoder": {"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"String": _BLANK}, "content": " "}, {"type": "ByteFallback"},
            {"type": "Fuse"},
        ]},
        "model": _bpe(model) if model.kind == _BPE else _unigram(model),
    })  # fmt: skip


def _added(number: int, text: str, special: bool, normalized: bool) -> dict[str, Any]:
    return {
        "id": number, "content": text, "special": special, "normalized": normalized, "single_word": False,
        "lstrip": False, "rstrip": False,
    }  # fmt: skip


def _bpe(model: _Model) -> dict[str, Any]:
    # A pair may be merged if the result is a piece, the best piece first. What is no ordinary text is
    # never the result.
    mergeable = {piece.text: piece.score for piece in model.pieces if piece.kind == _NORMAL}
    merges = [
        (score, (text[:cut], text[cut:]))
        for text, score in mergeable.items()
        for cut in range(1, len(text))
        if text[:cut] in mergeable and text[cut:] in mergeable
    ]
    merges.sort(key=lambda merge: -merge[0])
    return {
        "type": "BPE", "dropout": None, "unk_token": _unknown(model)[1].text, "fuse_unk": True,
        "continuing_subword_prefix": None, "end_of_word_suffix": None, "byte_fallback": model.falls_to_bytes,
        "ignore_merges": False, "vocab": {piece.text: n for n, piece in enumerate(model.pieces)},
        "merges": [" ".join(pair) for _, pair in merges],
    }  # fmt: skip


def _unigram(model: _Model) -> dict[str, Any]:
    return {
        "type": "Unigram", "unk_id": _unknown(model)[0], "byte_fallback": model.falls_to_bytes,
        "vocab": [[piece.text, piece.score] for piece in model.pieces],
    }  # fmt: skip


def _unknown(model: _Model) -> tuple[int, _Piece]:
    return next((n, piece) for n, piece in enumerate(model.pieces) if piece.kind == _UNKNOWN)


def _added_tokens(folder: Path) -> dict[int, tuple[str, bool]]:
    """Id → (text, whether it is a control token) of what was added to the model's pieces."""
    found: dict[int, tuple[str, bool]] = {}
    if (folder / "added_tokens.json").is_file():
        for text, number in json.loads((folder / "added_tokens.json").read_text("utf-8")).items():
            found[int(number)] = (str(text), True)
    if (folder / "tokenizer_config.json").is_file():
        config = json.loads((folder / "tokenizer_config.json").read_text("utf-8"))
        for number, token in (config.get("added_tokens_decoder") or {}).items():
            found[int(number)] = (str(token["content"]), bool(token.get("special", True)))
    return found


# The file


def _read_model(data: bytes) -> _Model:
    pieces: list[_Piece] = []
    trainer: Mapping[int, Value] = {}
    normalizer: Mapping[int, Value] = {}
    for field, value in _fields(data):
        if field == 1:
            pieces.append(_read_piece(dict(_fields(_message(value)))))
        elif field == 2:
            trainer = dict(_fields(_message(value)))
        elif field == 3:
            normalizer = dict(_fields(_message(value)))
    kind = trainer.get(3, _UNIGRAM)
    if not pieces or kind not in (_UNIGRAM, _BPE):
        raise ValueError(f"{len(pieces)} pieces of model type {kind!r}, expected unigram (1) or BPE (2)")
    if all(piece.kind != _UNKNOWN for piece in pieces):
        raise ValueError("no piece stands for what is unknown")
    if trainer.get(24) or not normalizer.get(5, 1):
        raise ValueError("blanks are not written as a piece's beginning")
    return _Model(
        pieces=pieces,
        kind=int(kind),
        falls_to_bytes=bool(trainer.get(35, 0)),
        normalizer=_message(normalizer.get(2, b"")),
        adds_blank=bool(normalizer.get(3, 1)),
        trims=bool(normalizer.get(4, 1)),
    )


def _read_piece(fields: Mapping[int, Value]) -> _Piece:
    (score,) = struct.unpack("<f", _message(fields.get(2, bytes(4))))
    return _Piece(_message(fields[1]).decode("utf-8"), score, int(fields.get(3, _NORMAL)))


def _message(value: Value) -> bytes:
    if not isinstance(value, bytes):
        raise ValueError("a number stands where text was expected")
    return value


def _fields(data: bytes) -> Iterator[tuple[int, Value]]:
    """(number, value) of each field of a message: integers as such, all else as bytes."""
    place = 0
    while place < len(data):
        key, place = _varint(data, place)
        kind = key & 7
        if kind == 0:
            value, place = _varint(data, place)
            yield key >> 3, value
            continue
        if kind == 2:
            length, place = _varint(data, place)
        elif kind in (1, 5):
            length = 8 if kind == 1 else 4
        else:
            raise ValueError(f"a field of the unknown kind {kind}")
        if place + length > len(data):
            raise ValueError("it ends in the middle of a field")
        yield key >> 3, data[place : place + length]
        place += length


def _varint(data: bytes, place: int) -> tuple[int, int]:
    number = 0
    for shift in range(0, 70, 7):
        if place >= len(data):
            raise ValueError("it ends in the middle of a number")
        number |= (data[place] & 0x7F) << shift
        place += 1
        if data[place - 1] < 0x80:
            return number, place
    raise ValueError("a number has more than ten bytes")
