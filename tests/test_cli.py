"""The command `prorank`: what users type, see and get as errors."""

from __future__ import annotations

import gzip
import io
import json
import os
import subprocess
import sys

import pytest

from prorank_plugins import BM25, BMX, Analyzer, AnalyzerConfig, LexicalRetriever
from prorank_plugins.cli import main
from prorank_plugins.cli.options import describe_analyzer
from prorank_plugins.cli.tables import clip, columns, display_width, one_line, size_in_words
from prorank_plugins.core.errors import ProRankError
from prorank_plugins.evaluation import evaluate, load_beir, read_run, write_qrels, write_run

RECORDS = [
    {"id": "keys", "text": "Rotate the signing keys every month.", "metadata": {"lang": "en", "year": 2024}},
    {
        "id": "backup",
        "title": "Backups",
        "text": "Copy the database every night.",
        "year": 2025,
        "lang": "en",
    },
    {"id": "schluessel", "text": "Keys heißen Schlüssel; keys, keys, keys.", "lang": "de", "year": "2024"},
    {"id": "coffee", "text": "Descale the coffee machine.\nThen rinse it twice.", "draft": True},
]
QRELS = {"q1": {"keys": 2, "schluessel": 1}, "q2": {"backup": 1}, "q3": {"coffee": 1}}
QUERIES = {"q1": "how to rotate keys", "q2": "database copy", "q3": "rinse the coffee machine every night"}


@pytest.fixture
def prorank(capsys):
    """Run a command line that works; returns what it prints."""

    def run(*argv):
        code = main([str(arg) for arg in argv])
        out, err = capsys.readouterr()
        assert code == 0, err
        return out

    return run


@pytest.fixture
def fails(capsys):
    """Run a command line that fails; returns its message, which is one line."""

    def run(*argv):
        code = main([str(arg) for arg in argv])
        out, err = capsys.readouterr()
        assert code == 2
        assert err.startswith("prorank: error: ")
        assert err.count("\n") == 1
        assert "Traceback" not in out + err
        return err.removeprefix("prorank: error: ").strip()

    return run


@pytest.fixture
def typed(monkeypatch):
    """Put bytes on the standard input, which is no terminal."""

    def pipe(text):
        stream = io.TextIOWrapper(io.BytesIO(text if isinstance(text, bytes) else text.encode()), "ascii")
        monkeypatch.setattr("sys.stdin", stream)

    return pipe


@pytest.fixture
def terminal(monkeypatch):
    """Put a terminal on the standard input, at which these lines are typed."""

    def type_lines(*lines):
        stream = io.StringIO("".join(f"{line}\n" for line in lines))
        stream.isatty = lambda: True
        monkeypatch.setattr("sys.stdin", stream)

    return type_lines


def jsonl(records):
    return "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)


@pytest.fixture
def notes(tmp_path):
    path = tmp_path / "notes.jsonl"
    path.write_text(jsonl(RECORDS), encoding="utf-8")
    return path


@pytest.fixture
def index(tmp_path, notes, prorank):
    path = tmp_path / "index"
    prorank("index", notes, "--output", path)
    return path


@pytest.fixture
def beir(tmp_path):
    folder = tmp_path / "tiny"
    (folder / "qrels").mkdir(parents=True)
    corpus = jsonl(
        {"_id": record["id"], "title": record.get("title", ""), "text": record["text"], "metadata": {}}
        for record in RECORDS
    )
    (folder / "corpus.jsonl.gz").write_bytes(gzip.compress(corpus.encode()))
    queries = {**QUERIES, "unjudged": "nothing"}
    (folder / "queries.jsonl").write_text(
        jsonl({"_id": id, "text": text} for id, text in queries.items()), encoding="utf-8"
    )
    judged = [f"{query}\t{id}\t{grade}" for query, grades in QRELS.items() for id, grade in grades.items()]
    (folder / "qrels" / "test.tsv").write_text("\n".join(["query-id\tcorpus-id\tscore", *judged]) + "\n")
    return folder


def hits_of(output):
    return [json.loads(line) for line in output.splitlines()]


# The command itself


