"""The LangChain retriever: a Runnable like any other, over the lexical engine."""

import asyncio
import copy
import inspect
import json
import pickle
import re
import subprocess
import sys
import textwrap
import threading
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

import numpy as np
import pytest

pytest.importorskip("langchain_core")

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.documents import Document
from langchain_core.load import dumps
from langchain_core.runnables import ConfigurableField
from langchain_core.tools import create_retriever_tool
from pydantic import ValidationError

from prorank_plugins import (
    BM25,
    BMX,
    Analyzer,
    AnalyzerConfig,
    ConfigError,
    CorruptIndexError,
    LexicalRetriever,
    RetrieveThenRerank,
    ScoredDocument,
    WeightedQuery,
)
from prorank_plugins import Document as CoreDocument
from prorank_plugins.core.errors import IndexFormatError, IndexNotFoundError
from prorank_plugins.core.storage import MANIFEST
from prorank_plugins.langchain import BMXRetriever

TEXTS = {
    "fox": "The quick brown fox jumps over the lazy dog.",
    "dog": "A dog sleeps. The dog sleeps all day long.",
    "cat": "Cats and dogs rarely share a bowl.",
    "owl": "Owls hunt mice at night.",
}
METADATAS = [
    {"animal": "fox", "seen": {"places": ["wood"]}},
    {"animal": "dog", "seen": {"places": ["yard"]}},
    {"animal": "cat", "seen": {"places": ["home"]}},
    {"animal": "owl", "seen": {"places": ["wood"]}},
]


def make(**options):
    return BMXRetriever.from_texts(TEXTS.values(), METADATAS, TEXTS, **options)


@pytest.fixture
def retriever():
    return make()


def ids(documents):
    return [document.id for document in documents]


def split(text):
    return text.lower().split()


def run_python(code, *arguments):
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


# What comes back


def test_results_carry_id_text_metadata_and_score_best_first(retriever):
    found = retriever.invoke("dog")
    assert set(ids(found)) == {"fox", "dog", "cat"}
    assert found[0].id == "dog"
    assert found[0].page_content == TEXTS["dog"]
    assert found[0].metadata["animal"] == "dog"
    scores = [document.metadata["bmx_score"] for document in found]
    assert scores == sorted(scores, reverse=True)


def test_scores_are_those_of_the_engine(retriever):
    expected = {hit.document.id: hit.score for hit in retriever.engine.retrieve("lazy dogs", 4)}
    found = {document.id: document.metadata["bmx_score"] for document in retriever.invoke("lazy dogs")}
    assert found == expected


def test_metadata_with_the_score_is_json(retriever):
    for document in retriever.invoke("dog"):
        assert type(document.metadata["bmx_score"]) is float
        assert json.loads(json.dumps(document.metadata)) == document.metadata


def test_an_engines_numpy_scores_become_floats():
    class Engine:
        def retrieve(self, query, k):
            return [ScoredDocument(CoreDocument("a", query), np.float32(0.5))][:k]

    [document] = BMXRetriever(engine=Engine()).invoke("q")
    assert type(document.metadata["bmx_score"]) is float


def test_changing_a_result_changes_neither_the_index_nor_the_next_result(retriever):
    [first] = retriever.invoke("fox", k=1)
    untouched = copy.deepcopy(first)
    first.metadata["seen"]["places"].append("moon")
    first.metadata.clear()
    first.page_content = "changed"
    assert retriever.invoke("fox", k=1) == [untouched]


def test_changing_a_result_does_not_change_the_documents_of_another_engine():
    kept = CoreDocument("a", "text", {"nested": [1]})

    class Engine:
        def retrieve(self, query, k):
            return [ScoredDocument(kept, 1.0)]

    [document] = BMXRetriever(engine=Engine()).invoke("q")
    document.metadata["nested"].append(2)
    assert kept.metadata == {"nested": [1]}


def test_changing_a_document_after_indexing_does_not_change_the_index():
    document = Document(id="a", page_content="fox", metadata={"nested": {"x": 1}})
    retriever = BMXRetriever(docs=[document])
    document.metadata["nested"]["x"] = 2
    document.page_content = "dog"
    [found] = retriever.invoke("fox")
    assert found.metadata["nested"] == {"x": 1}


def test_the_callers_documents_are_left_as_they_were():
    document = Document(page_content="fox")
    BMXRetriever(docs=[document]).invoke("fox")
    assert document == Document(page_content="fox")


