"""Scores kept in memory and on disk."""

import multiprocessing
import os
import pickle
import sqlite3
import struct
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from hashlib import blake2b
from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prorank_plugins.core.errors import ConfigError, CorruptIndexError, IndexFormatError
from prorank_plugins.rerank import cache as cache_module
from prorank_plugins.rerank.cache import (
    SMALLEST_DISK_CACHE,
    DiskScoreCache,
    MemoryScoreCache,
    ScoreCache,
    key,
)


def keys_of(numbers):
    return [key("model", "prompt", "query", str(number)) for number in numbers]


def score_of(key):
    """A score that can be checked from its key alone."""
    return int.from_bytes(key[:6], "big") / 3


@pytest.fixture(params=["memory", "disk"])
def cache(request, tmp_path):
    if request.param == "memory":
        yield MemoryScoreCache()
    else:
        with DiskScoreCache(tmp_path / "scores.db") as disk:
            yield disk


# Keys


def test_a_key_is_the_same_in_every_release():
    expected = "c1732b456263349b319678c6fe84585a6f8e7420019ed72c1cd56185ad810333"
    assert key("m", "p", "what?", "this ✓").hex() == expected


def test_a_key_is_the_digest_of_each_part_after_its_length():
    digest = blake2b(digest_size=32, person=b"prorank-score-1")
    digest.update(b"".join(struct.pack(">Q", len(part)) + part for part in (b"m", b"prompt", b"", b"doc")))
    assert key("m", "prompt", "", "doc") == digest.digest()


def test_moving_a_character_to_the_next_part_gives_another_key():
    assert (
        len({key("ab", "c", "", ""), key("a", "bc", "", ""), key("", "abc", "", ""), key("", "", "", "abc")})
        == 4
    )


parts = st.tuples(*[st.text(st.sampled_from("ab\0\x01 "), max_size=3)] * 4)


@given(parts, parts)
def test_keys_are_equal_exactly_when_all_parts_are(left, right):
    assert (key(*left) == key(*right)) == (left == right)


def test_a_lone_surrogate_has_a_key_of_its_own():
    assert key("m", "p", "q", "\ud800") != key("m", "p", "q", "\ud801")


# Both caches


def test_what_was_put_comes_back_in_the_order_asked_and_the_rest_is_none(cache):
    one, two, three = keys_of([1, 2, 3])
    cache.put_many([one, two], [0.25, -1.5])
    assert isinstance(cache, ScoreCache)
    assert cache.get_many([three, two, one, two]) == [None, -1.5, 0.25, -1.5]


def test_the_last_score_of_a_key_counts(cache):
    (one,) = keys_of([1])
    cache.put_many([one, one], [1.0, 2.0])
    assert cache.get_many([one]) == [2.0]
    cache.put_many([one], [3.0])
    assert cache.get_many([one]) == [3.0]


def test_nothing_in_nothing_out(cache):
    cache.put_many([], [])
    assert cache.get_many([]) == []


def test_more_keys_than_a_statement_takes_are_fetched(cache):
    keys = keys_of(range(1203))
    cache.put_many(keys, [score_of(key) for key in keys])
    assert cache.get_many(keys) == [score_of(key) for key in keys]


@pytest.mark.parametrize(
    "score", [0.1, 1 / 3, 5e-324, 1.7976931348623157e308, -2.0, 4503599627370497.0, 0.0, -0.0]
)
def test_a_score_comes_back_with_every_bit(cache, score):
    (one,) = keys_of([1])
    cache.put_many([one], [score])
    assert cache.get_many([one])[0] == score
    assert isinstance(cache.get_many([one])[0], float)


@pytest.fixture(scope="module")
def new_path(tmp_path_factory):
    """Gives a path of its own to each example."""
    folder, numbers = tmp_path_factory.mktemp("examples"), count()
    return lambda: folder / f"{next(numbers)}.db"


@settings(max_examples=50)
@given(scores=st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=20))
def test_any_finite_float64_survives_the_disk(new_path, scores):
    keys = keys_of(range(len(scores)))
    with DiskScoreCache(new_path()) as disk:
        disk.put_many(keys, scores)
        assert disk.get_many(keys) == scores


