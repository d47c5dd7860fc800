"""Training data from files, triples, collections and documents; what is written is read back."""

import gzip
import json
import re
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prorank_plugins.core.documents import Document
from prorank_plugins.core.errors import ConfigError, DataFormatError
from prorank_plugins.evaluation import BeirDataset
from prorank_plugins.training.examples import RankingGroup, RelevanceExample
from prorank_plugins.training.reading import read_examples, read_groups, write_examples, write_groups
from prorank_plugins.training.sources import groups_from_beir, groups_from_documents, groups_from_triples
from prorank_plugins.training.texts import normalized, text_of

PAIRS = [
    {"query": "q1", "document": "a", "label": 1},
    {"query": "q1", "document": "b", "label": 0, "id": "passed over"},
    {"query": "q2", "document": "a", "label": True},
]
GRADED = {"query": "q3", "documents": ["c", "d"], "grades": [0, 2], "teacher_scores": [-1.5, 4]}
TRIPLE = {"query": "q4", "positive": "e", "negatives": ["f", "g"]}
MIXED = [*PAIRS, GRADED, TRIPLE, {"query": "q5", "positive": ["h", "i"], "negatives": []}]


def write(path, records):
    """JSON lines, packed where the name says so; a record may be text."""
    lines = [record if isinstance(record, str) else json.dumps(record) for record in records]
    content = "".join(f"{line}\n" for line in lines).encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


@pytest.mark.parametrize("name", ["data.jsonl", "data.jsonl.gz"])
def test_every_form_of_record_gives_groups(tmp_path, name):
    assert list(read_groups(write(tmp_path / name, MIXED))) == [
        RankingGroup("q1", ["a", "b"], [1, 0]),
        RankingGroup("q2", ["a"], [1]),
        RankingGroup("q3", ["c", "d"], [0, 2], [-1.5, 4]),
        RankingGroup("q4", ["e", "f", "g"], [1, 0, 0]),
        RankingGroup("q5", ["h", "i"], [1, 1]),
    ]


def test_every_form_of_record_gives_examples(tmp_path):
    found = list(read_examples(str(write(tmp_path / "data.jsonl", MIXED))))
    assert [(example.query, example.document, example.label) for example in found] == [
        ("q1", "a", 1),
        ("q1", "b", 0),
        ("q2", "a", 1),
        ("q3", "c", 0),
        ("q3", "d", 1),
        ("q4", "e", 1),
        ("q4", "f", 0),
        ("q4", "g", 0),
        ("q5", "h", 1),
        ("q5", "i", 1),
    ]


def test_a_file_is_read_anew_by_every_loop_and_a_record_at_a_time(tmp_path):
    data = read_groups(write(tmp_path / "data.jsonl", [GRADED, TRIPLE, "broken"]))
    for _ in range(2):
        groups = iter(data)
        assert next(groups).query == "q3"
        assert next(groups).query == "q4"
        with pytest.raises(DataFormatError, match=r"data\.jsonl:3: not JSON"):
            next(groups)
    assert repr(data) == f"TrainingFile({str(tmp_path / 'data.jsonl')!r})"


def test_a_byte_order_mark_and_blank_lines_are_passed_over(tmp_path):
    path = write(tmp_path / "data.jsonl", ["\ufeff" + json.dumps(TRIPLE), "", "  ", TRIPLE])
    assert len(list(read_groups(path))) == 2


