"""Text to ids, with the control tokens of untrusted text read as plain text."""

from __future__ import annotations

import json
import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

from prorank_plugins.core.errors import ModelError
from prorank_plugins.core.extras import require
from prorank_plugins.rerank.sentencepiece_file import tokenizer_json

_SURROGATE = re.compile("[\ud800-\udfff]")

_REMEMBERED_TOKENS = 4_000_000
"""Document ids kept between calls: 32 MB at 8 bytes each."""


class PieceTokenizer:
    """Encodes pieces of a prompt, without adding anything to them.

    Never changes a setting after construction, so threads can share it: the "Already borrowed" error of
    Hugging Face tokenizers comes from switching truncation or padding while another thread encodes.

    Args:
        definition: a ``tokenizer.json``.
    """

    def __init__(self, definition: str) -> None:
        library = require("tokenizers", "rerank", "ProRankReranker")
        self.definition = definition
        self._trusted = library.Tokenizer.from_str(definition)
        added = self._trusted.get_added_tokens_decoder()
        # Without added tokens there is nothing that "<|im_end|>" in a document could turn into. Runs of
        # blanks, which some tokenizers list among them, are harmless and stay.
        blank = {n for n, token in added.items() if not token.special and _is_blank(token.content)}
        # What stands for unknown characters is no instruction, whatever the list calls it.
        unknown = getattr(self._trusted.model, "unk_token", None)
        control = {n for n, token in added.items() if token.special and token.content != unknown}
        if blank or isinstance(self._trusted.model, library.models.Unigram):
            stripped = json.loads(definition)
            control.discard(stripped["model"].get("unk_id"))
            self._plain = library.Tokenizer.from_str(json.dumps(_stripped(stripped, blank)))
        else:  # the same without reading the vocabulary again
            self._plain = library.Tokenizer(self._trusted.model)
            self._plain.normalizer = self._trusted.normalizer
            self._plain.pre_tokenizer = self._trusted.pre_tokenizer
        self._control = frozenset(control)
        self._trusted.no_truncation()
        self._trusted.no_padding()
        self._remembered: OrderedDict[tuple[str, bool], list[int]] = OrderedDict()
        self._n_remembered = 0
        self._lock = threading.Lock()

    @classmethod
    def from_folder(cls, folder: Path) -> PieceTokenizer:
        """The tokenizer of a model folder.

        Its ``tokenizer.json``, what its ``tokenizer.model`` says, or whatever transformers makes of it.

        Raises:
            ModelError: there is none that can be read.
        """
        file = folder / "tokenizer.json"
        try:
            if file.is_file():
                return cls(file.read_text("utf-8"))
            if (folder / "tokenizer.model").is_file():
                return cls(tokenizer_json(folder))
            transformers = require("transformers", "rerank", "A tokenizer without tokenizer.json")
            fast = transformers.AutoTokenizer.from_pretrained(str(folder), use_fast=True)
            if len(fast.get_vocab()) <= len(fast.get_added_vocab()):
                # transformers 5 makes an empty one where there are no files.
                raise ModelError(f"{folder} holds no tokenizer; save it there with save_pretrained")
            return cls(fast.backend_tokenizer.to_str())
        except ModelError:
            raise
        except Exception as error:
            # The tokenizers library raises bare Exception.
            raise ModelError(f"{folder} holds no tokenizer that can be read ({error})") from error

    def __reduce__(self) -> tuple[type[PieceTokenizer], tuple[str]]:
        return PieceTokenizer, (self.definition,)

    def encode(self, text: str, trusted: bool) -> list[int]:
        """Ids of one piece. ``trusted`` reads control tokens as such."""
        return self.encode_many([text], trusted)[0]

    def encode_many(self, texts: Sequence[str], trusted: bool) -> list[list[int]]:
        """Ids of several pieces in one call of the library."""
        return [self._cleaned(found.ids, trusted) for found in self._call(texts, trusted)]

    def encode_documents(self, texts: Sequence[str], trusted: bool) -> list[list[int]]:
        """`encode_many`, remembering what it encoded; callers must not change the lists."""
        with self._lock:
            known = {
                text: self._remembered[text, trusted] for text in texts if (text, trusted) in self._remembered
            }
            for text in known:
                self._remembered.move_to_end((text, trusted))
        new = [text for text in dict.fromkeys(texts) if text not in known]
        fresh = dict(zip(new, self.encode_many(new, trusted), strict=True))
        with self._lock:
            for text, ids in fresh.items():
                if (text, trusted) not in self._remembered:
                    self._remembered[text, trusted] = ids
                    self._n_remembered += len(ids) + 1
            while self._n_remembered > _REMEMBERED_TOKENS:
                _, dropped = self._remembered.popitem(last=False)
                self._n_remembered -= len(dropped) + 1
        known.update(fresh)
        return [known[text] for text in texts]

    def offsets(self, text: str, trusted: bool) -> list[tuple[int, int]]:
        """Character spans of the tokens of one piece."""
        tokenizer = self._trusted if trusted else self._plain
        (found,) = _encoded(tokenizer.encode_batch, [text])
        if trusted:
            return list(found.offsets)
        return [
            span for span, token in zip(found.offsets, found.ids, strict=True) if token not in self._control
        ]

    def number(self, token: str) -> int | None:
        """The id of a token, None for what is no token."""
        number: int | None = self._trusted.token_to_id(token)
        return number

    def token(self, number: int) -> str | None:
        """The token with an id."""
        token: str | None = self._trusted.id_to_token(number)
        return token

    def _call(self, texts: Sequence[str], trusted: bool) -> list[Any]:
        if not texts:
            return []
        tokenizer = self._trusted if trusted else self._plain
        encode = getattr(tokenizer, "encode_batch_fast", tokenizer.encode_batch)
        return _encoded(encode, texts)

    def _cleaned(self, ids: list[int], trusted: bool) -> list[int]:
        # A vocabulary may hold control tokens as ordinary pieces, too.
        if trusted or self._control.isdisjoint(ids):
            return ids
        return [token for token in ids if token not in self._control]


def _stripped(definition: dict[str, Any], kept: Collection[int]) -> dict[str, Any]:
    """A ``tokenizer.json`` with no other added tokens than those to be kept."""
    added = definition.get("added_tokens") or []
    definition.update(post_processor=None, truncation=None, padding=None)
    definition["added_tokens"] = [token for token in added if token["id"] in kept]
    if definition["model"].get("type") == "Unigram":
        # Its pieces are found in text wherever they stand, so those of added tokens get other names.
        pieces = definition["model"]["vocab"]
        for token in added:
            if token["id"] not in kept and token["id"] < len(pieces):
                pieces[token["id"]][0] = f"\ufdd0{token['id']}"
    return definition


def _is_blank(text: str) -> bool:
    return not text.replace("▁", " ").strip()


def _encoded(encode: Callable[..., list[Any]], texts: Sequence[str]) -> list[Any]:
    try:
        return encode(list(texts), add_special_tokens=False)
    except TypeError:
        # Half of a surrogate pair is no character and has no UTF-8, but JSON may hold one.
        readable = [_SURROGATE.sub("\N{REPLACEMENT CHARACTER}", text) for text in texts]
        return encode(readable, add_special_tokens=False)
