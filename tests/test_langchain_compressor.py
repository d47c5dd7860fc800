"""The LangChain compressor: any reranker, its results as copies, models by name loaded once."""

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
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("langchain_core")

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.documents import BaseDocumentCompressor, BaseDocumentTransformer, Document
from langchain_core.runnables import ConfigurableField, RunnableParallel, RunnablePassthrough
from pydantic import ValidationError

from prorank_plugins import ConfigError, Reranker, ScoredDocument
from prorank_plugins import Document as CoreDocument
from prorank_plugins.langchain import BMXRetriever, ProRankCompressor
from tests.rerankers import Given, Instructed, Overlap, Slow, Unpicklable, overlap

QUERY = "owls hunt mice at night"
TEXTS = {
    "bee": "Bees dance to tell where flowers are.",
    "bat": "Bats hunt insects at night by sound.",
    "owl": "Owls hunt mice at night.",
    "fox": "Foxes hunt mice in the snow.",
}
BEST_FIRST = ["owl", "bat", "fox", "bee"]


def make_documents():
    return [
        Document(id=id, page_content=text, metadata={"kind": {"name": id}, "bmx_score": 1.5})
        for id, text in TEXTS.items()
    ]


def make(model=None, **options):
    return ProRankCompressor(model=Overlap() if model is None else model, **options)


def ids(documents):
    return [document.id for document in documents]


def scores(documents):
    return [document.metadata["relevance_score"] for document in documents]


async def both_ways(compressor, documents, query=QUERY):
    """What a compressor gives, found to be the same when asked asynchronously."""
    found = compressor.compress_documents(documents, query)
    assert await compressor.acompress_documents(documents, query) == found
    return found


def run_python(code):
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


# What comes back


async def test_the_best_documents_come_first_with_their_scores():
    found = await both_ways(make(top_n=None), make_documents())
    assert ids(found) == BEST_FIRST
    assert scores(found) == [overlap(QUERY, TEXTS[id]) for id in BEST_FIRST]


async def test_ids_metadata_and_the_retrieval_score_are_kept():
    for found in await both_ways(make(), make_documents()):
        assert found.page_content == TEXTS[found.id]
        assert found.metadata["kind"] == {"name": found.id}
        assert found.metadata["bmx_score"] == 1.5


def test_an_older_score_is_overwritten():
    once = make(top_n=None).compress_documents(make_documents(), QUERY)
    again = make(top_n=None).compress_documents(once, "bees dance")
    assert (again[0].id, again[0].metadata["relevance_score"]) == ("bee", 1.5)


def test_scores_of_numpy_become_floats_and_metadata_stays_json():
    model = Given(lambda documents: [ScoredDocument(document, np.float32(0.25)) for document in documents])
    for document in make(model).compress_documents(make_documents(), QUERY):
        assert type(document.metadata["relevance_score"]) is float
        assert json.loads(json.dumps(document.metadata)) == document.metadata


async def test_the_callers_documents_are_neither_changed_nor_returned():
    documents = make_documents()
    found = await both_ways(make(top_n=None), documents)
    assert documents == make_documents()
    for document in found:
        document.metadata["kind"]["name"] = "changed"
        document.page_content = "changed"
    assert documents == make_documents()


def test_documents_of_another_class_stay_what_they_are():
    class Page(Document):
        number: int = 0

    [found] = make().compress_documents([Page(page_content="owls", number=7)], QUERY)
    assert (type(found), found.number) == (Page, 7)


async def test_documents_that_are_equal_or_share_an_id_or_lack_one_are_kept_apart():
    documents = [
        Document(page_content="owls", metadata={"n": 0}),
        Document(page_content="owls", metadata={"n": 1}),
        Document(id="same", page_content="owls hunt", metadata={"n": 2}),
        Document(id="same", page_content="owls hunt mice", metadata={"n": 3}),
        Document(id="same", page_content="owls hunt", metadata={"n": 4}),
    ]
    found = await both_ways(make(top_n=None), documents)
    assert [document.metadata["n"] for document in found] == [3, 2, 4, 0, 1]
    assert ids(found) == ["same", "same", "same", None, None]


def test_ties_stay_in_the_order_they_came_in():
    def backwards(documents):
        return [ScoredDocument(document, 1.0) for document in reversed(documents)]

    assert ids(make(Given(backwards)).compress_documents(make_documents(), QUERY)) == list(TEXTS)[:3]