def test_one_score_per_key_is_asked_for(cache):
    with pytest.raises(ConfigError, match="found 2 keys and 1 scores"):
        cache.put_many(keys_of([1, 2]), [1.0])


@pytest.mark.parametrize("score", [float("nan"), float("inf"), -float("inf")])
def test_a_score_that_is_not_finite_is_refused_and_nothing_is_kept(cache, score):
    keys = keys_of([1, 2])
    with pytest.raises(ConfigError, match="only finite scores"):
        cache.put_many(keys, [1.0, score])
    assert cache.get_many(keys) == [None, None]


def test_many_threads_share_a_cache(cache):
    def work(worker):
        own = keys_of(range(worker * 50, worker * 50 + 100))
        for start in range(0, 100, 10):
            some = own[start : start + 10]
            cache.put_many(some, [score_of(key) for key in some])
            found = cache.get_many(own)
            assert all(score in (None, score_of(key)) for key, score in zip(own, found, strict=True))
            assert None not in found[: start + 10]

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    keys = keys_of(range(450))
    assert cache.get_many(keys) == [score_of(key) for key in keys]


# In memory


def test_the_least_recently_used_entry_goes_first():
    one, two, three = keys_of([1, 2, 3])
    memory = MemoryScoreCache(max_entries=2)
    memory.put_many([one, two], [1.0, 2.0])
    memory.get_many([one])
    memory.put_many([three], [3.0])
    assert memory.get_many([one, two, three]) == [1.0, None, 3.0]


@given(
    st.integers(1, 5),
    st.lists(st.tuples(st.booleans(), st.lists(st.integers(0, 8), max_size=6)), max_size=20),
)
def test_a_memory_cache_behaves_like_a_list_in_order_of_use(max_entries, calls):
    memory, model = MemoryScoreCache(max_entries), {}
    for put, numbers in calls:
        keys = keys_of(numbers)
        if put:
            memory.put_many(keys, [float(number) for number in numbers])
            for number in numbers:
                model.pop(number, None)
                model[number] = float(number)
            for number in list(model)[: max(0, len(model) - max_entries)]:
                del model[number]
        else:
            assert memory.get_many(keys) == [model.get(number) for number in numbers]
            for number in numbers:
                if number in model:
                    model[number] = model.pop(number)
        assert len(memory) == len(model) <= max_entries


def test_a_pickled_memory_cache_starts_empty_with_its_bound():
    memory = MemoryScoreCache(max_entries=7)
    memory.put_many(keys_of([1]), [1.0])
    copy = pickle.loads(pickle.dumps(memory))
    assert (len(copy), copy.max_entries) == (0, 7)


def test_a_memory_cache_holds_at_least_one_entry():
    with pytest.raises(ConfigError, match="at least 1, found 0"):
        MemoryScoreCache(0)


# On disk


def test_a_disk_cache_outlives_its_connection(tmp_path):
    path = tmp_path / "new" / "folder" / "scores.db"
    keys = keys_of(range(10))
    with DiskScoreCache(path) as disk:
        disk.put_many(keys, [score_of(key) for key in keys])
    assert [entry.name for entry in path.parent.iterdir()] == ["scores.db"]
    with DiskScoreCache(str(path)) as disk:
        assert disk.get_many(keys) == [score_of(key) for key in keys]
        disk.close()
        assert disk.get_many(keys[:1]) == [score_of(keys[0])]


@pytest.mark.parametrize("batch", [1, 50, 3000])
def test_a_disk_cache_stays_within_its_bound_and_keeps_the_newest(tmp_path, batch):
    path, bound = tmp_path / "scores.db", 4 * SMALLEST_DISK_CACHE
    keys = keys_of(range(6000))
    with DiskScoreCache(path, bound) as disk:
        for start in range(0, len(keys), batch):
            some = keys[start : start + batch]
            disk.put_many(some, [score_of(key) for key in some])
            assert path.stat().st_size <= bound
        found = disk.get_many(keys)
    n_kept = sum(score is not None for score in found)
    assert path.stat().st_size <= bound
    assert bound / 160 < n_kept < 6000
    assert found[-n_kept:] == [score_of(key) for key in keys[-n_kept:]]