def test_equal_texts_come_back_in_order_of_insertion_with_one_score():
    found = BMXRetriever.from_texts(["same words"] * 3, ids=["c", "a", "b"]).invoke("words")
    assert ids(found) == ["c", "a", "b"]
    assert len({document.metadata["bmx_score"] for document in found}) == 1


def test_the_id_is_shown_under_the_id_key():
    found = make(id_key="key").invoke("dog")
    assert [document.metadata["key"] for document in found] == ids(found)


def test_a_document_that_has_the_id_key_keeps_its_own_value():
    assert [document.metadata["animal"] for document in make(id_key="animal").invoke("dog", k=1)] == ["dog"]
    docs = [Document(id="1", page_content="fox", metadata={"key": "mine"})]
    assert BMXRetriever(docs=docs, id_key="key").invoke("fox")[0].metadata["key"] == "mine"


# k, filter and other options


async def test_k_is_taken_from_the_call_then_from_the_retriever():
    retriever = make(k=2)
    assert len(retriever.invoke("dog")) == len(await retriever.ainvoke("dog")) == 2
    assert len(retriever.invoke("dog", k=1)) == len(await retriever.ainvoke("dog", k=1)) == 1
    assert len(retriever.invoke("dog", k=3)) == len(await retriever.ainvoke("dog", k=3)) == 3
    assert len(retriever.invoke("dog", k=None)) == 2


def test_k_is_4_unless_told():
    assert len(BMXRetriever.from_texts(["word"] * 9).invoke("word")) == 4


async def test_k_0_finds_nothing(retriever):
    assert make(k=0).invoke("dog") == []
    assert retriever.invoke("dog", k=0) == []
    assert await retriever.ainvoke("dog", k=0) == []


def test_k_above_the_number_of_documents_finds_those_that_match(retriever):
    assert len(retriever.invoke("dog", k=10**9)) == 3


async def test_a_k_that_is_no_count_is_refused(retriever):
    with pytest.raises(ValidationError, match="greater than or equal to 0"):
        make(k=-1)
    for k in (-1, 1.5, "2"):
        with pytest.raises(ConfigError, match="k must be"):
            retriever.invoke("dog", k=k)
        with pytest.raises(ConfigError, match="k must be"):
            await retriever.ainvoke("dog", k=k)


@pytest.mark.parametrize(
    "wanted",
    [
        {"animal": "cat"},
        {"animal": ["cat", "owl"]},
        lambda metadata: metadata["animal"] in ("cat", "owl"),
        ["cat", "owl"],
        {"cat", "owl"},
        np.array([False, False, True, True]),
    ],
    ids=["value", "values", "predicate", "list", "set", "mask"],
)
async def test_a_document_that_is_filtered_out_never_returns(retriever, wanted):
    assert ids(retriever.invoke("dog", filter=wanted, k=100)) == ["cat"]
    assert ids(await retriever.ainvoke("dog", filter=wanted)) == ["cat"]
    filtered = make(filter=wanted)
    assert ids(filtered.invoke("dog")) == ids(await filtered.ainvoke("dog")) == ["cat"]
    assert "BMXRetriever(" in repr(filtered)


def test_a_filter_given_to_a_call_takes_the_place_of_the_retrievers():
    retriever = make(filter={"animal": "cat"})
    assert ids(retriever.invoke("dog", filter={"animal": "fox"})) == ["fox"]
    assert len(retriever.invoke("dog", filter={})) == 3


def test_a_filter_that_lets_nothing_through_finds_nothing(retriever):
    assert retriever.invoke("dog", filter={"animal": "yak"}) == []
    assert retriever.invoke("dog", filter=[]) == []


async def test_an_unknown_option_of_a_call_is_refused_by_name(retriever):
    with pytest.raises(ConfigError, match="'kk'; a call to BMXRetriever takes k and filter"):
        retriever.invoke("dog", kk=5)
    with pytest.raises(ConfigError, match="'kk'"):
        await retriever.ainvoke("dog", kk=5)


async def test_langchains_own_call_options_are_not_taken_for_unknown_ones(retriever):
    run_id = UUID(int=7)
    assert len(retriever.invoke("dog", verbose=False, run_id=run_id)) == 3
    assert len(await retriever.ainvoke("dog", verbose=False, run_id=run_id)) == 3


def test_a_misspelt_option_of_the_constructor_is_refused():
    for build in (
        make,
        lambda **kw: BMXRetriever(docs=[], **kw),
        lambda **kw: BMXRetriever.from_documents([], **kw),
    ):
        with pytest.raises(ValidationError, match="kk"):
            build(kk=5)