async def test_nothing_gives_nothing_without_loading_a_model(loads):
    assert await both_ways(ProRankCompressor(model="nothing"), []) == []
    assert await both_ways(ProRankCompressor(model="nothing", top_n=0), make_documents()) == []
    assert loads == []


@pytest.mark.parametrize(("top_n", "n_found"), [(0, 0), (1, 1), (4, 4), (100, 4), (None, 4)])
async def test_at_most_top_n_documents_come_back(top_n, n_found):
    assert ids(await both_ways(make(top_n=top_n), make_documents())) == BEST_FIRST[:n_found]


def test_3_documents_are_the_default():
    assert len(make().compress_documents(make_documents(), QUERY)) == 3


@pytest.mark.parametrize(("threshold", "n_found"), [(4.5, 1), (4.6, 0), (1.5, 3), (-10, 4), (0, 3)])
async def test_documents_below_the_threshold_are_left_out(threshold, n_found):
    found = await both_ways(make(top_n=None, score_threshold=threshold), make_documents())
    assert ids(found) == BEST_FIRST[:n_found]


def test_threshold_and_top_n_both_hold():
    assert len(make(top_n=1, score_threshold=0).compress_documents(make_documents(), QUERY)) == 1
    assert len(make(top_n=4, score_threshold=0).compress_documents(make_documents(), QUERY)) == 3


async def test_a_reranker_may_leave_documents_out():
    model = Given(lambda documents: [ScoredDocument(documents[2], 1.0)])
    assert ids(await both_ways(make(model), make_documents())) == ["owl"]
    assert await both_ways(make(Given(lambda documents: [])), make_documents()) == []


def test_metadata_that_a_reranker_adds_comes_along():
    def with_span(documents):
        return [ScoredDocument(CoreDocument(d.id, d.text, {"span": [0, 4]}), 1.0) for d in documents]

    [found] = make(Given(with_span), top_n=1).compress_documents(make_documents(), QUERY)
    assert found.metadata["span"] == [0, 4]
    assert found.metadata["kind"] == {"name": "bee"}


def test_a_reranker_sees_text_and_metadata():
    def look(documents):
        assert [(d.text, d.metadata["kind"]["name"]) for d in documents] == [(t, i) for i, t in TEXTS.items()]
        return []

    assert make(Given(look)).compress_documents(make_documents(), QUERY) == []


# What is refused


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda documents: [ScoredDocument(CoreDocument("x", "x"), 1.0)], "'x' that it was not given"),
        (lambda documents: [ScoredDocument(documents[0], 1.0)] * 2, "returned already"),
        (lambda documents: [ScoredDocument(documents[0], float("nan"))], "document 0 the score nan"),
        (lambda documents: [ScoredDocument(documents[1], float("inf"))], "document 1 the score inf"),
    ],
)
async def test_what_a_reranker_must_not_return_is_refused(answer, message):
    with pytest.raises(ConfigError, match=message):
        make(Given(answer)).compress_documents(make_documents(), QUERY)
    with pytest.raises(ConfigError, match=message):
        await make(Given(answer)).acompress_documents(make_documents(), QUERY)


def test_what_is_no_document_is_refused_with_its_position():
    with pytest.raises(ConfigError, match=r"documents\[1\] must be a langchain_core.*found str; wrap"):
        make().compress_documents([Document(page_content="a"), "b"], QUERY)


@pytest.mark.parametrize("model", [None, 3, object(), Overlap])
def test_what_is_no_model_is_refused(model):
    with pytest.raises(ValidationError, match="model must be a hub name, a folder or an object"):
        ProRankCompressor(model=model)


@pytest.mark.parametrize(
    "wrong",
    [{"top_n": -1}, {"top_n": 1.5}, {"score_threshold": float("nan")}, {"max_length": 0}, {"topn": 3}],
)
def test_a_wrong_option_is_refused(wrong):
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        make(**wrong)


async def test_a_negative_top_n_that_was_assigned_is_refused():
    compressor = make()
    compressor.top_n = -1
    with pytest.raises(ConfigError, match="top_n must be at least 0"):
        compressor.compress_documents(make_documents(), QUERY)
    with pytest.raises(ConfigError, match="top_n must be at least 0"):
        await compressor.acompress_documents(make_documents(), QUERY)


