"""Records that outlive the process: cut short, damaged, read while written."""

import errno
import os
import random
import signal
import subprocess
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prorank_plugins import ConfigError, CorruptIndexError
from prorank_plugins.core import journal as module
from prorank_plugins.core.journal import Journal, read_journal, read_journal_from

GENERATION = "data-0123456789abcdef"
HEADER, RECORD = 44, 24
# A payload that looks like a record, an empty one, and a long one.
PAYLOADS = [b"first", b"", b"\xb5REC" + bytes(20), b"\xb5REC", b"x" * 300, b"last"]


def written(path, payloads=PAYLOADS, generation=GENERATION):
    with Journal(path, generation) as journal:
        for payload in payloads:
            journal.append(payload)
    return path.read_bytes()


def ends(payloads=PAYLOADS):
    """Where each record ends, the header first."""
    places = [HEADER]
    for payload in payloads:
        places.append(places[-1] + RECORD + len(payload))
    return places


@given(st.lists(st.binary(max_size=50), max_size=6))
def test_what_is_appended_is_read(tmp_path_factory, payloads):
    path = tmp_path_factory.mktemp("journal") / "journal"
    assert len(written(path, payloads)) == ends(payloads)[-1]
    assert read_journal(path, GENERATION) == payloads
    with Journal(path, GENERATION) as journal:
        assert journal.n_records == len(payloads)
        journal.append(b"one more")
        assert journal.n_records == len(payloads) + 1
        assert journal.size == path.stat().st_size
    assert read_journal(path, GENERATION) == [*payloads, b"one more"]


def test_a_record_is_synced_before_append_returns(tmp_path, monkeypatch):
    path, synced = tmp_path / "journal", []
    monkeypatch.setattr(os, "fsync", lambda file: synced.append(os.fstat(file).st_size))
    with Journal(path, GENERATION) as journal:
        del synced[:]
        journal.append(b"abc")
        assert synced == [HEADER + RECORD + 3] == [path.stat().st_size]


def test_there_is_nothing_to_read_where_there_is_no_journal(tmp_path):
    assert read_journal(tmp_path / "journal", GENERATION) == []


def test_a_journal_of_another_generation_is_passed_over_and_made_anew(tmp_path):
    path = tmp_path / "journal"
    written(path)
    assert read_journal(path, "data-other") == []
    assert read_journal(path, GENERATION) == PAYLOADS
    written(path, [b"new"], "data-other")
    assert read_journal(path, "data-other") == [b"new"]
    assert read_journal(path, GENERATION) == []
    assert [entry.name for entry in tmp_path.iterdir()] == ["journal"]


@pytest.mark.parametrize("generation", ["", "x" * 33, "é" * 17])
def test_a_generation_takes_1_to_32_bytes(tmp_path, generation):
    for use in (read_journal, Journal):
        with pytest.raises(ConfigError, match="takes 1 to 32 bytes"):
            use(tmp_path / "journal", generation)


# Cut short and damaged


def test_a_journal_cut_at_any_byte_holds_the_records_before(tmp_path):
    path = tmp_path / "journal"
    data = written(path)
    for cut in range(len(data)):
        path.write_bytes(data[:cut])
        whole = max((number for number, end in enumerate(ends()) if end <= cut), default=0)
        assert read_journal(path, GENERATION) == PAYLOADS[:whole]
        with Journal(path, GENERATION) as journal:
            assert path.stat().st_size == journal.size == max(HEADER, ends()[whole])
            journal.append(b"after")
        assert read_journal(path, GENERATION) == [*PAYLOADS[:whole], b"after"]


@pytest.mark.parametrize("rest", [b"\0" * 500, b"\xff" * 15, b"\xb5REC" * 40])
def test_bytes_that_no_record_begins_with_are_removed_from_the_end(tmp_path, rest):
    path = tmp_path / "journal"
    data = written(path)
    path.write_bytes(data + rest)
    assert read_journal(path, GENERATION) == PAYLOADS
    Journal(path, GENERATION).close()
    assert path.read_bytes() == data


