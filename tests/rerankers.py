"""Rerankers that count shared words, for tests of what is built around a reranker."""

import asyncio
import re
import sys
import threading
import time
from types import ModuleType

import pytest

from prorank_plugins import ScoredDocument


def words(text):
    return set(re.findall(r"\w+", text.lower()))


def overlap(query, text):
    """How many words two texts share, less one half: 0 is no score anything has."""
    return len(words(query) & words(text)) - 0.5


class Overlap:
    """Scores by shared words; a `Reranker` with nothing more than its one method."""

    def rerank(self, query, documents, k=None):
        hits = [ScoredDocument(document, overlap(query, document.text)) for document in documents]
        return sorted(hits, key=lambda hit: -hit.score)[:k]


class Instructed(Overlap):
    """Takes what a `ProRankReranker` takes, and remembers how it was called."""

    name = "overlap-v1"

    def __init__(self):
        self.calls = []

    def rerank(self, query, documents, k=None, instruction=None):
        self.calls.append(("rerank", instruction))
        return super().rerank(query, documents, k)

    async def arerank(self, query, documents, k=None, instruction=None):
        self.calls.append(("arerank", instruction))
        await asyncio.sleep(0)
        return super().rerank(query, documents, k)


class Given:
    """Answers with what a function makes of the documents."""

    def __init__(self, answer):
        self.answer = answer

    def rerank(self, query, documents, k=None):
        return self.answer(documents)


class Unpicklable(Overlap):
    """Holds what no pickle can."""

    def __init__(self):
        self.lock = threading.Lock()


class Slow(Overlap):
    """Takes its time, and says in which thread."""

    def __init__(self):
        self.threads = []

    def rerank(self, query, documents, k=None):
        self.threads.append(threading.get_ident())
        time.sleep(0.1)
        return super().rerank(query, documents, k)


class Loaded(Instructed):
    """What the stand-in for `ProRankReranker.from_pretrained` gives."""

    def __init__(self, name, options):
        super().__init__()
        self.name = name
        self.options = options


@pytest.fixture
def loads(monkeypatch):
    """Lets every name be loaded; a list of the names and options that were."""
    done = []

    class ProRankReranker:
        @classmethod
        def from_pretrained(cls, name_or_path, **options):
            time.sleep(0.02)
            done.append((name_or_path, options))
            return Loaded(name_or_path, options)

    module = ModuleType("prorank_plugins.rerank.reranker")
    module.ProRankReranker = ProRankReranker
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return done