async def test_an_instruction_reaches_the_reranker_or_is_refused():
    model = Instructed()
    await both_ways(make(model, instruction="animals"), make_documents())
    await both_ways(make(model), make_documents())
    assert model.calls == [("rerank", "animals"), ("arerank", "animals"), ("rerank", None), ("arerank", None)]
    with pytest.raises(ConfigError, match=r"Overlap\.rerank takes no instruction"):
        make(instruction="animals").compress_documents(make_documents(), QUERY)


# Models by name


def test_the_released_model_is_the_default():
    assert ProRankCompressor().model == "mixedbread-ai/mxbai-rerank-base-v2"


def test_a_name_is_loaded_on_first_use_with_the_options_given(loads):
    plain = ProRankCompressor(model="some/model")
    chosen = ProRankCompressor(model=Path("some/model"), device="cpu", dtype="float32", max_length=512)
    assert loads == []
    assert ids(plain.compress_documents(make_documents(), QUERY)) == BEST_FIRST[:3]
    assert loads == [("some/model", {})]
    chosen.compress_documents(make_documents(), QUERY)
    assert loads[1:] == [("some/model", {"device": "cpu", "dtype": "float32", "max_length": 512})]
    chosen.compress_documents(make_documents(), QUERY)
    assert len(loads) == 2


def test_32_threads_load_a_name_once(loads):
    start = threading.Barrier(32)
    compressors = [ProRankCompressor(model="for-threads") for _ in range(2)]

    def compress(n):
        start.wait()
        return compressors[n % 2].compress_documents(make_documents(), QUERY)

    with ThreadPoolExecutor(32) as pool:
        found = list(pool.map(compress, range(32)))
    assert loads == [("for-threads", {})]
    assert all(ids(documents) == BEST_FIRST[:3] for documents in found)


async def test_tasks_load_a_name_once_and_not_on_the_event_loop(loads):
    compressor = ProRankCompressor(model="for-tasks")
    found = await asyncio.gather(*(compressor.acompress_documents(make_documents(), QUERY) for _ in range(8)))
    assert loads == [("for-tasks", {})]
    assert all(ids(documents) == BEST_FIRST[:3] for documents in found)