def test_the_module_runs_as_a_command():
    child = subprocess.run(
        [sys.executable, "-m", "prorank_plugins.cli", "--help"], capture_output=True, text=True, check=True
    )
    for command in ("index", "search", "evaluate", "demo"):
        assert f"    {command} " in child.stdout
    assert child.stderr == ""


def test_importing_the_command_loads_no_compiler():
    code = "import sys, prorank_plugins.cli; print(*{'numba', 'torch', 'transformers'} & set(sys.modules))"
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert child.stdout.strip() == ""


@pytest.mark.parametrize("command", ["index", "search", "evaluate", "demo"])
def test_every_command_explains_itself_with_examples(command, prorank):
    shown = prorank(command, "--help")
    assert f"usage: prorank {command}" in shown
    assert "examples:\n  prorank " in shown


def test_the_version_is_printed(prorank):
    assert prorank("--version").startswith("prorank ")


@pytest.mark.parametrize("argv", [[], ["juggle"], ["index"], ["search", "x", "--format", "xml"]])
def test_a_wrong_command_line_exits_with_2_and_shows_the_usage(argv, capsys):
    assert main(argv) == 2
    assert "usage: prorank" in capsys.readouterr().err


def test_an_interrupt_ends_in_one_line(monkeypatch, index, fails):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("prorank_plugins.cli.search.chosen_queries", interrupt)
    assert fails("search", index, "keys") == "interrupted"


