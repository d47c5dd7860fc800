import json
import re
import subprocess
import sys
from importlib.resources import files

import pytest

from prorank_plugins.core import errors
from prorank_plugins.evaluation import stdlib
from prorank_plugins.evaluation.stdlib import stdlib_documents
from prorank_plugins.evaluation.stdlib_qa import load_stdlib_qa, load_stdlib_questions

# On Windows kill is another name of terminate, and an object appears once.
ABSENT_HERE = {"subprocess.Popen.kill"} if sys.platform == "win32" else set()


@pytest.fixture(scope="module")
def documents():
    return stdlib_documents()


@pytest.fixture(scope="module")
def by_id(documents):
    return {document.id: document for document in documents}


@pytest.fixture(scope="module")
def dataset():
    return load_stdlib_qa()


def test_the_corpus_has_thousands_of_documents_sorted_by_unique_ids(documents):
    ids = [document.id for document in documents]
    assert len(ids) > 4000
    assert ids == sorted(set(ids))


@pytest.mark.parametrize(
    ("id", "kind", "module"),
    [
        ("zipfile", "module", "zipfile"),
        ("os.path", "module", "os.path"),
        ("zipfile.ZipFile", "class", "zipfile"),
        ("zipfile.ZipFile.open", "method", "zipfile"),
        ("str.split", "method", "builtins"),
        ("dict.fromkeys", "method", "builtins"),
        ("sorted", "function", "builtins"),
        ("open", "function", "builtins"),
        ("int", "class", "builtins"),
        ("OSError", "class", "builtins"),
        ("os.path.join", "function", "os.path"),
        ("os.makedirs", "function", "os"),
        ("pathlib.Path.read_text", "method", "pathlib"),
        ("pathlib.PurePath.suffix", "property", "pathlib"),
        ("collections.OrderedDict", "class", "collections"),
        ("collections.abc.Mapping.get", "method", "collections.abc"),
        ("itertools.chain", "class", "itertools"),
        ("functools.lru_cache", "function", "functools"),
        ("datetime.datetime.strptime", "method", "datetime"),
        ("io.StringIO", "class", "io"),
        ("io.IOBase.seek", "method", "io"),
        ("socket.socket", "class", "socket"),
        ("socket.socket.accept", "method", "socket"),
        ("asyncio.gather", "function", "asyncio"),
        ("concurrent.futures.Executor.submit", "method", "concurrent.futures"),
        ("unittest.TestCase.assertRaises", "method", "unittest"),
        ("unittest.mock.patch", "function", "unittest.mock"),
        ("random.choice", "function", "random"),
        ("secrets.choice", "function", "secrets"),
        ("typing.Optional", "class", "typing"),
        ("urllib.request.urlopen", "function", "urllib.request"),
        ("xml.etree.ElementTree.iterparse", "function", "xml.etree.ElementTree"),
    ],
)
def test_known_objects_have_their_public_name_kind_and_module(by_id, id, kind, module):
    assert by_id[id].metadata == {"kind": kind, "module": module}


def test_a_text_is_the_name_with_the_signature_and_the_docstring(by_id):
    assert by_id["textwrap.dedent"].text.startswith(
        "textwrap.dedent(text)\nRemove any common leading whitespace from every line in `text`."
    )
    assert by_id["str.zfill"].text.startswith("str.zfill(width, /)\nPad a numeric string with zeros")
    assert by_id["dict.fromkeys"].text.startswith("dict.fromkeys(iterable, value=None, /)\n")


def test_every_document_says_more_than_its_name(documents):
    assert all(document.text.startswith(document.id) for document in documents)
    assert all(document.text.partition("\n")[2].strip() for document in documents)


def test_no_part_of_an_id_is_private(documents):
    assert not [document.id for document in documents if re.search(r"(^|\.)_", document.id)]


def test_an_object_published_under_several_names_appears_once(by_id):
    # io.open is open, unittest.case.TestCase is unittest.TestCase, random.Random.choice is random.choice,
    # and IOError is OSError.
    aliases = {"io.open", "unittest.case.TestCase", "random.Random.choice", "IOError", "posixpath.join"}
    assert not aliases & by_id.keys()


def test_a_docstring_copied_from_a_base_class_is_not_repeated(by_id):
    assert "mailbox.Mailbox.lock" in by_id
    assert "mailbox.mbox.lock" not in by_id