def test_entries_that_were_read_outlast_those_that_were_not(tmp_path):
    keys = keys_of(range(3000))
    with DiskScoreCache(tmp_path / "scores.db", SMALLEST_DISK_CACHE) as disk:
        disk.put_many(keys[:20], [0.0] * 20)
        for start in range(20, 3000, 20):
            assert None not in disk.get_many(keys[:5])
            disk.put_many(keys[start : start + 20], [1.0] * 20)
        assert disk.get_many(keys[:20]) == [0.0] * 5 + [None] * 15


def test_reading_is_noted_when_the_cache_is_closed(tmp_path):
    path, keys = tmp_path / "scores.db", keys_of(range(600))
    with DiskScoreCache(path, SMALLEST_DISK_CACHE) as disk:
        disk.put_many(keys[:100], [0.0] * 100)
        disk.get_many(keys[:1])
    with sqlite3.connect(path) as database:
        (last,) = database.execute("SELECT key FROM scores ORDER BY used DESC LIMIT 1").fetchone()
    database.close()
    assert last == keys[0]


def test_reading_notes_a_bounded_number_of_uses(tmp_path, monkeypatch):
    monkeypatch.setattr(cache_module, "_MAX_USED", 10)
    keys = keys_of(range(50))
    with DiskScoreCache(tmp_path / "scores.db") as disk:
        disk.put_many(keys, [1.0] * 50)
        disk.get_many(keys)
        assert list(disk._used) == keys[-10:]


def test_a_file_that_is_above_a_new_bound_shrinks_with_the_next_write(tmp_path):
    path, keys = tmp_path / "scores.db", keys_of(range(4000))
    with DiskScoreCache(path) as disk:
        disk.put_many(keys, [1.0] * 4000)
    assert path.stat().st_size > 2 * SMALLEST_DISK_CACHE
    with DiskScoreCache(path, SMALLEST_DISK_CACHE) as disk:
        disk.put_many(keys[:1], [2.0])
        assert disk.get_many(keys[:1]) == [2.0]
    assert path.stat().st_size <= SMALLEST_DISK_CACHE


def test_a_pickled_disk_cache_opens_the_same_file(tmp_path):
    keys = keys_of([1, 2])
    with DiskScoreCache(tmp_path / "scores.db", 10**6) as disk:
        disk.put_many(keys, [1.0, 2.0])
        with pickle.loads(pickle.dumps(disk)) as copy:
            assert copy.get_many(keys) == [1.0, 2.0]
            assert copy.max_bytes == 10**6


def test_a_spawned_process_uses_the_cache_it_is_given(tmp_path):
    keys = keys_of([1, 2])
    with DiskScoreCache(tmp_path / "scores.db") as disk:
        disk.put_many(keys[:1], [1.0])
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            assert pool.submit(disk.get_many, keys).result() == [1.0, None]
            pool.submit(disk.put_many, keys[1:], [2.0]).result()
        assert disk.get_many(keys) == [1.0, 2.0]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_process_opens_the_file_for_itself(tmp_path):
    keys = keys_of([1, 2])
    with DiskScoreCache(tmp_path / "scores.db") as disk:
        disk.put_many(keys[:1], [1.0])
        child = os.fork()
        if not child:
            code = 1
            try:
                disk.put_many(keys[1:], [2.0])
                code = 0 if disk.get_many(keys) == [1.0, 2.0] else 2
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert disk.get_many(keys) == [1.0, 2.0]


WRITER = """
import sys
from prorank_plugins.rerank.cache import DiskScoreCache, key
path, first, last, size = sys.argv[1], *map(int, sys.argv[2:])
print("ready", flush=True)
sys.stdin.readline()
cache = DiskScoreCache(path, 4_000_000)
for start in range(first, last, size):
    keys = [key("model", "prompt", "query", str(i)) for i in range(start, min(start + size, last))]
    cache.put_many(keys, [int.from_bytes(key[:6], "big") / 3 for key in keys])
    print(start, flush=True)
"""