def test_pairs_of_one_query_that_are_apart_stay_apart(tmp_path):
    path = write(tmp_path / "data.jsonl", [PAIRS[0], TRIPLE, PAIRS[1], PAIRS[2], PAIRS[0]])
    assert [group.query for group in read_groups(path)] == ["q1", "q4", "q1", "q2", "q1"]


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ("{", "not JSON"),
        ("[1]", 'found list; accepted are {"query", "document", "label"}'),
        ("{}", "found a record with no fields; accepted are"),
        ({"query": "q", "document": "d"}, 'found a record with "query", "document"; accepted are'),
        ({"document": "d", "label": 1}, 'found a record with "document", "label"; accepted are'),
        ({**TRIPLE, **GRADED}, "accepted are"),
        ({"query": "q", "document": "d", "label": 2}, "label is 2; expected 0 or 1"),
        ({"query": "q", "document": "d", "label": 1.0}, "label is 1.0; expected 0 or 1"),
        ({"query": 3, "document": "d", "label": 1}, "query is int 3; expected a str"),
        ({"query": "q", "documents": [], "grades": []}, "has no documents"),
        ({"query": "q", "documents": ["d"], "grades": [1, 2]}, "has 2 grades for 1 documents"),
        ('{"query": "q", "documents": ["d"], "grades": [NaN]}', "grades[0] is nan; expected a finite"),
        ({"query": "q", "documents": {"d": 1}, "grades": [1]}, "documents is dict"),
        ({**GRADED, "teacher_scores": [1]}, "has 1 teacher_scores for 2 documents"),
        ({**TRIPLE, "negatives": "f"}, "negatives is str 'f'; expected a list of texts"),
        ({**TRIPLE, "positive": None}, "positive is NoneType None; expected a list of texts"),
        ({**TRIPLE, "negatives": ["f", "e"]}, "a positive among the negatives: str 'e'"),
        ({**TRIPLE, "negatives": ["f", 1]}, "documents[2] is int 1"),
    ],
)
@pytest.mark.parametrize("read", [read_examples, read_groups])
def test_a_malformed_record_is_refused_with_file_and_line(tmp_path, read, record, message):
    path = write(tmp_path / "data.jsonl", [TRIPLE, "", record])
    with pytest.raises(DataFormatError, match=rf"^{re.escape(str(path))}:3: .*{re.escape(message)}"):
        list(read(path))


def test_pairs_that_contradict_each_other_are_refused_with_their_first_line(tmp_path):
    path = write(tmp_path / "data.jsonl", [TRIPLE, PAIRS[0], {**PAIRS[0], "label": 0}])
    with pytest.raises(DataFormatError, match=r"data\.jsonl:2: the pairs from .* a positive among the"):
        list(read_groups(path))


def test_a_file_without_records_is_refused(tmp_path):
    with pytest.raises(DataFormatError, match=r"found no records; expected lines of"):
        list(read_examples(write(tmp_path / "data.jsonl", ["", " "])))


def test_a_missing_file_or_a_folder_is_refused_at_once(tmp_path):
    with pytest.raises(DataFormatError, match=r"none\.jsonl does not exist; expected a file of JSON lines"):
        read_groups(tmp_path / "none.jsonl")
    with pytest.raises(DataFormatError, match=r"is a folder; .* BEIR folders are read by groups_from_beir"):
        read_examples(tmp_path)


texts = st.text(st.characters(), max_size=8)
numbers = st.floats(allow_nan=False, allow_infinity=False)


@st.composite
def groups(draw):
    documents = draw(st.lists(texts, min_size=1, max_size=4, unique=True))
    grades = [draw(st.floats(0, 1e9)) for _ in documents]
    scores = draw(st.none() | st.just([draw(numbers) for _ in documents]))
    return RankingGroup(draw(texts), documents, grades, scores)


@given(st.lists(groups(), min_size=1, max_size=4), st.sampled_from(["x.jsonl", "x.jsonl.gz"]))
def test_groups_are_read_as_they_were_written(tmp_path_factory, written, name):
    path = tmp_path_factory.mktemp("groups") / name
    assert write_groups(path, iter(written)) == len(written)
    assert list(read_groups(path)) == written


@given(
    st.lists(st.builds(RelevanceExample, texts, texts, st.integers(0, 1)), min_size=1, max_size=4),
    st.sampled_from(["x.jsonl", "x.jsonl.gz"]),
)
def test_examples_are_read_as_they_were_written(tmp_path_factory, written, name):
    path = tmp_path_factory.mktemp("examples") / name
    assert write_examples(str(path), written) == len(written)
    assert list(read_examples(path)) == written


def test_half_a_surrogate_pair_survives(tmp_path):
    example = RelevanceExample("\ud800", "ü", 1)
    write_examples(tmp_path / "x.jsonl", [example])
    assert list(read_examples(tmp_path / "x.jsonl")) == [example]


def test_a_failing_writer_leaves_the_old_file(tmp_path):
    path = write(tmp_path / "data.jsonl", [TRIPLE])
    with pytest.raises(ConfigError, match="item 1 is RelevanceExample; expected RankingGroup"):
        write_groups(path, [RankingGroup("q", ["a"], [1]), RelevanceExample("q", "a", 1)])
    assert [group.query for group in read_groups(path)] == ["q4"]
    assert [file.name for file in tmp_path.iterdir()] == ["data.jsonl"]