@pytest.mark.parametrize("change", [0x01, 0x80, 0xFF])
def test_a_byte_changed_anywhere_but_in_the_last_record_is_damage(tmp_path, change):
    path = tmp_path / "journal"
    data = written(path)
    for place in range(len(data)):
        damaged = bytearray(data)
        damaged[place] ^= change
        path.write_bytes(damaged)
        if place >= ends()[-2]:
            assert read_journal(path, GENERATION) == PAYLOADS[:-1]
            continue
        for use in (read_journal, Journal):
            with pytest.raises(CorruptIndexError, match=r"damaged.*Restore the folder from a copy"):
                use(path, GENERATION)
        assert path.read_bytes() == damaged


def test_missing_records_are_damage(tmp_path):
    path = tmp_path / "journal"
    data = written(path)
    for start, end in zip(ends(), ends()[1:-1], strict=False):
        for instead in (b"", bytes(end - start), b"?"):
            path.write_bytes(data[:start] + instead + data[end:])
            with pytest.raises(CorruptIndexError, match=f"the record at byte {start} is damaged or missing"):
                read_journal(path, GENERATION)


def test_a_record_twice_is_damage(tmp_path):
    path = tmp_path / "journal"
    data = written(path)
    for start, end in zip(ends(), ends()[1:], strict=False):
        path.write_bytes(data[:end] + data[start:])
        with pytest.raises(CorruptIndexError, match=f"the record at byte {end} is damaged or missing"):
            read_journal(path, GENERATION)


def test_records_of_another_journal_are_not_taken_for_ones_own(tmp_path):
    own, other = tmp_path / "own", tmp_path / "other"
    start = written(own, [])
    written(other, [b"stray"], "data-other")
    own.write_bytes(start + other.read_bytes()[HEADER:])
    assert read_journal(own, GENERATION) == []


@given(st.binary(max_size=200), st.booleans())
def test_any_bytes_give_records_or_an_error(tmp_path_factory, content, keep_header):
    path = tmp_path_factory.mktemp("journal") / "journal"
    header = written(path, [])
    path.write_bytes(header * keep_header + content)
    try:
        assert read_journal(path, GENERATION) == []
    except CorruptIndexError:
        assert not keep_header


# Appends that fail


class Disk:
    """Takes the place of the journal's file; fails after so many more bytes, or when told to sync."""

    def __init__(self, file, room=10**9, truncates=True):
        self.file, self.room, self.truncates = file, room, truncates

    def __getattr__(self, name):
        return getattr(self.file, name)

    def write(self, data):
        if not self.room:
            raise OSError(errno.ENOSPC, "No space left on device")
        n = self.file.write(bytes(data[: min(self.room, 7)]))  # in pieces, as a file may
        self.room -= n
        return n

    def truncate(self, size):
        if not self.truncates:
            raise OSError(errno.EIO, "Input/output error")
        return self.file.truncate(size)


def test_a_full_disk_leaves_the_journal_as_it_was(tmp_path):
    path = tmp_path / "journal"
    before = written(path)
    for room in range(RECORD + 40):
        with Journal(path, GENERATION) as journal:
            file, journal._file = journal._file, Disk(journal._file, room)
            with pytest.raises(OSError, match="No space left"):
                journal.append(b"y" * 40)
            assert path.read_bytes() == before
            assert journal.n_records == len(PAYLOADS)
            journal._file = file
            journal.append(b"smaller")
        assert read_journal(path, GENERATION) == [*PAYLOADS, b"smaller"]
        path.write_bytes(before)


def test_a_record_written_in_pieces_is_whole(tmp_path):
    path = tmp_path / "journal"
    with Journal(path, GENERATION) as journal:
        journal._file = Disk(journal._file)
        journal.append(b"z" * 100)
    assert read_journal(path, GENERATION) == [b"z" * 100]


@pytest.mark.parametrize("error", [OSError(errno.EIO, "Input/output error"), KeyboardInterrupt()])
def test_a_record_that_cannot_be_synced_is_taken_back(tmp_path, monkeypatch, error):
    path = tmp_path / "journal"
    before = written(path)
    with Journal(path, GENERATION) as journal:

        def fail(file):
            monkeypatch.undo()
            raise error

        monkeypatch.setattr(os, "fsync", fail)
        with pytest.raises(type(error)):
            journal.append(b"never")
        assert path.read_bytes() == before
        journal.append(b"now")
    assert read_journal(path, GENERATION) == [*PAYLOADS, b"now"]


