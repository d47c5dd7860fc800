"""The compiled loops where they can be compiled and cached."""

import subprocess
import sys
import threading

from prorank_plugins import LexicalIndex
from prorank_plugins.lexical import codes, compilation, segment, topk
from prorank_plugins.lexical.kernels import searching


def test_a_place_where_nothing_can_be_written_only_costs_the_cache():
    code = (
        "import numba.core.caching as c\n"
        "(getattr(c, 'CacheImpl', None) or c._CacheImpl)._locator_classes = []\n"
        "from prorank_plugins import LexicalIndex; print(LexicalIndex.build(['a cat']).search('cat').ids)"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout == "['0']\n"


def test_while_the_kernel_is_compiled_numpy_answers_with_the_same_bits(monkeypatch):
    texts = [f"cat {'dog ' * (i % 7)} bird{i % 11} {'fish ' * (i % 3)}" for i in range(500)]
    index = LexicalIndex.build(texts)
    index.delete([str(i) for i in range(0, 500, 9)])
    allowed = [str(i) for i in range(0, 500, 2)]
    queries = ["cat dog", "bird3 fish", "", "dog dog fish bird10", "unknown"]
    by_kernel = [index.search(query, 20, filter=allowed) for query in queries]
    monkeypatch.setattr(topk, "compiled_search", lambda wait: None)
    by_numpy = [index.search(query, 20, filter=allowed) for query in queries]
    assert [hits.ids for hits in by_numpy] == [hits.ids for hits in by_kernel]
    assert [hits.scores.tolist() for hits in by_numpy] == [hits.scores.tolist() for hits in by_kernel]


def test_the_first_search_of_all_does_not_wait_for_the_compiler_and_a_large_batch_does(monkeypatch):
    started, released = threading.Event(), threading.Event()

    class Slow(compilation._Compilation):
        def _run(self):
            started.set()
            released.wait(30)
            super()._run()

    monkeypatch.setattr(compilation, "_PATIENCE_SECONDS", 0.01)
    slow = Slow()
    assert slow.result(wait=False) is None
    assert started.is_set()
    assert slow.result(wait=False) is None
    released.set()
    assert slow.result(wait=True) is searching
    assert slow.result(wait=False) is searching


def test_limits_that_are_written_twice_agree():
    assert topk.MOST_TERMS == searching.MOST_ROWS
    assert segment.MOST_DOCS == searching.MOST_DOCS
    assert codes.N_CODES == searching.N_CODES