def test_a_reader_that_closes_the_pipe_gets_no_traceback(index):
    read_end, write_end = os.pipe()
    os.close(read_end)
    with os.fdopen(write_end, "wb") as closed:
        child = subprocess.run(
            [sys.executable, "-m", "prorank_plugins.cli", "search", str(index), "keys"],
            stdout=closed,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert child.returncode == 2
    assert child.stderr == ("prorank: error: the reader of the output closed it; the rest was not written\n")


def test_a_terminal_without_umlauts_still_gets_the_results(index):
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    for form in ("table", "json"):
        child = subprocess.run(
            [sys.executable, "-m", "prorank_plugins.cli", "search", index, "heißen", "--format", form],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        assert "schluessel" in child.stdout
    assert json.loads(child.stdout)["text"] == RECORDS[2]["text"]


@pytest.mark.parametrize(
    "argv", [["-k", 1, "{index}", "keys"], ["{index}", "-k", 1, "keys"], ["{index}", "keys", "-k", 1]]
)
def test_options_stand_before_between_and_after_the_other_arguments(argv, index, prorank):
    shown = prorank("search", *(index if arg == "{index}" else arg for arg in argv))
    assert [line.split()[2] for line in shown.splitlines()] == ["schluessel"]


# prorank index


def test_indexing_tells_counts_speed_and_size(tmp_path, notes, prorank):
    shown = prorank("index", notes, "--output", tmp_path / "index")
    for part in ("4 with ", "documents/s", "kB in", "en,stop_words,stemming", "BMX(alpha=None"):
        assert part in shown


def test_an_index_holds_what_the_lines_hold(index):
    documents = {document.id: document for document in LexicalRetriever.load(index).documents}
    assert list(documents) == ["keys", "backup", "schluessel", "coffee"]
    assert documents["backup"].text == "Backups Copy the database every night."
    assert documents["backup"].metadata == {"title": "Backups", "year": 2025, "lang": "en"}
    assert documents["keys"].metadata == {"lang": "en", "year": 2024}
    assert documents["coffee"].metadata == {"draft": True}


@pytest.mark.parametrize("source", ["plain", "packed", "stdin"])
def test_lines_come_from_a_file_a_packed_file_or_the_standard_input(source, tmp_path, notes, typed, prorank):
    path = {"plain": notes, "packed": tmp_path / "notes.jsonl.gz", "stdin": "-"}[source]
    if source == "packed":
        path.write_bytes(gzip.compress(notes.read_bytes()))
    typed(notes.read_bytes())
    prorank("index", path, "--output", tmp_path / "index")
    retriever = LexicalRetriever.load(tmp_path / "index")
    assert [document.text for document in retriever.documents][2] == RECORDS[2]["text"]


def test_an_index_of_a_beir_folder_equals_one_of_its_loaded_documents(tmp_path, beir, prorank):
    prorank("index", beir, "--output", tmp_path / "index")
    assert list(LexicalRetriever.load(tmp_path / "index").documents) == load_beir(beir).documents


def test_documents_without_an_id_are_named_by_their_line(tmp_path, prorank):
    first, second = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    first.write_text('\ufeff{"text": "one"}\n\n{"text": "two"}\n', encoding="utf-8")
    second.write_text('{"text": "three"}\n{"text": "four", "id": 7}\n')
    prorank("index", first, "--output", tmp_path / "one")
    assert list(LexicalRetriever.load(tmp_path / "one").index.ids) == ["1", "3"]
    prorank("index", first, second, "--output", tmp_path / "both")
    ids = ["a.jsonl:1", "a.jsonl:3", "b.jsonl:1", "7"]
    assert list(LexicalRetriever.load(tmp_path / "both").index.ids) == ids


def test_id_and_text_fields_can_be_named(tmp_path, prorank):
    path = tmp_path / "pages.jsonl"
    path.write_text(
        '{"url": "/a", "id": 1, "heading": "Apples", "body": "are red", "title": "Fruit"}\n'
        '{"url": "/b", "heading": null, "body": "Pears"}\n'
    )
    fields = ["--id-field", "url", "--text-field", "heading", "body"]
    prorank("index", path, "--output", tmp_path / "index", *fields)
    apples, pears = LexicalRetriever.load(tmp_path / "index").documents
    assert (apples.id, apples.text, pears.text) == ("/a", "Apples are red", "Pears")
    assert apples.metadata == {"id": 1, "title": "Fruit"}


def test_analysis_options_reach_the_index(tmp_path, notes, prorank):
    prorank(
        "index", notes, "--output", tmp_path / "index", "--language", "de", "--split-identifiers",
        "--no-stop-words", "--no-stemming", "--fold-accents", "--min-length", "2",
        "--ngrams", "unigram+bigram",
    )  # fmt: skip
    assert LexicalRetriever.load(tmp_path / "index").index.analyzer.config == AnalyzerConfig(
        "de", stop_words=False, stemming=False, ngrams="unigram+bigram", split_identifiers=True,
        fold_accents=True, min_length=2,
    )  # fmt: skip


def test_no_language_splits_words_only(tmp_path, notes, prorank):
    prorank("index", notes, "--output", tmp_path / "index", "--language", "none")
    assert LexicalRetriever.load(tmp_path / "index").index.analyzer.config == AnalyzerConfig(language=None)


@pytest.mark.parametrize(
    ("options", "scorer"),
    [
        ([], BMX()),
        (
            [
                "--alpha",
                "1",
                "--beta",
                "0.5",
                "--variant",
                "paper",
                "--repeats",
                "merge",
                "--normalize",
                "bound",
            ],
            BMX(alpha=1, beta=0.5, variant="paper", repeats="merge", normalize="bound"),
        ),
        (["--scorer", "bm25", "--k1", "0.9", "--b", "0.4"], BM25(k1=0.9, b=0.4)),
    ],
)
def test_scorer_options_reach_the_index(options, scorer, tmp_path, notes, prorank):
    prorank("index", notes, "--output", tmp_path / "index", *options)
    assert LexicalRetriever.load(tmp_path / "index").scorer == scorer


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--scorer", "bm25", "--alpha", "1"], "--alpha is for --scorer bmx; the scorer here is bm25"),
        (["--k1", "1"], "--k1 is for --scorer bm25"),
        (["--scorer", "bm25", "--normalize", "paper"], "normalize must be one of 'none', 'bound'"),
        (["--language", "klingon"], "unknown language 'klingon'"),
        (["--min-length", "0"], "min_length"),
    ],
)
def test_impossible_options_are_refused(options, message, tmp_path, notes, fails):
    assert message in fails("index", notes, "--output", tmp_path / "index", *options)
    assert not (tmp_path / "index").exists()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"text": "cut off', "not JSON"),
        ("[1, 2]", "found list; expected a JSON object"),
        ('{"id": "b"}', '"text" is missing'),
        ('{"id": "b", "text": 3}', '"text" is 3; expected a string'),
        ('{"id": "b", "title": 3, "text": "x"}', '"title" is 3; expected a string'),
        ('{"id": 1.5, "text": "x"}', '"id" is 1.5; expected a string or a whole number'),
        ('{"id": null, "text": "x"}', '"id" is None'),
        ('{"id": "a", "text": "x"}', "id 'a' occurs a second time"),
        ('{"id": "b", "text": "x", "metadata": "y"}', "\"metadata\" is 'y'; expected an object"),
    ],
)
def test_a_malformed_line_is_named_with_its_file(line, message, tmp_path, fails):
    path = tmp_path / "bad.jsonl"
    path.write_text(f'{{"id": "a", "text": "x"}}\n\n{line}\n')
    found = fails("index", path, "--output", tmp_path / "index")
    assert found.startswith(f"{path}:3: ")
    assert message in found
    assert not (tmp_path / "index").exists()


