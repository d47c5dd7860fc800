"""The LlamaIndex postprocessor: any reranker, its events, the framework's traps, models by name."""

import asyncio
import copy
import inspect
import json
import pickle
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from pydantic import Field, ValidationError

pytest.importorskip("llama_index.core")

from llama_index.core import get_response_synthesizer
from llama_index.core.callbacks import CallbackManager, CBEventType, LlamaDebugHandler
from llama_index.core.callbacks.schema import EventPayload
from llama_index.core.instrumentation import get_dispatcher
from llama_index.core.instrumentation.event_handlers import BaseEventHandler
from llama_index.core.instrumentation.events.rerank import ReRankEndEvent, ReRankStartEvent
from llama_index.core.instrumentation.span_handlers import SimpleSpanHandler
from llama_index.core.llms import MockLLM
from llama_index.core.postprocessor import SimilarityPostprocessor
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.retrievers import QueryFusionRetriever
from llama_index.core.schema import IndexNode, MetadataMode, Node, NodeWithScore, QueryBundle, TextNode

from prorank_plugins import ConfigError, ScoredDocument
from prorank_plugins import Document as CoreDocument
from prorank_plugins.llama_index import BMXRetriever, ProRankPostprocessor
from tests.rerankers import Given, Instructed, Overlap, Slow, Unpicklable, overlap

QUERY = "owls hunt mice at night"
TEXTS = {
    "bee": "Bees dance to tell where flowers are.",
    "bat": "Bats hunt insects at night by sound.",
    "owl": "Owls hunt mice at night.",
    "fox": "Foxes hunt mice in the snow.",
}
BEST_FIRST = ["owl", "bat", "fox", "bee"]


def make_nodes():
    return [
        NodeWithScore(
            node=TextNode(
                id_=id,
                text=text,
                metadata={"tags": [id]},
                excluded_embed_metadata_keys=["tags"],
                embedding=[0.5, 1.0],
            ),
            score=1.5,
        )
        for id, text in TEXTS.items()
    ]


def make(model=None, **options):
    return ProRankPostprocessor(model=Overlap() if model is None else model, **options)


def ids(results):
    return [result.node_id for result in results]


async def both_ways(postprocessor, nodes, query=QUERY):
    """What a postprocessor gives, found to be the same when asked asynchronously."""
    found = postprocessor.postprocess_nodes(nodes, query_str=query)
    assert await postprocessor.apostprocess_nodes(nodes, query_str=query) == found
    return found