def test_scorer_and_analyzer_are_used():
    assert make(scorer=BM25(k1=2.0)).engine.scorer == BM25(k1=2.0)
    assert make().engine.scorer == BMX()
    assert ids(make(analyzer=split).invoke("dog")) == ["dog"]
    assert set(ids(make(analyzer=split).invoke("the"))) == {"fox", "dog"}
    assert len(BMXRetriever.from_texts(["Die Häuser am Hafen"], analyzer="de").invoke("Haus")) == 1
    config = AnalyzerConfig(language=None)
    assert BMXRetriever.from_texts(["dogs"], analyzer=config).invoke("dog") == []
    assert BMXRetriever.from_texts(["dogs"], analyzer=Analyzer(config)).invoke("dog") == []


def test_the_constructor_takes_documents_or_an_engine(retriever):
    with pytest.raises(ConfigError, match="found neither"):
        BMXRetriever()
    with pytest.raises(ConfigError, match="engine= alone"):
        BMXRetriever(docs=[], engine=retriever.engine)
    with pytest.raises(ConfigError, match="engine= alone"):
        BMXRetriever(engine=retriever.engine, scorer=BM25())
    with pytest.raises(ValidationError, match="instance of Retriever"):
        BMXRetriever(engine="an index")
    assert BMXRetriever(engine=retriever.engine, analyzer=None, scorer=None).engine is retriever.engine


# What goes in


def test_ids_are_kept_and_missing_ones_are_generated():
    docs = [
        Document(id="mine", page_content="fox"),
        Document(page_content="fox"),
        Document(id=7, page_content="fox"),
    ]
    first, second, third = ids(BMXRetriever.from_documents(docs).invoke("fox"))
    assert first == "mine"
    assert UUID(second).version == 4
    assert third == "7"
    assert len(set(ids(BMXRetriever.from_texts(["fox"] * 3, ids=["a", None, None]).invoke("fox")))) == 3


def test_generators_are_read_once():
    retriever = BMXRetriever.from_texts(
        (text for text in TEXTS.values()), (metadata for metadata in METADATAS), (id for id in TEXTS)
    )
    assert retriever.invoke("dog") == make().invoke("dog")
    assert (
        len(BMXRetriever.from_documents(Document(page_content=text) for text in TEXTS.values()).invoke("dog"))
        == 3
    )
    assert len(BMXRetriever(docs=(Document(page_content=text) for text in TEXTS.values())).invoke("dog")) == 3
    assert len(retriever.add_texts(text for text in ["one dog", "two dogs"])) == 2
    assert len(retriever.add_documents(Document(page_content=text) for text in ["one dog"])) == 1
    assert retriever.delete(id for id in list(TEXTS)) is True
    assert len(retriever.engine) == 3


def test_metadatas_and_ids_must_be_as_many_as_texts():
    with pytest.raises(ConfigError, match="1 metadatas for 2 texts"):
        BMXRetriever.from_texts(["a", "b"], metadatas=[{}])
    with pytest.raises(ConfigError, match="3 ids for 2 texts"):
        BMXRetriever.from_texts(["a", "b"], ids=["1", "2", "3"])
    with pytest.raises(ConfigError, match="0 ids for 1 texts"):
        make().add_texts(["a"], ids=[])


def test_what_is_no_text_or_document_is_refused_with_its_position():
    with pytest.raises(ConfigError, match=r"pass \[text\]"):
        BMXRetriever.from_texts("one text")
    with pytest.raises(ConfigError, match=r"texts\[1\] must be a str, found int"):
        BMXRetriever.from_texts(["a", 5])
    with pytest.raises(ConfigError, match=r"docs\[1\] must be a langchain_core.*found str"):
        BMXRetriever(docs=[Document(page_content="a"), "b"])


def test_ids_that_repeat_are_refused():
    with pytest.raises(ConfigError, match="given twice"):
        BMXRetriever.from_texts(["a", "b"], ids=["x", "x"])


def test_an_empty_corpus_finds_nothing_and_can_grow():
    for retriever in (
        BMXRetriever(docs=[]),
        BMXRetriever.from_texts([]),
        BMXRetriever.from_documents(iter(())),
    ):
        assert retriever.invoke("fox") == []
        retriever.add_texts(["a fox"], ids=["fox"])
        assert ids(retriever.invoke("fox")) == ["fox"]