def writer(path, first, last, size):
    arguments = [sys.executable, "-c", WRITER, str(path), str(first), str(last), str(size)]
    return subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def start(*processes):
    for process in processes:
        process.stdout.readline()
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()


def test_processes_that_open_and_write_at_once_lose_nothing(tmp_path):
    path = tmp_path / "scores.db"
    processes = [writer(path, first, first + 600, 7) for first in (0, 300, 600)]
    start(*processes)
    for process in processes:
        process.communicate(timeout=60)
        assert process.returncode == 0
    keys = keys_of(range(1200))
    with DiskScoreCache(path) as disk:
        assert disk.get_many(keys) == [score_of(key) for key in keys]


def test_a_cache_killed_while_it_writes_keeps_whole_calls_and_stays_readable(tmp_path):
    path, size = tmp_path / "scores.db", 400
    for attempt in range(4):
        process = writer(path, attempt * 10**6, (attempt + 1) * 10**6, size)
        start(process)
        for _ in range(3):
            last = int(process.stdout.readline())
        time.sleep(0.003 * attempt)
        process.kill()
        last = [int(line) for line in process.communicate()[0].split() if line][-1:] or [last]
        database = sqlite3.connect(path)
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        database.close()
        done = keys_of(range(attempt * 10**6, last[0] + size))
        cut_short = keys_of(range(last[0] + size, last[0] + 2 * size))
        with DiskScoreCache(path, 4_000_000) as disk:
            assert disk.get_many(done)[-size:] == [score_of(key) for key in done[-size:]]
            assert disk.get_many(cut_short) in ([None] * size, [score_of(key) for key in cut_short])


def test_a_failure_in_the_middle_of_a_write_leaves_nothing_of_it(tmp_path):
    keys = keys_of(range(200))
    with DiskScoreCache(tmp_path / "scores.db") as disk:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(cache_module, "_drop_oldest", lambda *_: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                disk.put_many(keys, [1.0] * 200)
        assert disk.get_many(keys) == [None] * 200
        disk.put_many(keys, [1.0] * 200)
        assert disk.get_many(keys) == [1.0] * 200


# Files that are no caches


@pytest.mark.parametrize("content", [b"not a database at all" * 300, b"SQLite format 3\0" + b"\xff" * 5000])
def test_a_file_of_something_else_is_a_clear_error_and_stays_as_it_was(tmp_path, content):
    path = tmp_path / "scores.db"
    path.write_bytes(content)
    with pytest.raises(CorruptIndexError, match="no readable score cache .* Delete it"):
        DiskScoreCache(path)
    assert path.read_bytes() == content


def filled(path):
    keys = keys_of(range(2000))
    with DiskScoreCache(path) as disk:
        disk.put_many(keys, [score_of(key) for key in keys])
    return keys


def test_a_file_cut_short_is_a_clear_error(tmp_path):
    path = tmp_path / "scores.db"
    keys = filled(path)
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(CorruptIndexError, match="Delete it with the files scores.db-wal"):
        DiskScoreCache(path).get_many(keys)


def test_overwritten_pages_are_a_clear_error(tmp_path):
    path = tmp_path / "scores.db"
    keys = filled(path)
    data = bytearray(path.read_bytes())
    data[4096:] = b"\xa5" * (len(data) - 4096)
    path.write_bytes(data)
    with pytest.raises(CorruptIndexError, match="Delete it"):
        DiskScoreCache(path).get_many(keys)


@settings(max_examples=60)
@given(position=st.integers(0, 2**31), length=st.integers(1, 64))
def test_damage_anywhere_is_an_error_of_this_package_or_goes_unnoticed(new_path, position, length):
    path = new_path()
    with DiskScoreCache(path) as disk:
        keys = keys_of(range(100))
        disk.put_many(keys, [1.0] * 100)
    with path.open("r+b") as file:
        file.seek(position % path.stat().st_size)
        file.write(b"\xff" * length)
    try:
        with DiskScoreCache(path) as disk:
            found = disk.get_many(keys)
            disk.put_many(keys, [2.0] * 100)
    except (CorruptIndexError, IndexFormatError, ConfigError):
        return
    assert len(found) == 100
    assert all(score is None or isinstance(score, float) for score in found)


@pytest.mark.parametrize("value", ["high", float("inf"), b"\x01"])
def test_a_stored_value_that_is_no_score_is_damage(tmp_path, value):
    path, keys = tmp_path / "scores.db", keys_of([1])
    with DiskScoreCache(path) as disk:
        disk.put_many(keys, [1.0])
        database = sqlite3.connect(path, isolation_level=None)
        database.execute("UPDATE scores SET score = ?", (value,))
        database.close()
        with pytest.raises(CorruptIndexError, match="a score is"):
            disk.get_many(keys)


def test_a_clock_at_its_end_is_damage(tmp_path):
    path, keys = tmp_path / "scores.db", keys_of([1, 2])
    with DiskScoreCache(path) as disk:
        disk.put_many(keys[:1], [1.0])
        database = sqlite3.connect(path, isolation_level=None)
        database.execute("UPDATE scores SET used = ?", (2**63 - 1,))
        database.close()
        with pytest.raises(CorruptIndexError, match="used"):
            disk.put_many(keys[1:], [1.0])


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE people (name TEXT)",
        "CREATE TABLE scores (used INTEGER PRIMARY KEY, key TEXT, score REAL)",
    ],
)
def test_a_database_of_another_kind_is_refused_and_not_changed(tmp_path, statement):
    path = tmp_path / "other.db"
    database = sqlite3.connect(path)
    database.execute(statement)
    database.close()
    before = path.read_bytes()
    with pytest.raises(IndexFormatError, match="another kind or of a newer release"):
        DiskScoreCache(path)
    assert path.read_bytes() == before