class TestResults:
    async def test_the_best_nodes_come_first_with_their_scores(self):
        found = await both_ways(make(top_n=None), make_nodes())
        assert ids(found) == BEST_FIRST
        assert [result.score for result in found] == [overlap(QUERY, TEXTS[id]) for id in BEST_FIRST]

    async def test_nodes_are_what_they_were(self):
        before = {result.node_id: result.node for result in make_nodes()}
        for result in await both_ways(make(top_n=None), make_nodes()):
            assert result.node == before[result.node_id]
            assert result.node.hash == before[result.node_id].hash

    async def test_the_callers_nodes_are_neither_changed_nor_returned(self):
        nodes = make_nodes()
        for result in await both_ways(make(top_n=None, keep_retrieval_score=True), nodes):
            result.score = 99.0
            result.node.metadata["tags"].append("changed")
            result.node.embedding.append(1.0)
            result.node.set_content("changed")
        assert nodes == make_nodes()

    async def test_scores_of_numpy_become_floats(self):
        model = Given(lambda documents: [ScoredDocument(d, np.float32(0.25)) for d in documents])
        for result in await both_ways(make(model), make_nodes()):
            assert type(result.score) is float
            assert json.loads(result.to_json())["score"] == 0.25

    async def test_nodes_that_are_equal_or_share_an_id_are_kept_apart(self):
        texts = ["owls", "owls", "owls hunt", "owls hunt mice", "owls hunt"]
        nodes = [
            NodeWithScore(node=TextNode(id_="same", text=text, metadata={"n": n}), score=None)
            for n, text in enumerate(texts)
        ]
        found = await both_ways(make(top_n=None), nodes)
        assert [result.metadata["n"] for result in found] == [3, 2, 4, 0, 1]

    def test_ties_stay_in_the_order_they_came_in(self):
        model = Given(lambda documents: [ScoredDocument(d, 1.0) for d in reversed(documents)])
        found = make(model, top_n=3).postprocess_nodes(make_nodes(), query_str=QUERY)
        assert ids(found) == list(TEXTS)[:3]

    async def test_negative_scores_stay_below_zero(self):
        model = Given(lambda documents: [ScoredDocument(d, float(-n)) for n, d in enumerate(documents)])
        found = await both_ways(make(model, top_n=3), make_nodes())
        assert [result.score for result in found] == [0.0, -1.0, -2.0]

    @pytest.mark.parametrize(("top_n", "n_found"), [(0, 0), (1, 1), (4, 4), (100, 4), (None, 4)])
    async def test_at_most_top_n_nodes_come_back(self, top_n, n_found):
        assert ids(await both_ways(make(top_n=top_n), make_nodes())) == BEST_FIRST[:n_found]

    def test_2_nodes_are_the_default(self):
        assert len(make().postprocess_nodes(make_nodes(), query_str=QUERY)) == 2

    @pytest.mark.parametrize(("threshold", "n_found"), [(4.5, 1), (4.6, 0), (1.5, 3), (-10, 4), (0, 3)])
    async def test_nodes_below_the_threshold_are_left_out(self, threshold, n_found):
        found = await both_ways(make(top_n=None, score_threshold=threshold), make_nodes())
        assert ids(found) == BEST_FIRST[:n_found]

    async def test_a_reranker_may_leave_nodes_out(self):
        model = Given(lambda documents: [ScoredDocument(documents[2], 1.0)])
        assert ids(await both_ways(make(model), make_nodes())) == ["owl"]

    def test_the_text_meant_for_embedding_is_scored(self):
        def look(documents):
            assert [d.text for d in documents] == ["title: owls\n\nat night", "", "door"]
            assert documents[0].metadata == {"title": "owls", "author": "me"}
            return []

        shown = TextNode(text="at night", metadata={"title": "owls", "author": "me"})
        shown.excluded_embed_metadata_keys = ["author"]
        nodes = [shown, Node(), IndexNode(text="door", index_id="x")]
        found = [NodeWithScore(node=node) for node in nodes]
        assert make(Given(look)).postprocess_nodes(found, query_str=QUERY) == []

    def test_the_object_behind_an_index_node_is_handed_on(self):
        behind = object()
        door = IndexNode(text="owls", index_id="x", obj=behind)
        [result] = make().postprocess_nodes([NodeWithScore(node=door)], query_str=QUERY)
        assert result.node.obj is behind


class TestRetrievalScore:
    async def test_it_is_kept_on_request_where_no_model_reads_it(self):
        nodes = make_nodes()
        nodes[2].score = np.float32(0.5)
        nodes[1].score = None
        owl, bat = await both_ways(make(keep_retrieval_score=True), nodes)
        assert json.dumps([owl.metadata["retrieval_score"], bat.metadata["retrieval_score"]]) == "[0.5, null]"
        for mode in (MetadataMode.EMBED, MetadataMode.LLM):
            assert owl.get_content(mode) == make_nodes()[2].get_content(mode)

    def test_it_stays_out_of_the_metadata_otherwise(self):
        assert make().postprocess_nodes(make_nodes(), query_str=QUERY)[0].metadata == {"tags": ["owl"]}

    def test_a_second_pass_keeps_the_score_of_the_first(self):
        once = make(keep_retrieval_score=True).postprocess_nodes(make_nodes(), query_str=QUERY)
        twice = make(keep_retrieval_score=True).postprocess_nodes(once, query_str="bats")
        assert (twice[0].node_id, twice[0].metadata["retrieval_score"]) == ("bat", 2.5)


class TestRefusals:
    async def test_a_missing_query_is_an_error_as_in_the_framework(self):
        with pytest.raises(ConfigError, match=r"Missing query bundle in extra info\."):
            make().postprocess_nodes(make_nodes())
        with pytest.raises(ValueError, match=r"Missing query bundle in extra info\."):
            await make().apostprocess_nodes(make_nodes())

    async def test_nothing_gives_nothing_without_loading_a_model(self, loads):
        postprocessor = make("nothing")
        assert await both_ways(postprocessor, []) == []
        assert postprocessor.postprocess_nodes([]) == []
        assert make("nothing", top_n=0).postprocess_nodes(make_nodes(), query_str=QUERY) == []
        assert loads == []

    @pytest.mark.parametrize(
        ("answer", "message"),
        [
            (lambda documents: [ScoredDocument(CoreDocument("x", "x"), 1.0)], "'x' that it was not given"),
            (lambda documents: [ScoredDocument(documents[0], float("nan"))], "document 0 the score nan"),
        ],
    )
    async def test_what_a_reranker_must_not_return_is_refused(self, answer, message):
        with pytest.raises(ConfigError, match=message):
            make(Given(answer)).postprocess_nodes(make_nodes(), query_str=QUERY)
        with pytest.raises(ConfigError, match=message):
            await make(Given(answer)).apostprocess_nodes(make_nodes(), query_str=QUERY)

    @pytest.mark.parametrize("model", [None, 3, object(), Overlap])
    def test_what_is_no_model_is_refused(self, model):
        with pytest.raises(ValidationError, match="model must be a hub name, a folder or an object"):
            ProRankPostprocessor(model=model)

    @pytest.mark.parametrize(
        "wrong",
        [{"top_n": -1}, {"score_threshold": float("inf")}, {"max_length": 0}, {"topn": 3}],
    )
    def test_a_wrong_option_is_refused(self, wrong):
        with pytest.raises(ValidationError, match=next(iter(wrong))):
            make(**wrong)

    async def test_an_instruction_reaches_the_reranker_or_is_refused(self):
        model = Instructed()
        await both_ways(make(model, instruction="animals"), make_nodes())
        assert model.calls == [("rerank", "animals"), ("arerank", "animals")]
        with pytest.raises(ConfigError, match=r"Overlap\.rerank takes no instruction"):
            make(instruction="animals").postprocess_nodes(make_nodes(), query_str=QUERY)