def test_a_malformed_line_of_the_standard_input_is_named(tmp_path, typed, fails):
    typed('{"text": "x"}\n{"text"}\n')
    assert fails("index", "-", "--output", tmp_path / "index").startswith("<stdin>:2: not JSON")
    typed(b'{"text": "x"}\n{"text": "\xff"}\n')
    assert "<stdin>: not UTF-8" in fails("index", "-", "--output", tmp_path / "index")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--id-field", "key"], '"key" is missing'),
        (["--text-field", "b", "c"], "none of the text fields b, c"),
    ],
)
def test_a_field_that_is_asked_for_must_be_there(options, message, tmp_path, notes, fails):
    found = fails("index", notes, "--output", tmp_path / "index", *options)
    assert found.startswith(f"{notes}:1: ")
    assert message in found


def test_a_missing_file_is_named(tmp_path, fails):
    path = tmp_path / "absent.jsonl"
    found = fails("index", path, "--output", tmp_path / "index")
    assert found == f"{path}: No such file or directory"


def test_a_damaged_packed_file_is_named(tmp_path, notes, fails):
    path = tmp_path / "cut.jsonl.gz"
    path.write_bytes(gzip.compress(notes.read_bytes())[:-12])
    assert fails("index", path, "--output", tmp_path / "index").startswith(f"{path}: damaged gzip stream")


def test_an_input_without_documents_is_refused(tmp_path, fails):
    path = tmp_path / "empty.jsonl"
    path.touch()
    assert "found no documents" in fails("index", path, "--output", tmp_path / "index")


def test_a_folder_without_a_corpus_is_refused(tmp_path, fails):
    assert "without corpus.jsonl" in fails("index", tmp_path, "--output", tmp_path / "index")


def test_the_standard_input_is_read_once(tmp_path, typed, fails):
    typed("")
    assert "once only" in fails("index", "-", "-", "--output", tmp_path / "index")


def test_a_folder_with_other_content_is_left_alone(tmp_path, notes, fails):
    assert "other content ('notes.jsonl')" in fails("index", notes, "--output", tmp_path)
    assert "is a file" in fails("index", notes, "--output", notes)
    assert [entry.name for entry in tmp_path.iterdir()] == ["notes.jsonl"]


def test_an_index_replaces_an_index(tmp_path, index, prorank):
    other = tmp_path / "other.jsonl"
    other.write_text('{"id": "new", "text": "words"}\n')
    prorank("index", other, "--output", index)
    assert list(LexicalRetriever.load(index).index.ids) == ["new"]


def test_progress_bars_are_drawn_on_the_standard_error_when_asked_for(tmp_path, notes, capsys):
    for option, is_drawn in (("--progress", True), ("--no-progress", False)):
        assert main(["index", str(notes), "--output", str(tmp_path / "index"), option]) == 0
        out, err = capsys.readouterr()
        assert ("indexing" in err) == is_drawn
        assert "it/s" not in out


# prorank search


def test_a_table_ranks_documents_with_score_id_and_text(index, prorank):
    lines = prorank("search", index, "rotating keys").splitlines()
    assert [line.split()[0] for line in lines] == ["1", "2"]
    assert [line.split()[2] for line in lines] == ["keys", "schluessel"]
    assert lines[0].endswith("Rotate the signing keys every month.")


