"""TREC run and judgement files: round trips and refusals."""

from __future__ import annotations

import itertools
import re
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prorank_plugins.core.errors import ConfigError, DataFormatError
from prorank_plugins.evaluation import evaluate, read_qrels, read_run, write_qrels, write_run

SUFFIXES = [".txt", ".txt.gz"]
ids = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=5).filter(
    lambda id: not re.search(r"\s", id, re.ASCII)
)
runs = st.dictionaries(
    ids, st.dictionaries(ids, st.floats(allow_nan=False, allow_infinity=False), min_size=1), max_size=4
)
judgements = st.dictionaries(ids, st.dictionaries(ids, st.integers(-3, 10), min_size=1), max_size=4)


@pytest.mark.parametrize("suffix", SUFFIXES)
@given(run=runs)
@settings(deadline=None, max_examples=60)
def test_a_run_read_back_has_the_same_floats(tmp_path_factory, suffix, run):
    path = tmp_path_factory.mktemp("run") / f"run{suffix}"
    write_run(path, run)
    assert read_run(path) == run


@pytest.mark.parametrize("suffix", SUFFIXES)
@given(qrels=judgements)
@settings(deadline=None, max_examples=60)
def test_judgements_read_back_are_the_same(tmp_path_factory, suffix, qrels):
    path = tmp_path_factory.mktemp("qrels") / f"qrels{suffix}"
    write_qrels(path, qrels)
    assert read_qrels(path) == qrels


def test_a_run_file_by_hand(tmp_path):
    write_run(tmp_path / "run", {"q1": {"a": 1, "b": 1.0 + 1e-9, "c": 2.5}, "none": {}}, tag="bmx")
    assert (tmp_path / "run").read_bytes() == (
        b"q1 Q0 c 1 2.5 bmx\nq1 Q0 b 2 1.000000001 bmx\nq1 Q0 a 3 1.0 bmx\n"
    )


def test_a_judgement_file_by_hand(tmp_path):
    write_qrels(tmp_path / "qrels", {"q1": {"a": 1, "b": np.int64(0)}, "q2": {"a": -1}})
    assert (tmp_path / "qrels").read_text() == "q1 0 a 1\nq1 0 b 0\nq2 0 a -1\n"


def test_numpy_scores_survive_to_the_last_bit(tmp_path):
    score = np.float32(0.1)
    write_run(tmp_path / "run", {"q": {"a": score}})
    assert read_run(tmp_path / "run")["q"]["a"] == float(score)


def test_files_of_other_tools_with_tabs_runs_of_blanks_and_crlf_are_read(tmp_path):
    (tmp_path / "run").write_bytes(b"q1\tQ0\ta\t1\t2.5\tx\r\n\r\n q1   Q0  b 7 -1e-3 x \r\n")
    assert read_run(tmp_path / "run") == {"q1": {"a": 2.5, "b": -0.001}}


def test_a_run_gives_the_same_report_after_a_round_trip(tmp_path):
    run = {"q": {"a": 1.0, "b": 1.0 + 1e-9, "c": 1.0 - 1e-8}}
    write_run(tmp_path / "run.gz", run)
    qrels = {"q": {"a": 1}}
    assert evaluate(read_run(tmp_path / "run.gz"), qrels, ["mrr"]) == evaluate(run, qrels, ["mrr"])


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_equal_runs_are_equal_bytes_under_any_name_at_any_time(tmp_path, monkeypatch, suffix):
    monkeypatch.setattr(time, "time", itertools.count(1e9).__next__)
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        write_run(tmp_path / folder / f"{folder}{suffix}", {"q": {"a": 1.0}})
    assert (tmp_path / f"one/one{suffix}").read_bytes() == (tmp_path / f"two/two{suffix}").read_bytes()


@pytest.mark.parametrize("bad", ["", "a b", "a\tb", "a\n", "\x0b", " a"])
def test_ids_and_tags_with_blanks_are_refused(tmp_path, bad):
    with pytest.raises(DataFormatError, match="query id"):
        write_run(tmp_path / "run", {bad: {"a": 1.0}})
    with pytest.raises(DataFormatError, match="document id"):
        write_run(tmp_path / "run", {"q": {bad: 1.0}})
    with pytest.raises(DataFormatError, match="tag"):
        write_run(tmp_path / "run", {"q": {"a": 1.0}}, tag=bad)
    with pytest.raises(DataFormatError, match="document id"):
        write_qrels(tmp_path / "qrels", {"q": {bad: 1}})


@pytest.mark.parametrize(
    ("run", "error"),
    [
        ({"q": {"a": 1.0, "b b": 0.5}}, DataFormatError),
        ({"q": {"a": 1.0}, "r": {"a": float("nan")}}, ConfigError),
        ({"q": {"a": 1.0, "\ud800": 0.5}}, DataFormatError),
    ],
)
def test_a_failed_write_leaves_the_old_file_and_nothing_beside_it(tmp_path, run, error):
    write_run(tmp_path / "run", {"old": {"a": 1.0}})
    with pytest.raises(error):
        write_run(tmp_path / "run", run)
    assert read_run(tmp_path / "run") == {"old": {"a": 1.0}}
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("q1 Q0 b 2 0.5", "found 5 fields; expected 6"),
        ("q1 Q0 b 2 0.5 tag more", "found 7 fields; expected 6"),
        ("q1 Q0 b 2 high tag", "found score 'high'"),
        ("q1 Q0 b 2 nan tag", "found score 'nan'"),
        ("q1 Q0 b 2 inf tag", "found score 'inf'"),
        ("q1 Q0 a 2 0.5 tag", "'a' occurs a second time for query 'q1'"),
    ],
)
def test_a_malformed_run_is_refused_with_file_and_line(tmp_path, line, message):
    path = tmp_path / "run"
    path.write_text(f"q1 Q0 a 1 1.0 tag\n\n{line}\n")
    with pytest.raises(DataFormatError, match=f"^{re.escape(str(path))}:3: .*{message}"):
        read_run(path)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("q1 0 b", "found 3 fields; expected 4"),
        ("q1 0 b 0.5", "found grade '0.5'"),
        ("q1 0 a 1", "'a' is judged twice for query 'q1'"),
    ],
)
def test_malformed_judgements_are_refused_with_file_and_line(tmp_path, line, message):
    path = tmp_path / "qrels"
    path.write_text(f"q1 0 a 1\n{line}\n")
    with pytest.raises(DataFormatError, match=f"^{re.escape(str(path))}:2: .*{message}"):
        read_qrels(path)


def test_a_gzip_file_that_is_none_or_is_cut_short_is_refused(tmp_path):
    path = tmp_path / "run.gz"
    path.write_text("q1 Q0 a 1 1.0 tag\n")
    with pytest.raises(DataFormatError, match="damaged gzip"):
        read_run(path)
    write_run(path, {f"q{n}": {"a": n / 7} for n in range(100)})
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataFormatError, match="damaged gzip"):
        read_run(path)


def test_bytes_that_are_not_utf8_are_refused(tmp_path):
    (tmp_path / "run").write_bytes("q1 Q0 é 1 1.0 tag\n".encode("latin-1"))
    with pytest.raises(DataFormatError, match="not UTF-8"):
        read_run(tmp_path / "run")


def test_a_missing_file_is_a_file_not_found_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_run(tmp_path / "nothing")