@pytest.mark.parametrize("scorer", [BMX(), BMX(variant="paper"), BM25()])
def test_one_document_is_found_with_a_finite_score(scorer):
    [document] = BMXRetriever.from_texts(["one fox"], scorer=scorer).invoke("fox")
    assert 0 < document.metadata["bmx_score"] < 100


@pytest.mark.parametrize("query", ["", " \n", "the and of", "xylophone", "?!", "😀"])
def test_a_query_that_matches_nothing_finds_nothing(retriever, query):
    assert retriever.invoke(query) == []


def test_documents_without_a_word_are_never_found():
    retriever = BMXRetriever.from_texts(["", "the of", "a fox"], ids=["empty", "stop", "fox"])
    assert ids(retriever.invoke("fox the")) == ["fox"]


def test_a_query_that_is_no_text_is_refused(retriever):
    with pytest.raises(ConfigError, match="found int"):
        retriever.invoke(5)


def test_a_weighted_query_passes_through(retriever):
    assert ids(retriever.invoke(WeightedQuery([("owl", 1.0), ("fox", 0.1)]))) == ["owl", "fox"]


# Editing


def test_added_documents_are_found_and_their_ids_returned_in_order(retriever):
    added = retriever.add_documents(
        [Document(id="yak", page_content="a yak"), Document(page_content="another yak")]
    )
    assert added[0] == "yak"
    assert set(ids(retriever.invoke("yak"))) == set(added)
    assert retriever.add_texts(["a third yak"], [{"n": 3}], ["third"]) == ["third"]
    assert retriever.invoke("third yak", k=1)[0].metadata["n"] == 3
    assert retriever.add_texts([]) == retriever.add_documents([]) == []


def test_adding_an_id_that_is_there_replaces_its_document(retriever):
    added = retriever.add_texts(["a wolf", "a yak"], [{"animal": "wolf"}, {"animal": "yak"}], ["fox", "yak"])
    assert added == ["fox", "yak"]
    assert len(retriever.engine) == 5
    assert retriever.invoke("quick") == []
    [wolf] = retriever.invoke("wolf")
    assert (wolf.id, wolf.metadata["animal"]) == ("fox", "wolf")


def test_results_after_edits_are_those_of_a_fresh_index(retriever):
    retriever.add_texts(["A wolf is no dog."], ids=["fox"])
    retriever.delete(["owl"])
    retriever.add_texts(["A new dog."], ids=["new"])
    rest = {"dog": TEXTS["dog"], "cat": TEXTS["cat"], "fox": "A wolf is no dog.", "new": "A new dog."}
    fresh = BMXRetriever.from_texts(rest.values(), [*METADATAS[1:3], {}, {}], rest)
    assert retriever.invoke("dogs") == fresh.invoke("dogs")


def test_an_id_twice_in_one_call_changes_nothing(retriever):
    with pytest.raises(ConfigError, match="'yak' is given twice"):
        retriever.add_texts(["a", "b", "c"], ids=["yak", "fox", "yak"])
    assert ids(retriever.invoke("quick")) == ["fox"]
    assert len(retriever.engine) == 4


def test_deleting_passes_over_ids_that_are_not_there(retriever):
    assert retriever.delete(["fox", "nobody"]) is True
    assert retriever.invoke("fox") == []
    assert retriever.delete(["nobody"]) is True
    assert retriever.delete([]) is True
    assert len(retriever.engine) == 3


def test_deleting_by_what_is_no_list_of_ids_is_refused(retriever):
    with pytest.raises(ConfigError, match=r"pass \[id\]"):
        retriever.delete("fox")
    with pytest.raises(ConfigError, match="found int"):
        retriever.delete([5])
    assert len(retriever.engine) == 4


async def test_every_edit_has_an_async_twin(retriever):
    assert await retriever.aadd_texts(["a yak"], [{"n": 1}], ["yak"]) == ["yak"]
    assert await retriever.aadd_documents([Document(id="gnu", page_content="a gnu")]) == ["gnu"]
    assert ids(await retriever.ainvoke("yak gnu")) == ["yak", "gnu"]
    assert await retriever.adelete(["yak", "nobody"]) is True
    assert ids(await retriever.ainvoke("yak gnu")) == ["gnu"]