def test_a_table_keeps_within_the_terminal(index, prorank, monkeypatch):
    monkeypatch.setenv("COLUMNS", "50")
    lines = prorank("search", index, "keys machine").splitlines()
    assert len(lines) == 3
    assert all(display_width(line) <= 50 for line in lines)
    assert sum("…" in line for line in lines) == 3


def test_json_lines_hold_the_whole_hit(index, prorank):
    expected = LexicalRetriever.load(index).retrieve("rotating keys", 10)
    hits = hits_of(prorank("search", index, "rotating keys", "--format", "json"))
    assert hits == [
        {
            "query_id": "1",
            "query": "rotating keys",
            "rank": rank,
            "id": hit.document.id,
            "score": hit.score,
            "text": hit.document.text,
            "metadata": hit.document.metadata,
        }
        for rank, hit in enumerate(expected, start=1)
    ]


def test_a_trec_run_has_six_columns_on_stdout_and_in_a_file(tmp_path, index, prorank):
    shown = prorank("search", index, "rotating keys", "--format", "trec", "--tag", "mine")
    assert [line.split()[:4] for line in shown.splitlines()] == [
        ["1", "Q0", "keys", "1"],
        ["1", "Q0", "schluessel", "2"],
    ]
    assert shown.splitlines()[0].endswith(" mine")
    path = tmp_path / "run.trec"
    assert (
        prorank("search", index, "rotating keys", "--format", "trec", "--tag", "mine", "--output", path) == ""
    )
    assert path.read_text() == shown


@pytest.mark.parametrize("form", ["table", "json"])
def test_output_goes_to_a_file_as_it_is_printed(form, tmp_path, index, prorank):
    shown = prorank("search", index, "keys", "--format", form)
    prorank("search", index, "keys", "--format", form, "--output", tmp_path / "out.gz")
    assert gzip.decompress((tmp_path / "out.gz").read_bytes()).decode() == shown


def test_half_a_surrogate_pair_and_control_characters_are_shown_escaped_or_not_at_all(tmp_path, prorank):
    path = tmp_path / "odd.jsonl"
    path.write_text('{"id": "a\\u001b[31m", "text": "odd \\ud800 text"}\n')
    prorank("index", path, "--output", tmp_path / "index")
    assert prorank("search", tmp_path / "index", "odd").endswith("  a [31m  odd text\n")
    prorank("search", tmp_path / "index", "odd", "--format", "json", "--output", tmp_path / "hits.jsonl")
    assert json.loads((tmp_path / "hits.jsonl").read_text())["text"] == "odd \ud800 text"


@pytest.mark.parametrize(
    "content",
    [
        "keys\n\ncoffee machine\n",
        '{"id": 1, "text": "keys"}\n{"_id": "3", "text": "coffee machine"}\n',
        '{"text": "keys"}\n\n{"text": "coffee machine"}\n',
    ],
)
@pytest.mark.parametrize("source", ["file", "packed", "stdin", "dash"])
def test_queries_come_as_text_or_json_from_a_file_or_the_standard_input(
    content, source, tmp_path, index, typed, prorank
):
    path = tmp_path / ("queries.gz" if source == "packed" else "queries")
    path.write_bytes(gzip.compress(content.encode()) if source == "packed" else content.encode())
    typed(content)
    options = {"stdin": [], "dash": ["--queries", "-"]}.get(source, ["--queries", path])
    hits = hits_of(prorank("search", index, "-k", 1, "--format", "json", "--threads", 2, *options))
    assert [(hit["query_id"], hit["query"], hit["id"]) for hit in hits] == [
        ("1", "keys", "schluessel"),
        ("3", "coffee machine", "coffee"),
    ]


def test_several_queries_make_a_table_each(index, typed, prorank):
    typed("keys\nunheard-of\n")
    shown = prorank("search", index)
    assert shown.startswith("1: keys\n1  ")
    assert shown.endswith("\n\n2: unheard-of\nno document matches\n")


@pytest.mark.parametrize("k", [0, 1, 2, 100])
def test_k_limits_the_hits(k, index, prorank):
    assert len(hits_of(prorank("search", index, "keys coffee", "-k", k, "--format", "json"))) == min(k, 3)