def test_a_load_that_fails_is_tried_again(loads, monkeypatch):
    compressor = ProRankCompressor(model="flaky")
    module = sys.modules["prorank_plugins.rerank.reranker"]
    with monkeypatch.context() as patch:
        patch.setattr(module.ProRankReranker, "from_pretrained", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            compressor.compress_documents(make_documents(), QUERY)
    assert ids(compressor.compress_documents(make_documents(), QUERY)) == BEST_FIRST[:3]


@pytest.mark.parametrize(
    "clone",
    [
        lambda c: type(c)(**dict(c)),
        lambda c: c.model_copy(update={"top_n": 1}),
        lambda c: c.model_copy(deep=True),
        copy.copy,
        copy.deepcopy,
        lambda c: pickle.loads(pickle.dumps(c)),
    ],
    ids=["constructor", "model_copy", "deep model_copy", "copy", "deepcopy", "pickle"],
)
@pytest.mark.parametrize("used", [True, False])
def test_a_copy_loads_no_second_model(loads, clone, used):
    compressor = ProRankCompressor(model="to-copy", dtype="float32")
    if used:
        compressor.compress_documents(make_documents(), QUERY)
    for _ in range(2):
        assert clone(compressor).compress_documents(make_documents(), QUERY)[0].id == "owl"
    assert len(loads) == 1


def test_another_model_can_be_assigned_or_copied_in(loads):
    compressor = ProRankCompressor(model="first")
    compressor.model = "second"
    compressor.compress_documents(make_documents(), QUERY)
    third = compressor.model_copy(update={"model": Path("third"), "device": "cpu"})
    third.compress_documents(make_documents(), QUERY)
    assert loads == [("second", {}), ("third", {"device": "cpu"})]
    compressor.model = Given(lambda documents: [])
    assert compressor.compress_documents(make_documents(), QUERY) == []


def test_a_folder_that_was_written_anew_is_another_model(loads, tmp_path):
    (tmp_path / "config.json").write_text("{}")
    before = ProRankCompressor(model=tmp_path)
    before.compress_documents(make_documents(), QUERY)
    same = ProRankCompressor(model=str(tmp_path))
    same.compress_documents(make_documents(), QUERY)
    assert len(loads) == 1
    (tmp_path / "config.json").write_text('{"trained": "more"}')
    ProRankCompressor(model=tmp_path).compress_documents(make_documents(), QUERY)
    before.compress_documents(make_documents(), QUERY)
    assert len(loads) == 2


def test_a_model_that_nobody_holds_any_more_is_let_go(loads):
    for _ in range(2):
        ProRankCompressor(model="short-lived").compress_documents(make_documents(), QUERY)
    assert len(loads) == 2


# Copying, showing


def test_compressors_with_the_same_model_and_options_are_equal():
    model = Overlap()
    used = make(model)
    used.compress_documents(make_documents(), QUERY)
    assert used == make(model) == used.model_copy()
    assert used != make(model, top_n=1)
    assert used != make(Overlap())


def test_a_reranker_is_pickled_with_the_compressor_and_shared_by_deep_copies():
    compressor = make(Instructed(), top_n=2)
    revived = pickle.loads(pickle.dumps(compressor))
    assert isinstance(revived.model, Instructed)
    assert revived.compress_documents(make_documents(), QUERY) == compressor.compress_documents(
        make_documents(), QUERY
    )
    unpicklable = make(Unpicklable())
    assert copy.deepcopy(unpicklable).model is unpicklable.model
    assert copy.deepcopy([unpicklable])[0].top_n == 3
    with pytest.raises(TypeError, match="pickle"):
        pickle.dumps(unpicklable)


def test_repr_and_json_name_the_model():
    assert "model='some/model'" in repr(ProRankCompressor(model="some/model"))
    assert "model='overlap-v1'" in repr(make(Instructed()))
    assert "model='Overlap'" in repr(make())
    assert json.loads(make().model_dump_json())["model"] == "Overlap"
    assert ProRankCompressor.model_validate_json(
        ProRankCompressor(model="a/b", top_n=None).model_dump_json()
    ) == ProRankCompressor(model="a/b", top_n=None)


def test_the_docstring_example_runs(loads, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my-model").mkdir()
    blocks = re.findall(r"```python\n(.*?)```", inspect.getdoc(ProRankCompressor), flags=re.DOTALL)
    assert len(blocks) == 3
    names = {}
    for block in blocks:
        exec(textwrap.dedent(block), names)
    assert loads == [("./my-model", {})]
    assert len(names["documents"]) == 2
    assert names["chain"].invoke("sleeping dogs") == names["documents"]


# Threads and the event loop


def test_32_threads_get_the_same_results():
    compressor = make()
    expected = compressor.compress_documents(make_documents(), QUERY)
    with ThreadPoolExecutor(32) as pool:
        found = list(pool.map(lambda _: compressor.compress_documents(make_documents(), QUERY), range(320)))
    assert all(documents == expected for documents in found)


async def test_a_reranker_without_arerank_runs_in_threads():
    model = Slow()
    await asyncio.gather(*(make(model).acompress_documents(make_documents(), QUERY) for _ in range(4)))
    assert len(model.threads) == 4
    assert threading.get_ident() not in model.threads


async def test_arerank_is_used_where_there_is_one():
    model = Instructed()
    await make(model).acompress_documents(make_documents(), QUERY)
    assert model.calls == [("arerank", None)]


# As a Runnable and in chains


class Recorder(BaseCallbackHandler):
    def __init__(self):
        self.events = []

    def on_chain_start(self, serialized, inputs, *, name=None, **kwargs):
        self.events.append(("start", name))

    def on_chain_end(self, outputs, **kwargs):
        self.events.append(("end", ids(outputs)))

    def on_chain_error(self, error, **kwargs):
        self.events.append(("error", type(error)))


async def test_the_runnable_shows_up_in_traces():
    runnable = make(top_n=1).as_runnable()
    inputs = {"documents": make_documents(), "query": QUERY}
    for invoke in (runnable.invoke, runnable.ainvoke):
        recorder = Recorder()
        found = invoke(inputs, config={"callbacks": [recorder]})
        assert ids(found if isinstance(found, list) else await found) == ["owl"]
        assert recorder.events == [("start", "ProRankCompressor"), ("end", ["owl"])]


async def test_the_runnable_takes_batches():
    runnable = make(top_n=1).as_runnable()
    queries = ["bees dance", "owls", "snow"] * 8
    inputs = [{"documents": make_documents(), "query": query} for query in queries]
    expected = [["bee"], ["owl"], ["fox"]] * 8
    assert [ids(found) for found in runnable.batch(inputs)] == expected
    assert [ids(found) for found in await runnable.abatch(inputs, {"max_concurrency": 4})] == expected


@pytest.mark.parametrize("wrong", [{"documents": []}, {"query": QUERY}, [], "text", {}])
async def test_an_input_of_another_form_is_refused(wrong):
    runnable = make().as_runnable()
    recorder = Recorder()
    with pytest.raises(ConfigError, match="the input must be"):
        runnable.invoke(wrong, config={"callbacks": [recorder]})
    assert [event for event, _ in recorder.events] == ["start", "error"]
    with pytest.raises(ConfigError, match="the input must be"):
        await runnable.ainvoke(wrong)


def bmx_retriever(k=10):
    return BMXRetriever.from_texts(TEXTS.values(), ids=TEXTS, k=k)


async def test_retriever_and_runnable_make_a_chain():
    candidates = RunnableParallel(documents=bmx_retriever(), query=RunnablePassthrough())
    chain = candidates | make(top_n=2).as_runnable()
    assert ids(chain.invoke(QUERY)) == ids(await chain.ainvoke(QUERY)) == ["owl", "bat"]


async def test_contextual_compression_reranks_what_bmx_found():
    retrievers = pytest.importorskip("langchain_classic.retrievers")
    compression = retrievers.ContextualCompressionRetriever(
        base_compressor=make(top_n=2), base_retriever=bmx_retriever()
    )
    found = compression.invoke(QUERY)
    assert ids(found) == ids(await compression.ainvoke(QUERY)) == ["owl", "bat"]
    for document in found:
        assert document.metadata["bmx_score"] > 0
        assert document.metadata["relevance_score"] == overlap(QUERY, TEXTS[document.id])
        assert json.loads(json.dumps(document.metadata)) == document.metadata
    assert ids(compression.invoke(QUERY, k=1)) == ["owl"]
    assert compression.invoke("zeppelin") == []
    assert [ids(documents) for documents in compression.batch([QUERY, "bees"] * 16)] == [
        ["owl", "bat"],
        ["bee"],
    ] * 16


def test_a_configured_retriever_loads_no_second_model(loads):
    retrievers = pytest.importorskip("langchain_classic.retrievers")
    compression = retrievers.ContextualCompressionRetriever(
        base_compressor=ProRankCompressor(model="configured", top_n=1), base_retriever=bmx_retriever()
    )
    flexible = compression.configurable_fields(tags=ConfigurableField(id="tags"))
    for tag in "abc":
        assert ids(flexible.invoke(QUERY, config={"configurable": {"tags": [tag]}})) == ["owl"]
    assert len(loads) == 1


async def test_a_pipeline_passes_documents_through_the_compressor():
    compressors = pytest.importorskip("langchain_classic.retrievers.document_compressors")

    class Upper(BaseDocumentTransformer):
        def transform_documents(self, documents, **kwargs):
            return [d.model_copy(update={"page_content": d.page_content.upper()}) for d in documents]

    pipeline = compressors.DocumentCompressorPipeline(
        transformers=[Upper(), make(top_n=3), make(top_n=1, model=Instructed())]
    )
    [found] = await both_ways(pipeline, make_documents())
    assert found.page_content == TEXTS["owl"].upper()


def test_the_class_is_a_langchain_compressor_over_the_protocol():
    assert isinstance(make(), BaseDocumentCompressor)
    assert isinstance(Overlap(), Reranker)
    parameters = inspect.signature(ProRankCompressor.compress_documents).parameters
    assert list(parameters) == ["self", "documents", "query", "callbacks"]
    assert make().compress_documents(make_documents(), QUERY, callbacks=[])


# Imports


def test_a_compressor_by_name_loads_neither_torch_nor_the_other_framework():
    code = """
        import sys
        from prorank_plugins.langchain import ProRankCompressor
        ProRankCompressor(model="some/model").compress_documents([], "q")
        heavy = ("torch", "transformers", "tokenizers", "llama_index", "langchain_classic")
        print([name for name in heavy if name in sys.modules])
    """
    assert run_python(code) == "[]"