class TestModelsByName:
    def test_the_released_model_is_the_default(self):
        assert ProRankPostprocessor().model == "mixedbread-ai/mxbai-rerank-base-v2"

    def test_a_name_is_loaded_on_first_use_with_the_options_given(self, loads):
        postprocessor = make(Path("some/model"), device="cpu", dtype="float32", max_length=512)
        assert loads == []
        for _ in range(2):
            assert ids(postprocessor.postprocess_nodes(make_nodes(), query_str=QUERY)) == BEST_FIRST[:2]
        assert loads == [("some/model", {"device": "cpu", "dtype": "float32", "max_length": 512})]

    def test_32_threads_load_a_name_once(self, loads):
        start, postprocessor = threading.Barrier(32), make("for-threads")

        def postprocess(_):
            start.wait()
            return postprocessor.postprocess_nodes(make_nodes(), query_str=QUERY)

        with ThreadPoolExecutor(32) as pool:
            found = list(pool.map(postprocess, range(32)))
        assert loads == [("for-threads", {})]
        assert all(ids(results) == BEST_FIRST[:2] for results in found)

    async def test_tasks_load_a_name_once(self, loads):
        postprocessor = make("for-tasks")
        await asyncio.gather(
            *(postprocessor.apostprocess_nodes(make_nodes(), query_str=QUERY) for _ in range(8))
        )
        assert loads == [("for-tasks", {})]

    @pytest.mark.parametrize(
        "clone",
        [
            lambda p: type(p)(**dict(p)),
            lambda p: p.model_copy(update={"top_n": 1}),
            copy.copy,
            copy.deepcopy,
            lambda p: pickle.loads(pickle.dumps(p)),
            lambda p: type(p).from_json(p.to_json()),
        ],
        ids=["constructor", "model_copy", "copy", "deepcopy", "pickle", "json"],
    )
    def test_a_copy_loads_no_second_model(self, loads, clone):
        postprocessor = make("to-copy", dtype="float32")
        postprocessor.postprocess_nodes(make_nodes(), query_str=QUERY)
        assert clone(postprocessor).postprocess_nodes(make_nodes(), query_str=QUERY)[0].node_id == "owl"
        assert len(loads) == 1

    def test_another_model_can_be_assigned(self, loads):
        postprocessor = make("first")
        postprocessor.model = "second"
        postprocessor.postprocess_nodes(make_nodes(), query_str=QUERY)
        assert loads == [("second", {})]


class Recorder(BaseEventHandler):
    """Keeps the events it hears of."""

    events: list = Field(default_factory=list)

    def handle(self, event, **_):
        self.events.append(event)


@pytest.fixture
def recorded():
    dispatcher, recorder, spans = get_dispatcher(), Recorder(), SimpleSpanHandler()
    dispatcher.add_event_handler(recorder)
    dispatcher.add_span_handler(spans)
    yield recorder.events, spans
    dispatcher.event_handlers.remove(recorder)
    dispatcher.span_handlers.remove(spans)


def ask(postprocessor, way, nodes, **query):
    if way == "sync":
        return postprocessor.postprocess_nodes(nodes, **query)
    return asyncio.run(postprocessor.apostprocess_nodes(nodes, **query))


