"""The compiled loops where they can be compiled and cached."""

import subprocess
import sys


def test_a_place_where_nothing_can_be_written_only_costs_the_cache():
    code = (
        "import numba.core.caching as c\n"
        "(getattr(c, 'CacheImpl', None) or c._CacheImpl)._locator_classes = []\n"
        "from prorank_plugins import LexicalIndex; print(LexicalIndex.build(['a cat']).search('cat').ids)"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout == "['0']\n"