def test_modules_with_side_effects_are_left_out(documents):
    roots = {document.id.partition(".")[0] for document in documents}
    assert not roots & {
        "antigravity",
        "this",
        "idlelib",
        "tkinter",
        "turtle",
        "test",
        "ensurepip",
        "distutils",
    }


def test_no_signature_shows_an_address_or_where_python_is_installed(documents):
    headers = [document.text.partition("\n")[0] for document in documents]
    assert not [header for header in headers if " at 0x" in header or sys.base_prefix in header]


def test_listing_the_library_imports_nothing_into_this_process():
    before = set(sys.modules)
    stdlib_documents()
    assert set(sys.modules) == before


def test_two_listings_are_equal(documents):
    assert stdlib_documents() == documents


def test_a_failing_child_process_is_reported_with_its_error_output(monkeypatch, tmp_path):
    script = tmp_path / "walk.py"
    script.write_text("raise SystemExit('no library today')", encoding="utf-8")
    monkeypatch.setattr(stdlib, "_WALK", script)
    with pytest.raises(errors.DataFormatError, match=r"(?s)exit status 1.*no library today"):
        stdlib_documents()


def test_output_that_is_not_a_listing_is_reported_with_its_line(monkeypatch, tmp_path):
    script = tmp_path / "walk.py"
    script.write_text("print('hello')", encoding="utf-8")
    monkeypatch.setattr(stdlib, "_WALK", script)
    with pytest.raises(errors.DataFormatError, match=r"line 1 .*'hello'"):
        stdlib_documents()


def test_an_interpreter_that_cannot_be_started_is_reported(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")
    with pytest.raises(errors.DataFormatError, match="nonexistent"):
        stdlib_documents()
    monkeypatch.setattr(sys, "executable", "")
    with pytest.raises(errors.DataFormatError, match=r"sys\.executable is empty"):
        stdlib_documents()


def test_what_modules_print_while_imported_does_not_reach_the_listing():
    child = subprocess.run(
        [sys.executable, "-I", "-S", str(stdlib._WALK)], capture_output=True, encoding="utf-8", check=True
    )
    assert all(json.loads(line)["id"] for line in child.stdout.splitlines())


def test_there_are_hundreds_of_questions_with_unique_ids_and_texts():
    file = files("prorank_plugins.evaluation") / "data" / "stdlib_qa.jsonl"
    content = file.read_text(encoding="utf-8")
    rows = [json.loads(line) for line in content.splitlines()]
    assert len(rows) >= 300
    assert len({row["id"] for row in rows}) == len(rows)
    assert len({row["query"].casefold() for row in rows}) == len(rows)
    assert all(set(row) == {"id", "query", "relevant"} for row in rows)


def test_every_question_has_a_direct_answer_and_only_grades_one_and_two():
    queries, qrels = load_stdlib_questions()
    assert queries.keys() == qrels.keys()
    for query, relevant in qrels.items():
        assert 2 in relevant.values(), queries[query]
        assert set(relevant.values()) <= {1, 2}, queries[query]


def test_every_judged_object_is_in_the_corpus(by_id):
    _, qrels = load_stdlib_questions()
    assert {id for relevant in qrels.values() for id in relevant} - by_id.keys() == ABSENT_HERE


def test_no_question_is_the_first_line_of_a_docstring(documents):
    queries, _ = load_stdlib_questions()
    first_lines = {document.text.split("\n")[1].strip(" .").casefold() for document in documents}
    assert not {text for text in queries.values() if text.strip(" .?").casefold() in first_lines}


def test_the_data_set_joins_the_corpus_and_all_questions(dataset, documents):
    queries, qrels = load_stdlib_questions()
    assert dataset.name == "stdlib-qa"
    assert dataset.documents == documents
    assert dataset.queries == queries
    assert dataset.qrels == {
        query: {id: grade for id, grade in relevant.items() if id not in ABSENT_HERE}
        for query, relevant in qrels.items()
    }


def test_an_object_that_this_python_lacks_is_not_asked_for(monkeypatch, documents):
    remaining = [document for document in documents if not document.id.startswith("sqlite3")]
    monkeypatch.setattr("prorank_plugins.evaluation.stdlib_qa.stdlib_documents", lambda: remaining)
    dataset = load_stdlib_qa()
    texts = set(dataset.queries.values())
    assert "use my python function inside sql" not in texts
    assert "unpack a tarball into a folder" in texts
    assert dataset.queries.keys() == dataset.qrels.keys()
    assert not {id for relevant in dataset.qrels.values() for id in relevant if id.startswith("sqlite3")}