@pytest.mark.parametrize("way", ["sync", "async"])
class TestInstrumentation:
    def test_one_start_and_one_end_event_are_sent(self, recorded, way):
        events, spans = recorded
        found = ask(make(Instructed()), way, make_nodes(), query_str=QUERY)
        start, end = events
        assert (type(start), type(end)) == (ReRankStartEvent, ReRankEndEvent)
        assert (start.query, start.top_n, start.model_name) == (QueryBundle(QUERY), 2, "overlap-v1")
        assert ids(start.nodes) == list(TEXTS)
        assert end.nodes == found
        name = "_postprocess_nodes" if way == "sync" else "_apostprocess_nodes"
        [span] = spans.completed_spans
        assert span.id_.startswith(f"ProRankPostprocessor.{name}")
        assert {start.span_id, end.span_id} == {span.id_}

    def test_no_limit_is_reported_as_the_number_of_nodes(self, recorded, way):
        ask(make(top_n=None), way, make_nodes(), query_str=QUERY)
        assert recorded[0][0].top_n == 4

    def test_nothing_to_do_or_no_query_sends_no_event(self, recorded, way):
        handler = LlamaDebugHandler(print_trace_on_end=False)
        postprocessor = make(callback_manager=CallbackManager([handler]))
        ask(postprocessor, way, [], query_str=QUERY)
        with pytest.raises(ConfigError):
            ask(postprocessor, way, make_nodes())
        assert not any(isinstance(event, (ReRankStartEvent, ReRankEndEvent)) for event in recorded[0])
        assert handler.get_event_pairs(CBEventType.RERANKING) == []

    def test_a_failing_reranker_drops_the_span_and_ends_the_callback_event(self, recorded, way):
        events, spans = recorded
        handler = LlamaDebugHandler(print_trace_on_end=False)
        postprocessor = make(Given(lambda documents: 1 / 0), callback_manager=CallbackManager([handler]))
        with pytest.raises(ZeroDivisionError):
            ask(postprocessor, way, make_nodes(), query_str=QUERY)
        assert [event.class_name() for event in events] == ["ReRankStartEvent", "SpanDropEvent"]
        assert len(spans.dropped_spans) == 1
        ((_, end),) = handler.get_event_pairs(CBEventType.RERANKING)
        assert isinstance(end.payload[EventPayload.EXCEPTION], ZeroDivisionError)

    def test_callbacks_hear_of_the_query_and_the_nodes(self, way):
        handler = LlamaDebugHandler(print_trace_on_end=False)
        postprocessor = make(callback_manager=CallbackManager([handler]))
        found = ask(postprocessor, way, make_nodes(), query_str=QUERY)
        ((start, end),) = handler.get_event_pairs(CBEventType.RERANKING)
        assert ids(start.payload[EventPayload.NODES]) == list(TEXTS)
        assert start.payload[EventPayload.MODEL_NAME] == "Overlap"
        assert start.payload[EventPayload.QUERY_STR] == QUERY
        assert start.payload[EventPayload.TOP_K] == 2
        assert end.payload[EventPayload.NODES] == found


class TestConcurrency:
    def test_32_threads_get_the_same_results(self):
        postprocessor = make()
        expected = postprocessor.postprocess_nodes(make_nodes(), query_str=QUERY)
        with ThreadPoolExecutor(32) as pool:
            found = pool.map(
                lambda _: postprocessor.postprocess_nodes(make_nodes(), query_str=QUERY), range(320)
            )
            assert all(results == expected for results in found)

    async def test_a_reranker_without_arerank_runs_in_threads(self):
        model = Slow()
        postprocessor = make(model)
        await asyncio.gather(
            *(postprocessor.apostprocess_nodes(make_nodes(), query_str=QUERY) for _ in range(4))
        )
        assert len(model.threads) == 4
        assert threading.get_ident() not in model.threads

    async def test_arerank_is_used_where_there_is_one(self):
        model = Instructed()
        await make(model).apostprocess_nodes(make_nodes(), query_str=QUERY)
        assert model.calls == [("arerank", None)]


def bmx_retriever():
    return BMXRetriever.from_defaults(nodes=[found.node for found in make_nodes()], similarity_top_k=10)