def test_an_engine_of_another_kind_can_be_searched_only(retriever, tmp_path):
    class Reversed:
        def rerank(self, query, documents, k=None):
            return [ScoredDocument(document, float(n)) for n, document in enumerate(documents)][::-1][:k]

    pipeline = BMXRetriever(engine=RetrieveThenRerank(retriever.engine, Reversed()), k=2)
    assert ids(pipeline.invoke("dog")) == ids(retriever.invoke("dog"))[::-1][:2]
    assert ids(pipeline.invoke("dog", filter={"animal": "cat"})) == ["cat"]
    for edit in (
        lambda: pipeline.add_texts(["a"]),
        lambda: pipeline.add_documents([]),
        lambda: pipeline.delete([]),
        lambda: pipeline.save_local(tmp_path / "index"),
    ):
        with pytest.raises(ConfigError, match="with a LexicalRetriever as engine, found RetrieveThenRerank"):
            edit()


# Threads and the event loop


def test_32_threads_search_while_others_add_and_delete(retriever):
    expected = ids(retriever.invoke("owl"))

    def edit(n):
        retriever.add_texts([f"yak {n}", "yak"], ids=[f"yak{n}", "shared"])
        if n % 2:
            retriever.delete([f"yak{n}", "nobody"])

    def search(_):
        for document in retriever.invoke("yak", k=50):
            assert document.id.startswith("yak") or document.id == "shared"
            assert "yak" in document.page_content
        return ids(retriever.invoke("owl"))

    with ThreadPoolExecutor(32) as pool:
        searches = [pool.submit(search, n) for n in range(64)]
        edits = [pool.submit(edit, n) for n in range(32)]
        assert all(done.result() == expected for done in searches)
        for done in edits:
            done.result()
    assert set(ids(retriever.invoke("yak", k=50))) == {"shared", *(f"yak{n}" for n in range(0, 32, 2))}


def test_threads_that_add_and_delete_one_id_do_not_trip_over_each_other(retriever):
    shared = [retriever, retriever.model_copy()]
    with ThreadPoolExecutor(8) as pool:
        added = list(pool.map(lambda n: shared[n % 2].add_texts(["yak"], ids=["yak"]), range(40)))
        assert added == [["yak"]] * 40
        assert all(pool.map(lambda n: shared[n % 2].delete(["yak"]), range(40)))
    assert shared[0].invoke("yak") == []


async def test_async_searches_leave_the_event_loop_free():
    class Slow:
        def retrieve(self, query, k):
            assert released.wait(5), "the loop never came to release the search"
            return []

    released = threading.Event()
    waiting = asyncio.gather(*(BMXRetriever(engine=Slow()).ainvoke("q", k=1) for _ in range(3)))
    await asyncio.sleep(0.01)
    released.set()
    assert await asyncio.wait_for(waiting, 5) == [[], [], []]


async def test_batches_answer_as_single_calls_do(retriever):
    queries = ["dog", "owl", "", "fox"] * 8
    expected = [retriever.invoke(query, k=2) for query in queries]
    assert retriever.batch(queries, k=2) == expected
    assert await retriever.abatch(queries, {"max_concurrency": 4}, k=2) == expected
    assert dict(retriever.batch_as_completed(queries, k=2)) == dict(enumerate(expected))


def test_a_batch_is_one_search_and_callbacks_still_see_each_query(retriever, monkeypatch):
    searches = []
    original = LexicalRetriever.retrieve_many

    def counting(self, queries, *args, **kwargs):
        searches.append(list(queries))
        return original(self, queries, *args, **kwargs)

    monkeypatch.setattr(LexicalRetriever, "retrieve_many", counting)
    recorder = Recorder()
    retriever.batch(["dog", "fox"], {"callbacks": [recorder]}, k=1)
    assert searches == [["dog", "fox"]]
    assert [event[1] for event in recorder.events if event[0] == "start"] == ["dog", "fox"]
    assert [event[0] for event in recorder.events] == ["start", "end"] * 2


async def test_a_wrong_query_in_a_batch_spoils_that_query_only(retriever):
    queries = ["dog", 3, "fox"]
    for found in (
        retriever.batch(queries, return_exceptions=True),
        await retriever.abatch(queries, return_exceptions=True),
    ):
        assert [isinstance(result, Exception) for result in found] == [False, True, False]
    with pytest.raises(ConfigError):
        retriever.batch(["dog", "fox"], colour="red")


# A Runnable like any other


class Recorder(BaseCallbackHandler):
    def __init__(self):
        self.events = []

    def on_retriever_start(self, serialized, query, *, metadata=None, tags=None, name=None, **kwargs):
        self.events.append(("start", query, metadata["ls_retriever_name"], name, tags))

    def on_retriever_end(self, documents, **kwargs):
        self.events.append(("end", ids(documents)))

    def on_retriever_error(self, error, **kwargs):
        self.events.append(("error", type(error)))