@pytest.mark.parametrize(
    ("conditions", "found"),
    [
        (["lang=en"], {"keys", "backup"}),
        (["year=2024"], {"keys", "schluessel"}),
        (["year=2024", "lang=en"], {"keys"}),
        (["year=2024", "year=2025"], {"keys", "schluessel", "backup"}),
        (["draft=true"], {"coffee"}),
        (["lang=fr"], set()),
        (["absent=x"], set()),
    ],
)
def test_filters_leave_only_documents_with_these_metadata(conditions, found, index, prorank):
    query = "keys database coffee"
    hits = hits_of(prorank("search", index, query, "--format", "json", "--filter", *conditions))
    assert {hit["id"] for hit in hits} == found
    repeated = [part for condition in conditions for part in ("--filter", condition)]
    assert hits_of(prorank("search", index, *repeated, "--format", "json", query)) == hits


def test_explain_takes_the_best_score_apart_or_that_of_a_document(index, prorank):
    retriever = LexicalRetriever.load(index)
    shown = prorank("search", index, "rotating keys", "--explain")
    assert shown.endswith(f"\n\n{retriever.index.explain('rotating keys', 'keys')}\n")
    shown = prorank("search", index, "rotating keys", "--explain", "coffee")
    assert shown.endswith(f"\n\n{retriever.index.explain('rotating keys', 'coffee')}\n")


def test_nothing_to_explain_is_no_error(index, prorank):
    assert prorank("search", index, "unheard-of", "--explain") == "no document matches\n"


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["keys", "--explain", "nobody"], "id 'nobody' is not among the 4 documents"),
        (["keys", "--format", "json", "--explain"], "--explain is for --format table"),
        (["keys", "--filter", "year"], "--filter takes KEY=VALUE, found 'year'"),
        (["keys", "--queries", "x"], "not both"),
        (["keys", "-k", "-1"], "k must be a whole number of at least 0, found -1"),
        (["keys", "--threads", "0"], "n_threads"),
        (["keys", "--format", "trec", "--tag", "two words"], "tag 'two words'"),
        (["keys", "--output", "absent/file.txt"], "absent is not a folder"),
        (["--queries", "absent.txt"], "absent.txt: No such file or directory"),
    ],
)
def test_searches_that_make_no_sense_are_refused(argv, message, index, fails):
    assert message in fails("search", index, *argv)


def test_a_malformed_query_is_named_with_its_file(tmp_path, index, fails):
    path = tmp_path / "queries.jsonl"
    for line, message in [
        ('{"id": "b"}', '"text" is missing'),
        ('{"id": "a", "text": "x"}', "id 'a' occurs a second time"),
        ("plain", "not JSON"),
    ]:
        path.write_text(f'{{"id": "a", "text": "keys"}}\n{line}\n')
        found = fails("search", index, "--queries", path)
        assert found.startswith(f"{path}:2: ")
        assert message in found


def test_a_search_without_a_query_at_a_terminal_is_refused(index, terminal, fails):
    terminal()
    assert "nothing to search for" in fails("search", index)


def test_a_broken_index_is_refused(tmp_path, index, fails):
    assert "there is no saved index" in fails("search", tmp_path / "absent", "keys")
    assert "holds no manifest.json" in fails("search", tmp_path, "keys")
    damaged = next(index.rglob("segment_0.bin"))
    damaged.write_bytes(damaged.read_bytes()[:-1])
    assert "segment_0.bin has" in fails("search", index, "keys")


# prorank evaluate


@pytest.fixture
def run_file(tmp_path, beir, prorank):
    prorank("index", beir, "--output", tmp_path / "beir-index")
    path = tmp_path / "bmx.trec"
    prorank(
        "search",
        tmp_path / "beir-index",
        "--queries",
        beir / "queries.jsonl",
        "--format",
        "trec",
        "--output",
        path,
    )
    return path