class TestInsideTheFramework:
    def test_the_class_is_a_node_postprocessor(self):
        assert BaseNodePostprocessor.__name__ in [base.__name__ for base in ProRankPostprocessor.__mro__]
        assert ProRankPostprocessor.class_name() == "ProRankPostprocessor"
        assert make()._get_prompts() == {}

    def test_a_query_engine_answers_from_the_best_nodes_and_lends_its_callbacks(self):
        handler = LlamaDebugHandler(print_trace_on_end=False)
        postprocessor = make(top_n=1)
        engine = RetrieverQueryEngine(
            bmx_retriever(),
            response_synthesizer=get_response_synthesizer(llm=MockLLM()),
            node_postprocessors=[postprocessor],
            callback_manager=CallbackManager([handler]),
        )
        assert postprocessor.callback_manager is engine.callback_manager
        for response in (engine.query(QUERY), asyncio.run(engine.aquery(QUERY))):
            assert ids(response.source_nodes) == ["owl"]
            assert "Owls hunt mice" in str(response)
        assert len(handler.get_event_pairs(CBEventType.RERANKING)) == 2

    @pytest.mark.parametrize("mode", ["reciprocal_rerank", "relative_score", "dist_based_score", "simple"])
    def test_fused_results_are_reranked_and_left_as_they_were(self, mode):
        fusion = QueryFusionRetriever(
            [bmx_retriever(), bmx_retriever()],
            llm=MockLLM(),
            mode=mode,
            num_queries=1,
            similarity_top_k=10,
            use_async=False,
        )
        fused = fusion.retrieve(QUERY)
        before = copy.deepcopy(fused)
        found = make(keep_retrieval_score=True).postprocess_nodes(fused, QueryBundle(QUERY))
        assert ids(found) == ["owl", "bat"]
        assert fused == before
        assert ids(fusion.retrieve(QUERY)) == ids(before)

    def test_a_similarity_cutoff_can_follow(self):
        found = make(top_n=None).postprocess_nodes(make_nodes(), query_str=QUERY)
        cut = SimilarityPostprocessor(similarity_cutoff=2.0).postprocess_nodes(found)
        assert ids(cut) == ["owl", "bat"]

    def test_the_class_docstring_example_works(self, loads, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        (tmp_path / "my-model").mkdir()
        text = inspect.getdoc(ProRankPostprocessor).split("::\n")[1].split("or, in a query engine")[0]
        scope = {}
        exec("\n".join(line.removeprefix("    ") for line in text.splitlines()), scope)
        assert [result.text for result in scope["best"]] == ["Owls hunt at night."]
        assert loads == [("./my-model", {})]


class TestCopying:
    def test_json_holds_every_option_and_the_models_name(self):
        options = {
            "top_n": None,
            "score_threshold": 0.5,
            "instruction": "animals",
            "keep_retrieval_score": True,
            "device": "cpu",
            "dtype": "float32",
            "max_length": 512,
        }
        dumped = json.loads(make("some/model", **options).to_json())
        assert dumped == {"model": "some/model", "class_name": "ProRankPostprocessor", **options}
        assert ProRankPostprocessor.from_dict(dumped).to_dict() == dumped
        assert json.loads(make(Instructed()).to_json())["model"] == "overlap-v1"
        assert make().model_dump()["model"] == "Overlap"
        assert set(options) | {"model", "callback_manager"} == set(ProRankPostprocessor.model_fields)

    def test_the_representation_names_the_model(self):
        assert "model='overlap-v1'" in repr(make(Instructed()))
        assert "object at" not in repr(make()).split("callback_manager")[0]

    def test_a_reranker_is_pickled_with_the_postprocessor(self):
        postprocessor = make(Instructed(), top_n=1)
        revived = pickle.loads(pickle.dumps(postprocessor))
        assert isinstance(revived.model, Instructed)
        assert revived.top_n == 1
        assert ids(revived.postprocess_nodes(make_nodes(), query_str=QUERY)) == ["owl"]

    def test_a_model_that_cannot_be_pickled_is_never_dropped_in_silence(self):
        postprocessor = make(Unpicklable())
        with pytest.raises(TypeError, match="pickle"):
            pickle.dumps(postprocessor)
        assert postprocessor.postprocess_nodes(make_nodes(), query_str=QUERY)

    def test_deep_copies_share_model_and_callbacks_and_pickles_leave_callbacks(self):
        handler = LlamaDebugHandler(print_trace_on_end=False)
        handler.connection = threading.Lock()
        postprocessor = make(Unpicklable(), callback_manager=CallbackManager([handler]))
        twin = copy.deepcopy(postprocessor)
        assert twin.model is postprocessor.model
        assert twin.callback_manager is postprocessor.callback_manager
        postprocessor.model = "some/model"
        revived = pickle.loads(pickle.dumps(postprocessor))
        assert revived.model == "some/model"
        assert revived.callback_manager.handlers == []
        assert postprocessor.callback_manager.handlers == [handler]


def test_a_postprocessor_by_name_loads_neither_torch_nor_the_other_framework():
    code = (
        "import sys; from prorank_plugins.llama_index import ProRankPostprocessor\n"
        "ProRankPostprocessor(model='some/model').postprocess_nodes([], query_str='q')\n"
        "heavy = ('torch', 'transformers', 'tokenizers', 'langchain_core')\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"