async def test_callbacks_see_start_end_and_error():
    retriever = make(tags=["mine"], metadata={"owner": "me"})
    seen = [("start", "owl", "bmx", "BMXRetriever", ["mine"]), ("end", ["owl"])]
    recorder = Recorder()
    retriever.invoke("owl", config={"callbacks": [recorder]})
    assert recorder.events == seen
    recorder = Recorder()
    await retriever.ainvoke("owl", config={"callbacks": [recorder]})
    assert recorder.events == seen
    recorder = Recorder()
    with pytest.raises(ConfigError):
        retriever.invoke("owl", config={"callbacks": [recorder]}, k=-1)
    assert recorder.events[1:] == [("error", ConfigError)]


async def test_event_streams_show_the_retriever(retriever):
    chain = retriever | (lambda documents: len(documents))
    events = [event async for event in chain.astream_events("dog", version="v2")]
    [start] = [event for event in events if event["event"] == "on_retriever_start"]
    [end] = [event for event in events if event["event"] == "on_retriever_end"]
    assert start["data"]["input"]["query"] == "dog"
    assert len(end["data"]["output"]) == 3
    assert events[-1]["data"]["output"] == 3


async def test_streams_give_the_list_at_once(retriever):
    expected = retriever.invoke("dog", k=2)
    assert list(retriever.stream("dog", k=2)) == [expected]
    assert [chunk async for chunk in retriever.astream("dog", k=2)] == [expected]


async def test_binding_and_configuring_keep_the_retriever_working(retriever):
    bound = retriever.bind(k=1).with_config(run_name="search", tags=["t"])
    recorder = Recorder()
    assert ids(bound.invoke("dog", config={"callbacks": [recorder]})) == ["dog"]
    assert recorder.events[0] == ("start", "dog", "bmx", "search", ["t"])
    assert ids(await bound.ainvoke("dog")) == ["dog"]
    assert ids(retriever.with_retry().invoke("owl")) == ["owl"]


async def test_a_failing_retriever_falls_back_to_another(retriever):
    class Broken:
        def retrieve(self, query, k):
            raise ConnectionError("gone")

    safe = BMXRetriever(engine=Broken()).with_fallbacks([retriever])
    assert ids(safe.invoke("owl")) == ["owl"]
    assert ids(await safe.ainvoke("owl")) == ["owl"]


async def test_a_configurable_k_needs_no_second_build(monkeypatch):
    builds = []
    build = LexicalRetriever.from_documents

    def counted(*args, **kwargs):
        builds.append(1)
        return build(*args, **kwargs)

    monkeypatch.setattr(LexicalRetriever, "from_documents", counted)
    retriever = make(
        scorer=BM25(), analyzer="en", filter={"animal": ["fox", "dog"]}, id_key="key", tags=["t"]
    )
    flexible = retriever.configurable_fields(
        k=ConfigurableField(id="k"), filter=ConfigurableField(id="filter")
    )
    for _ in range(3):
        [document] = flexible.invoke("dog", config={"configurable": {"k": 1}})
        assert document.metadata["key"] == "dog"
    assert len(await flexible.ainvoke("dog", config={"configurable": {"k": 3}})) == 2
    assert ids((flexible | list).invoke("dog", config={"configurable": {"filter": ["cat"]}})) == ["cat"]
    assert len(builds) == 1
    with pytest.raises(ValidationError):
        flexible.invoke("dog", config={"configurable": {"k": -1}})


def test_alternatives_can_be_chosen_by_configuration(retriever):
    choice = retriever.configurable_alternatives(ConfigurableField(id="engine"), one=make(k=1))
    assert len(choice.invoke("dog")) == 3
    assert len(choice.with_config(configurable={"engine": "one"}).invoke("dog")) == 1


async def test_a_retriever_tool_answers_an_agent(retriever):
    tool = create_retriever_tool(retriever.bind(k=1), "animals", "Knows animals.")
    assert tool.invoke({"query": "owls"}) == TEXTS["owl"]
    assert await tool.ainvoke({"query": "owls"}) == TEXTS["owl"]