def test_a_trigger_in_the_file_is_refused(tmp_path):
    path = tmp_path / "scores.db"
    filled(path)
    database = sqlite3.connect(path)
    database.execute("CREATE TRIGGER spy AFTER INSERT ON scores BEGIN DELETE FROM scores; END")
    database.close()
    with pytest.raises(IndexFormatError, match="'spy'"):
        DiskScoreCache(path)


def test_a_table_whose_description_is_no_text_is_refused(tmp_path):
    path = tmp_path / "scores.db"
    filled(path)
    path.write_bytes(path.read_bytes().replace(b"INTEGER PRIMARY KEY", b"INTEGER PRIMARY \xff\xff\xff"))
    with pytest.raises((CorruptIndexError, IndexFormatError), match=r"scores\.db"):
        DiskScoreCache(path)


def test_a_folder_is_no_cache(tmp_path):
    with pytest.raises(ConfigError, match="cannot be opened"):
        DiskScoreCache(tmp_path)


def test_a_file_in_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be opened"):
        DiskScoreCache(tmp_path / "file" / "scores.db")


def test_a_bound_too_small_for_a_file_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="max_bytes must be at least 65536, found 1000"):
        DiskScoreCache(tmp_path / "scores.db", 1000)


def test_a_locked_file_is_gone_on_without_and_said_so(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(cache_module, "_WAIT_SECONDS", 0.05)
    path, keys = tmp_path / "scores.db", keys_of([1, 2])
    with DiskScoreCache(path) as disk:
        disk.put_many(keys[:1], [1.0])
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        disk.put_many(keys[1:], [2.0])
        assert f"Going on without the score cache {path}: database is locked" in caplog.text
        assert disk.get_many(keys) == [1.0, None]
        other.execute("ROLLBACK")
        other.close()
        disk.put_many(keys[1:], [2.0])
        assert disk.get_many(keys) == [1.0, 2.0]


def test_a_cache_that_is_let_go_of_closes_its_file(tmp_path):
    disk = DiskScoreCache(tmp_path / "scores.db")
    database = disk._connection()
    del disk
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        database.execute("SELECT 1")