def test_triples_become_groups():
    assert list(groups_from_triples([("q", "a", ["b"]), ["r", ["a", "b"], ()]])) == [
        RankingGroup("q", ["a", "b"], [1, 0]),
        RankingGroup("r", ["a", "b"], [1, 1]),
    ]


@pytest.mark.parametrize(
    ("triple", "message"),
    [
        (("q", "a"), "triples[1] is a tuple of 2; expected (query, positive, negatives)"),
        ("qab", "triples[1] is a str; expected (query, positive, negatives)"),
        (("q", "a", "b"), "triples[1]: negatives is str 'b'; expected a list of texts"),
        (("q", "a", ["a"]), "triples[1]: RankingGroup of 'q' has a positive among the negatives"),
        (("q", [], []), "triples[1]: RankingGroup of 'q' has no documents"),
    ],
)
def test_a_malformed_triple_is_refused_with_its_position(triple, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        list(groups_from_triples([("q", "a", ["b"]), triple]))


def test_a_collection_gives_the_judged_documents_of_each_query():
    documents = [Document("1", "a"), Document("2", "b"), Document("3", "c"), Document("copy of 1", "a")]
    queries = {"q2": "two", "q1": "one", "q3": "three"}
    qrels = {
        "q1": {"2": 0, "1": 2, "copy of 1": 0, "absent": 1},
        "q2": {"3": -1},
        "q3": {"absent": 1},
    }
    assert list(groups_from_beir(BeirDataset("tiny", documents, queries, qrels))) == [
        RankingGroup("two", ["c"], [0]),
        RankingGroup("one", ["b", "a"], [0, 2]),
    ]


def test_a_collections_folder_is_read_by_split(tmp_path):
    (tmp_path / "qrels").mkdir()
    write(tmp_path / "corpus.jsonl", [{"_id": "1", "text": "a"}])
    write(tmp_path / "queries.jsonl", [{"_id": "q", "text": "one"}])
    (tmp_path / "qrels" / "train.tsv").write_text("q\t1\t1\n", "utf-8")
    assert list(groups_from_beir(tmp_path)) == [RankingGroup("one", ["a"], [1])]
    with pytest.raises(DataFormatError, match="no split 'test'"):
        groups_from_beir(tmp_path, split="test")


SOURCES = [
    "plain",
    Document("1", "own"),
    SimpleNamespace(page_content="langchain"),
    SimpleNamespace(get_content=lambda: "llama_index"),
]


def test_documents_of_every_kind_give_a_group_for_each_question():
    groups = groups_from_documents(SOURCES, lambda text: [f" what is {text}? ", "", "\n", f"why {text}?"])
    assert [(group.query, group.documents, group.grades) for group in groups] == [
        (question.format(text), (text,), (1.0,))
        for text in ("plain", "own", "langchain", "llama_index")
        for question in ("what is {}?", "why {}?")
    ]


def test_questions_are_asked_for_only_when_wanted():
    asked = []
    groups = groups_from_documents(["a", "b"], lambda text: asked.append(text) or [text])
    assert asked == []
    next(groups)
    assert asked == ["a"]


def test_something_without_a_text_is_refused():
    for item in (7, None, b"bytes", SimpleNamespace(page_content=3), SimpleNamespace(get_content="no")):
        with pytest.raises(ConfigError, match="without a text; expected a str"):
            text_of(item)


@pytest.mark.parametrize("answer", ["one question?", None, [1], {"a": 1}])
def test_an_answer_that_is_no_list_of_questions_is_refused(answer):
    with pytest.raises(ConfigError, match=r"questions returned .* for document 0; expected a list of str"):
        list(groups_from_documents(["a"], lambda text: answer))


def test_questions_must_be_callable():
    with pytest.raises(ConfigError, match="questions is list; expected a callable"):
        groups_from_documents(["a"], ["q"])


def test_near_duplicates_differ_in_case_and_white_space_only():
    assert normalized(" The\tCAT\n sat ") == normalized("the cat sat") != normalized("the cats at")
