"""One writer at a time: in a process, across processes, after a crash, after a fork."""

import copy
import gc
import multiprocessing
import os
import pickle
import subprocess
import sys

import pytest

from prorank_plugins.core import locking
from prorank_plugins.core.errors import IndexLockedError
from prorank_plugins.core.locking import LOCK, WriterLock

HOLD = """
import sys
from pathlib import Path
from prorank_plugins.core.locking import WriterLock
lock = WriterLock(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""
POSIX = pytest.mark.skipif(os.name == "nt", reason="fork")


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the folder until its input ends."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()
    process.stdin.close()
    process.stdout.close()


def test_the_second_writer_of_a_process_is_refused_until_the_first_closes(tmp_path):
    first = WriterLock(tmp_path)
    assert first.held
    with pytest.raises(IndexLockedError, match=r"another object of this process; use that one, or close it"):
        WriterLock(tmp_path)
    first.close()
    assert not first.held
    with WriterLock(tmp_path) as second:
        first.close()
        assert second.held
        with pytest.raises(IndexLockedError):
            WriterLock(tmp_path)
    WriterLock(tmp_path).close()
    assert os.listdir(tmp_path) == [LOCK]


def test_folders_are_locked_apart(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    with WriterLock(tmp_path / "a"), WriterLock(tmp_path / "b"):
        pass


def test_another_process_is_named(tmp_path, holder):
    with pytest.raises(
        IndexLockedError, match=rf"{tmp_path.name} is open for writing by process {holder.pid}; wait until"
    ):
        WriterLock(tmp_path)
    holder.stdin.close()
    holder.wait()
    WriterLock(tmp_path).close()


def test_a_killed_process_lets_go(tmp_path, holder):
    holder.kill()
    holder.wait()
    with WriterLock(tmp_path):
        assert (tmp_path / LOCK).read_text() == f"{os.getpid()}\n"


def test_a_lock_that_nobody_refers_to_any_more_is_released(tmp_path):
    lock = WriterLock(tmp_path)
    del lock
    gc.collect()
    WriterLock(tmp_path).close()


def test_a_lock_file_with_other_content_is_no_hindrance(tmp_path):
    (tmp_path / LOCK).write_bytes(b"\xff not a number" * 9)
    with WriterLock(tmp_path):
        (tmp_path / LOCK).write_bytes(b"\xff")
        with pytest.raises(IndexLockedError, match="by another process"):
            WriterLock(tmp_path)


def test_a_folder_that_does_not_exist_cannot_be_locked(tmp_path):
    with pytest.raises(FileNotFoundError):
        WriterLock(tmp_path / "nothing")


def test_a_system_without_locks_says_so_and_leaves_no_file_open(tmp_path, monkeypatch):
    closed = []
    close = os.close

    def refuse(file):
        raise OSError(37, "No locks available")

    monkeypatch.setattr(locking, "_lock", refuse)
    monkeypatch.setattr(os, "close", lambda file: closed.append(file) or close(file))
    with pytest.raises(OSError, match="No locks available"):
        WriterLock(tmp_path)
    assert len(closed) == 1


def test_a_full_disk_does_not_keep_the_lock_from_being_taken(tmp_path, monkeypatch):
    def refuse(file, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", refuse)
    with WriterLock(tmp_path), pytest.raises(IndexLockedError, match="by another process"):
        WriterLock(tmp_path)


def test_a_lock_is_not_copied(tmp_path):
    with WriterLock(tmp_path) as lock:
        for attempt in (copy.copy, copy.deepcopy, pickle.dumps):
            with pytest.raises(TypeError, match="cannot be copied"):
                attempt(lock)


def report(lock, folder, pipe):
    """In a child: what it holds, and what happens when it wants to write."""
    try:
        WriterLock(folder)
        answer = "locked it"
    except IndexLockedError as error:
        answer = str(error)
    pipe.send((lock.held, answer))
    pipe.recv()


@POSIX
def test_a_forked_child_holds_nothing_and_keeps_nobody_out(tmp_path):
    context = multiprocessing.get_context("fork")
    lock = WriterLock(tmp_path)
    ours, theirs = context.Pipe()
    child = context.Process(target=report, args=(lock, tmp_path, theirs))
    child.start()
    held, answer = ours.recv()
    assert not held
    assert f"by process {os.getpid()};" in answer
    assert lock.held
    lock.close()
    WriterLock(tmp_path).close()  # while the child lives
    ours.send("end")
    child.join()
    assert child.exitcode == 0