def test_the_docstring_example_runs():
    blocks = re.findall(r"```python\n(.*?)```", inspect.getdoc(BMXRetriever), flags=re.DOTALL)
    assert len(blocks) == 3
    names = {}
    for block in blocks:
        exec(textwrap.dedent(block), names)
    assert names["documents"][0].id == "dog"
    assert names["chain"].invoke("Who sleeps?") == "The dog."
    assert set(names["retriever"].engine.index.ids) == {"fox", "dog", "wolf"}


def test_repr_and_dumps_show_options_and_no_documents(retriever):
    retriever = make(k=7)
    assert repr(retriever) == "BMXRetriever(k=7)"
    assert "quick" not in repr(retriever) + str(retriever) + dumps(retriever)
    assert json.loads(dumps(retriever))["type"] == "not_implemented"
    assert BMXRetriever.is_lc_serializable() is False
    assert "engine" not in retriever.model_dump()


# With LangChain's combinators


def test_an_ensemble_merges_equal_texts():
    retrievers = pytest.importorskip("langchain_classic.retrievers")
    ensemble = retrievers.EnsembleRetriever(retrievers=[make(), make(scorer=BM25())])
    found = ensemble.invoke("dog")
    assert sorted(ids(found)) == ["cat", "dog", "fox"]
    assert all("bmx_score" in document.metadata for document in found)


async def test_an_ensemble_merges_by_id_key():
    retrievers = pytest.importorskip("langchain_classic.retrievers")
    other = BMXRetriever.from_texts(["My dog, in other words."], ids=["dog"], id_key="key")
    ensemble = retrievers.EnsembleRetriever(retrievers=[make(id_key="key"), other], id_key="key")
    assert (
        sorted(ids(ensemble.invoke("dog")))
        == sorted(ids(await ensemble.ainvoke("dog")))
        == ["cat", "dog", "fox"]
    )


async def test_contextual_compression_hands_k_and_filter_on(retriever):
    from langchain_core.documents import BaseDocumentCompressor

    retrievers = pytest.importorskip("langchain_classic.retrievers")

    class Reverse(BaseDocumentCompressor):
        def compress_documents(self, documents, query, callbacks=None):
            return list(documents)[::-1]

    compressed = retrievers.ContextualCompressionRetriever(
        base_compressor=Reverse(), base_retriever=retriever
    )
    assert ids(compressed.invoke("dog", k=2)) == ids(retriever.invoke("dog", k=2))[::-1]
    assert ids(await compressed.ainvoke("dog", k=2)) == ids(retriever.invoke("dog", k=2))[::-1]
    assert ids(compressed.invoke("dog", filter={"animal": "cat"})) == ["cat"]
    assert compressed.invoke("xylophone") == []


# Saving and copying

EVERY_OPTION = {
    "k": 2,
    "id_key": "key",
    "filter": {"animal": ["dog", "fox"]},
    "tags": ["a tag"],
    "metadata": {"owner": {"name": "me"}},
    "name": "animals",
}


def test_another_process_loads_the_retriever_with_every_option(tmp_path):
    retriever = make(
        scorer=BMX(variant="paper", beta=0.2), analyzer=AnalyzerConfig(language=None), **EVERY_OPTION
    )
    assert set(EVERY_OPTION) == set(BMXRetriever.model_fields) - {"engine"}
    retriever.save_local(tmp_path / "index")
    code = """
        import json, sys
        from prorank_plugins.langchain import BMXRetriever
        retriever = BMXRetriever.load_local(sys.argv[1])
        found = [(d.id, d.page_content, d.metadata) for d in retriever.invoke("the lazy dog")]
        print(json.dumps([retriever.model_dump(), repr(retriever.engine.scorer), found]))
    """
    options, scorer, found = json.loads(run_python(code, tmp_path / "index"))
    assert options == EVERY_OPTION
    assert scorer == repr(retriever.engine.scorer)
    assert found == [[d.id, d.page_content, d.metadata] for d in retriever.invoke("the lazy dog")]


@pytest.mark.parametrize("mmap", [True, False])
def test_a_loaded_retriever_can_be_edited_and_saved_again(tmp_path, retriever, mmap):
    retriever.save_local(tmp_path / "index")
    loaded = BMXRetriever.load_local(tmp_path / "index", mmap=mmap)
    loaded.add_texts(["a yak", "a wolf"], ids=["yak", "fox"])
    loaded.delete(["owl"])
    loaded.save_local(str(tmp_path / "index"))
    again = BMXRetriever.load_local(str(tmp_path / "index"))
    for query in ("dog", "yak", "wolf", "owl"):
        assert again.invoke(query) == loaded.invoke(query)