def test_a_journal_that_cannot_take_a_record_back_is_closed(tmp_path):
    path = tmp_path / "journal"
    written(path)
    with Journal(path, GENERATION) as journal:
        journal._file = Disk(journal._file, 30, truncates=False)
        with pytest.raises(OSError, match="No space left"):
            journal.append(b"y" * 40)
        with pytest.raises(ValueError, match="closed; open the index again"):
            journal.append(b"y")
    written(path, [b"more"])
    assert read_journal(path, GENERATION) == [*PAYLOADS, b"more"]


def test_a_payload_of_4_gib_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_MOST_BYTES", 10)
    with Journal(tmp_path / "journal", GENERATION) as journal:
        with pytest.raises(ConfigError, match="less than 4 GiB, found 11 bytes"):
            journal.append(b"x" * 11)
        journal.append(b"x" * 10)


def test_a_closed_journal_takes_nothing(tmp_path):
    journal = Journal(tmp_path / "journal", GENERATION)
    journal.close()
    journal.close()
    with pytest.raises(ValueError, match="is closed"):
        journal.append(b"x")


def test_a_crash_while_a_journal_is_made_leaves_what_was_there(tmp_path, monkeypatch):
    path = tmp_path / "journal"
    written(path)

    def crash(*_):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "replace", crash)
    with pytest.raises(OSError, match="Input/output"):
        Journal(path, "data-other")
    assert read_journal(path, GENERATION) == PAYLOADS


# Processes

APPEND = """
import sys
from pathlib import Path
from prorank_plugins.core.journal import Journal, read_journal
path = Path(sys.argv[1])
first = len(read_journal(path, sys.argv[2]))
with Journal(path, sys.argv[2]) as journal:
    for number in range(first, 1_000_000):
        journal.append(b"%d:" % number + bytes([number % 251]) * (number * 37 % 5000))
        print(number, flush=True)
"""


def expected(number):
    return b"%d:" % number + bytes([number % 251]) * (number * 37 % 5000)


def test_a_killed_writer_leaves_all_it_confirmed_and_a_reader_sees_whole_records(tmp_path):
    path, confirmed = tmp_path / "journal", 0
    chance = random.Random(1)
    for _ in range(4):
        with subprocess.Popen(
            [sys.executable, "-c", APPEND, str(path), GENERATION], stdout=subprocess.PIPE, text=True
        ) as writer:
            confirmed = int(writer.stdout.readline()) + 1
            end, seen = time.monotonic() + chance.uniform(0.05, 0.3), confirmed
            while time.monotonic() < end:
                records = read_journal(path, GENERATION)
                assert len(records) >= seen
                seen = len(records)
            writer.send_signal(signal.SIGKILL if os.name != "nt" else signal.SIGTERM)
            lines = writer.stdout.read().split("\n")[:-1]
        confirmed = max(confirmed, seen, *(int(line) + 1 for line in lines))
        records = read_journal(path, GENERATION)
        assert len(records) >= confirmed
        assert records == [expected(number) for number in range(len(records))]
    assert confirmed > 4


def test_a_reader_goes_on_where_it_was(tmp_path):
    path = tmp_path / "journal.log"
    assert read_journal_from(path, "g", 0) == ([], 0)
    with Journal(path, "g") as journal:
        assert read_journal_from(path, "g", 0) == ([], journal.size)
        place = journal.size
        journal.append(b"one")
        assert read_journal_from(path, "g", place) == ([b"one"], journal.size)
        place = journal.size
        assert read_journal_from(path, "g", place) == ([], place)
        journal.append(b"two")
        assert read_journal_from(path, "g", place) == ([b"two"], journal.size)
        assert read_journal_from(path, "g", 0) == ([b"one", b"two"], journal.size)
        assert not journal.is_closed
    assert journal.is_closed
    path.write_bytes(path.read_bytes()[: place - 1])
    with pytest.raises(CorruptIndexError, match="and had"):
        read_journal_from(path, "g", place)