@pytest.mark.parametrize("form", ["trec", "beir"])
def test_a_searched_run_evaluates_to_what_evaluate_gives_in_python(form, tmp_path, beir, run_file, prorank):
    qrels = beir / "qrels" / "test.tsv"
    if form == "trec":
        qrels = tmp_path / "qrels.txt"
        write_qrels(qrels, QRELS)
    retriever = LexicalRetriever.from_documents(load_beir(beir).documents)
    run = {
        id: {hit.document.id: hit.score for hit in retriever.retrieve(text, 10)}
        for id, text in QUERIES.items()
    }
    measures = ["ndcg@10", "p@1", "mrr"]
    expected = evaluate(run, QRELS, measures, {"run": "bmx.trec"})
    shown = prorank(
        "evaluate", "--run", run_file, "--qrels", qrels, "--measures", *measures, "--format", "json"
    )
    assert json.loads(shown)["runs"]["bmx.trec"] == json.loads(expected.to_json())
    table = prorank("evaluate", "--run", run_file, "--qrels", qrels, "--measures", *measures)
    low, high = expected.interval("ndcg@10")
    assert f"ndcg@10               {expected.mean['ndcg@10']:.4f} [{low:.4f}, {high:.4f}]" in table
    assert expected.signature in table


def test_runs_are_compared_query_by_query(tmp_path, beir, run_file, prorank):
    worse = tmp_path / "worse" / "bmx.trec"
    worse.parent.mkdir()
    write_run(worse, {"q1": read_run(run_file)["q1"], "q2": {"coffee": 1.0}})
    options = ["--qrels", beir / "qrels" / "test.tsv", "--measures", "mrr", "--compare", worse]
    compared = json.loads(prorank("evaluate", "--run", run_file, *options, "--format", "json"))["comparisons"]
    assert [entry["difference"] for entry in compared] == [f"{run_file} minus {worse}"]
    assert compared[0]["measures"]["mrr"]["difference"] == pytest.approx(2 / 3)
    assert compared[0]["measures"]["mrr"]["wins"] == 2
    table = prorank("evaluate", "--run", run_file, *options)
    assert "3 queries with 4 judgements" in table
    assert "mrr  +0.6667 [" in table
    assert "2 won, 1 tied, 0 lost of 3 queries" in table


def test_scorers_are_measured_on_a_beir_folder(beir, prorank):
    shown = prorank("evaluate", beir, "--scorers", "bmx", "bm25")
    assert shown.startswith("tiny: 4 documents, 3 queries with 4 judgements\n")
    for part in ("ndcg@10", "recall@100", "mrr", "map", "bmx minus bm25", "indexed in", "ms a query"):
        assert part in shown
    found = json.loads(prorank("evaluate", beir, "--scorers", "bm25", "bmx-paper", "--format", "json"))
    assert found["dataset"] == "tiny"
    assert set(found["seconds"]) == {"index", "bm25", "bmx-paper"}
    assert found["comparisons"][0]["difference"] == "bm25 minus bmx-paper"
    assert "scorer:BMX(alpha=None, beta=None, variant='paper'" in found["runs"]["bmx-paper"]["signature"]


def test_measuring_a_folder_equals_searching_it_and_measuring_the_run(beir, run_file, prorank):
    dataset = json.loads(prorank("evaluate", beir, "--scorers", "bmx", "--depth", 10, "--format", "json"))
    run = json.loads(
        prorank("evaluate", "--run", run_file, "--qrels", beir / "qrels" / "test.tsv", "--format", "json")
    )
    assert dataset["runs"]["bmx"]["per_query"] == run["runs"]["bmx.trec"]["per_query"]


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "give DATASET, or both --run and --qrels"),
        (["--run", "run.trec"], "give DATASET, or both --run and --qrels"),
        (["folder", "--qrels", "qrels.txt"], "not both"),
        (["absent"], "absent is not a folder"),
        (["--run", "run.trec", "--qrels", "absent.txt"], "absent.txt: No such file or directory"),
    ],
)
def test_evaluations_that_make_no_sense_are_refused(argv, message, fails):
    assert message in fails("evaluate", *argv)


def test_a_missing_split_and_an_unknown_measure_are_named(beir, fails):
    assert "splits found: test" in fails("evaluate", beir, "--split", "dev")
    assert "unknown measure 'elegance'" in fails("evaluate", beir, "--measures", "elegance")


def test_a_malformed_run_is_named_with_file_and_line(tmp_path, beir, fails):
    run = tmp_path / "run.trec"
    run.write_text("q1 Q0 keys 1 2.5 me\nq1 Q0 keys\n")
    found = fails("evaluate", "--run", run, "--qrels", beir / "qrels" / "test.tsv")
    assert found.startswith(f"{run}:2: found 3 fields")