def test_options_given_to_load_take_the_place_of_those_saved(tmp_path):
    make(**EVERY_OPTION).save_local(tmp_path)
    loaded = BMXRetriever.load_local(tmp_path, k=3, filter=None)
    assert loaded.model_dump() == {**EVERY_OPTION, "k": 3, "filter": None}
    with pytest.raises(ValidationError, match="kk"):
        BMXRetriever.load_local(tmp_path, kk=3)


def test_ids_and_sets_of_values_are_saved_as_filters(tmp_path):
    for wanted in ({"fox", "dog"}, ("fox", "dog"), ["fox", "dog"], {"animal": {"fox", "dog"}}):
        make(filter=wanted).save_local(tmp_path / "index")
        assert set(ids(BMXRetriever.load_local(tmp_path / "index").invoke("dog"))) == {"fox", "dog"}


@pytest.mark.parametrize("wanted", [lambda metadata: True, np.ones(4, bool)], ids=["predicate", "mask"])
def test_a_filter_that_is_not_json_is_never_dropped_in_silence(tmp_path, wanted):
    with pytest.raises(ConfigError, match="save with filter=None and give it to load_local"):
        make(filter=wanted).save_local(tmp_path / "index")
    assert not (tmp_path / "index").exists()


def test_a_callable_analyzer_is_given_again_at_load(tmp_path):
    make(analyzer=split).save_local(tmp_path)
    with pytest.raises(IndexFormatError, match="pass it again"):
        BMXRetriever.load_local(tmp_path)
    assert ids(BMXRetriever.load_local(tmp_path, analyzer=split).invoke("dog")) == ["dog"]


def test_what_the_engine_saved_loads_with_default_options(tmp_path, retriever):
    retriever.engine.save(tmp_path)
    loaded = BMXRetriever.load_local(tmp_path)
    assert loaded.model_dump() == retriever.model_dump()
    assert loaded.invoke("dog") == retriever.invoke("dog")


def test_a_folder_without_an_index_or_with_damaged_options_says_so(tmp_path, retriever):
    with pytest.raises(IndexNotFoundError):
        BMXRetriever.load_local(tmp_path / "nowhere")
    retriever.save_local(tmp_path)
    manifest = json.loads((tmp_path / MANIFEST).read_text())
    manifest["content"]["options"]["caller"]["langchain"] = [1]
    (tmp_path / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(CorruptIndexError, match="options"):
        BMXRetriever.load_local(tmp_path)


@pytest.mark.parametrize(
    "clone", [lambda r: pickle.loads(pickle.dumps(r)), copy.deepcopy], ids=["pickle", "deepcopy"]
)
@pytest.mark.parametrize("loaded", [False, True])
def test_a_copy_answers_alike_and_is_edited_apart(tmp_path, clone, loaded):
    original = make(**EVERY_OPTION)
    if loaded:
        original.save_local(tmp_path)
        original = BMXRetriever.load_local(tmp_path)
    copied = clone(original)
    assert copied.model_dump() == original.model_dump()
    assert copied.invoke("dog") == original.invoke("dog")
    copied.add_texts(["my wolf"], [{"animal": "dog"}], ids=["wolf"])
    assert ids(copied.invoke("wolf")) == ["wolf"]
    assert original.invoke("wolf") == []


# Imports


def test_without_langchain_the_import_names_the_extra():
    code = """
        import sys
        class Blocker:
            def find_spec(self, name, path=None, target=None):
                if name.partition(".")[0] in ("langchain_core", "pydantic", "langchain_classic"):
                    raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        sys.meta_path.insert(0, Blocker())
        import prorank_plugins
        from prorank_plugins import LexicalRetriever, MissingExtraError
        try:
            import prorank_plugins.langchain
        except ImportError as error:
            assert isinstance(error, MissingExtraError)
            print(error)
    """
    assert "pip install 'prorank-plugins[langchain]'" in run_python(code)


def test_importing_the_package_loads_no_langchain():
    code = (
        "import sys, prorank_plugins; print([m for m in sys.modules if 'langchain' in m or m == 'pydantic'])"
    )
    assert run_python(code).strip() == "[]"


def test_the_module_loads_neither_torch_nor_the_other_framework():
    code = """
        import sys, prorank_plugins.langchain
        print([m for m in ("torch", "transformers", "llama_index", "langchain_classic") if m in sys.modules])
    """
    assert run_python(code).strip() == "[]"