# prorank demo


def test_the_demo_answers_explains_and_measures(prorank):
    shown = prorank("demo", "-k", 3, "--no-rerank")
    for part in ("documents\nlisted in", "indexed in", "analyzer en,stop_words,stemming,split_identifiers"):
        assert part in shown
    assert shown.count(" ms)\n  1  ") == 5
    assert "collections.Counter  " in shown
    assert "Why collections.Counter is first for 'count how often each element occurs':" in shown
    assert "coverage" in shown
    assert "stdlib-qa: nDCG@10 on " in shown
    for scorer in ("BMX (reference)  0.", "BMX (paper)      0.", "BM25             0."):
        assert scorer in shown
    assert "BMX (reference) minus BM25, paired: +0.0" in shown


def test_the_demo_answers_given_questions_alone_and_goes_on_asking_at_a_terminal(terminal, prorank):
    terminal("parse command line arguments", "qqqq", "", "ignored")
    shown = prorank("demo", "qqqq zzzz", "shuffle a list", "--no-explain", "--interactive", "--no-rerank")
    assert "qqqq zzzz  (" in shown
    assert shown.count("no document matches") == 2
    assert "random.shuffle" in shown
    assert "Why " not in shown
    assert (
        shown.index("stdlib-qa: nDCG@10")
        < shown.index("parse command line arguments")
        < shown.index("argparse")
    )
    assert shown.count(" ms)") == 4
    terminal()
    assert prorank("demo", "qqqq", "--interactive", "--no-rerank").endswith("? ")


def test_the_bundled_questions_can_be_evaluated_with_the_analyzer_of_the_demo(prorank):
    shown = prorank("evaluate", "stdlib-qa", "--measures", "ndcg@10", "--scorers", "bmx")
    assert "analyzer:en,stop_words,stemming,split_identifiers" in shown
    shown = prorank(
        "evaluate", "stdlib-qa", "--measures", "ndcg@10", "--scorers", "bmx", "--no-split-identifiers"
    )
    assert "analyzer:en,stop_words,stemming|" in shown


# Helpers


@pytest.mark.parametrize(
    ("text", "width", "clipped"),
    [
        ("short", 10, "short"),
        ("a\nb\tc\x1b[31m", 20, "a b c [31m"),
        ("twelve chars", 8, "twelve…"),
        ("東京都庁へ", 7, "東京都…"),
        ("x" * 1000, 5, "xxxx…"),
        (" " * 1000 + "x", 5, "…"),
        ("anything", 0, ""),
    ],
)
def test_clipping_counts_what_a_terminal_shows(text, width, clipped):
    assert clip(text, width) == clipped
    assert display_width(clipped) <= width


def test_combining_marks_take_no_room():
    assert display_width("é") == display_width("e\u0301") == 1
    assert one_line("क्या\u200dहै") == "क्या\u200dहै"


def test_columns_line_up():
    assert columns([["1", "東京", "x"], ["10", "a", "yy"]], right=(0,)) == [" 1  東京  x", "10  a     yy"]
    assert columns([]) == []


@pytest.mark.parametrize(
    ("size", "words"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1000, "1.0 kB"),
        (12_345_678, "12.3 MB"),
        (5 * 10**15, "5000.0 TB"),
    ],
)
def test_sizes_have_units(size, words):
    assert size_in_words(size) == words


def test_an_analyzer_is_described_in_a_few_words():
    config = AnalyzerConfig(None, stop_words=False, ngrams="unigram+bigram", min_length=2, fold_accents=True)
    assert describe_analyzer(Analyzer(config)) == "none,stemming,fold_accents,unigram+bigram,min_length=2"
    assert describe_analyzer(Analyzer(str.split)) == "callable"


def test_an_error_of_several_lines_becomes_one(monkeypatch, index, fails):
    def fail(*_, **__):
        raise ProRankError("first\nsecond")

    monkeypatch.setattr("prorank_plugins.cli.search.chosen_queries", fail)
    assert fails("search", index, "keys") == "first second"
