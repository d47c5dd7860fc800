"""The LlamaIndex retriever: its interface, the framework's traps, filters, editing, saving."""

import asyncio
import copy
import json
import pickle
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from typing import Any

import numpy as np
import pytest
from pydantic import Field

pytest.importorskip("llama_index.core")

from llama_index.core import MockEmbedding, VectorStoreIndex
from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.callbacks import CallbackManager, CBEventType, LlamaDebugHandler
from llama_index.core.callbacks.schema import EventPayload
from llama_index.core.instrumentation import get_dispatcher
from llama_index.core.instrumentation.event_handlers import BaseEventHandler
from llama_index.core.instrumentation.events.retrieval import RetrievalEndEvent, RetrievalStartEvent
from llama_index.core.instrumentation.span_handlers import SimpleSpanHandler
from llama_index.core.llms import MockLLM
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.retrievers import QueryFusionRetriever
from llama_index.core.schema import (
    Document,
    ImageNode,
    IndexNode,
    MediaResource,
    MetadataMode,
    Node,
    NodeRelationship,
    NodeWithScore,
    QueryBundle,
    TextNode,
)
from llama_index.core.storage.docstore import SimpleDocumentStore
from llama_index.core.vector_stores import FilterCondition, FilterOperator, MetadataFilter, MetadataFilters
from llama_index.core.vector_stores.utils import build_metadata_filter_fn

import prorank_plugins
from prorank_plugins import (
    BM25,
    BMX,
    Analyzer,
    ConfigError,
    CorruptIndexError,
    IndexFormatError,
    LexicalRetriever,
)
from prorank_plugins.core.errors import IndexNotFoundError
from prorank_plugins.llama_index import BMXRetriever

TEXTS = {
    "owl": "Owls hunt mice at night.",
    "bee": "Bees dance to tell where flowers are.",
    "bat": "Bats hunt insects at night by sound.",
    "fox": "Foxes hunt mice and hares in the snow.",
}
KINDS = {"owl": "bird", "bee": "insect", "bat": "mammal", "fox": "mammal"}
YEARS = {"owl": 2001, "bee": 2010, "bat": 2015, "fox": 2020}


class Note(TextNode):
    """A node class of the caller's own."""

    written: date = date(2020, 1, 1)


def make_nodes():
    return [
        TextNode(
            id_=name,
            text=text,
            metadata={"kind": KINDS[name], "year": YEARS[name], "tags": [name, "all"]},
            excluded_embed_metadata_keys=["kind", "year", "tags"],
            excluded_llm_metadata_keys=["year"],
            start_char_idx=3,
            end_char_idx=3 + len(text),
            relationships={NodeRelationship.SOURCE: Document(id_="book", text="…").as_related_node_info()},
        )
        for name, text in TEXTS.items()
    ]


def make_retriever(**options: Any):
    return BMXRetriever.from_defaults(nodes=make_nodes(), **{"similarity_top_k": 10, **options})


def ids(results):
    return [result.node_id for result in results]


def only(key, value, operator=FilterOperator.EQ):
    return MetadataFilters(filters=[MetadataFilter(key=key, value=value, operator=operator)])


def facts(results):
    return [(result.node.model_dump(), result.score) for result in results]


def slowly(text):
    time.sleep(0.2)
    return text.lower().split()


def words(text):
    return text.lower().split()


class TestInterface:
    def test_the_class_is_a_llama_index_retriever(self):
        assert BaseRetriever.__name__ in [base.__name__ for base in BMXRetriever.__mro__]

    def test_the_class_docstring_example_works(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        lines = BMXRetriever.__doc__.split("::\n")[1].split("    Scores are")[0].splitlines()
        scope = {}
        exec("\n".join(line.removeprefix("        ") for line in lines), scope)
        assert scope["retriever"].retrieve("Which birds hunt?")[0].text == "Owls hunt at night."

    def test_the_best_match_comes_first_with_falling_scores(self):
        results = make_retriever().retrieve("hunt mice at night")
        assert ids(results)[0] == "owl"
        assert set(ids(results)) == {"owl", "bat", "fox"}
        scores = [result.score for result in results]
        assert scores == sorted(scores, reverse=True)
        assert all(type(score) is float and score > 0 for score in scores)

    def test_scores_equal_those_of_the_engine(self):
        index = prorank_plugins.LexicalIndex.build(TEXTS.values(), TEXTS.keys())
        hits = index.search("hunt mice at night", k=10)
        results = make_retriever().retrieve("hunt mice at night")
        assert ids(results) == list(hits.ids)
        assert [result.score for result in results] == hits.scores.tolist()

    def test_the_text_meant_for_embedding_is_indexed(self):
        shown = TextNode(text="plain", metadata={"title": "zebra", "author": "okapi"})
        shown.excluded_embed_metadata_keys = ["author"]
        retriever = BMXRetriever.from_defaults(nodes=[shown])
        assert retriever.retrieve("zebra")
        assert not retriever.retrieve("okapi")

    def test_results_carry_everything_the_node_had(self):
        result = make_retriever().retrieve("owls")[0]
        assert result.node == make_nodes()[0]
        assert result.node.ref_doc_id == "book"
        assert result.node.hash == make_nodes()[0].hash

    def test_two_results_are_the_default(self):
        assert len(BMXRetriever.from_defaults(nodes=make_nodes()).retrieve("hunt")) == 2

    def test_query_bundles_and_async_give_the_same_results(self):
        retriever = make_retriever()
        plain = facts(retriever.retrieve("hunt mice"))
        assert facts(retriever.retrieve(QueryBundle("hunt mice"))) == plain
        assert facts(asyncio.run(retriever.aretrieve("hunt mice"))) == plain

    def test_the_retriever_has_no_prompts_to_get_or_update(self):
        retriever = make_retriever()
        assert retriever.get_prompts() == {}
        retriever.update_prompts({})

    def test_results_become_json(self):
        result = make_retriever().retrieve("owls")[0]
        assert json.loads(result.to_json())["score"] == result.score

    def test_the_representation_is_short(self):
        assert repr(make_retriever()) == "BMXRetriever(4 nodes, similarity_top_k=10)"

    def test_an_empty_retriever_is_true(self):
        # LlamaIndex asks `node.obj or ...` of what an index node stands for.
        assert bool(BMXRetriever.from_defaults(nodes=[]))


class TestSources:
    @pytest.mark.parametrize(
        "sources",
        [{}, {"nodes": [], "docstore": SimpleDocumentStore()}],
    )
    def test_not_exactly_one_source_is_refused(self, sources):
        with pytest.raises(ValueError, match="exactly one of index, nodes, or docstore"):
            BMXRetriever.from_defaults(**sources)

    def test_a_docstore_is_a_source(self):
        docstore = SimpleDocumentStore()
        docstore.add_documents(make_nodes())
        assert ids(BMXRetriever.from_defaults(docstore=docstore).retrieve("bees")) == ["bee"]

    def test_a_vector_store_index_is_a_source(self):
        index = VectorStoreIndex(make_nodes(), embed_model=MockEmbedding(3))
        assert ids(BMXRetriever.from_defaults(index=index).retrieve("bees")) == ["bee"]

    def test_the_objects_of_an_index_are_followed(self):
        target = make_retriever(similarity_top_k=1)
        door = IndexNode(id_="door", text="everything on animals", index_id="animals", obj=target)
        index = VectorStoreIndex([], objects=[door], embed_model=MockEmbedding(3))
        assert ids(BMXRetriever.from_defaults(index=index).retrieve("owls and animals")) == ["owl"]

    def test_an_empty_docstore_is_explained(self):
        index = VectorStoreIndex([], embed_model=MockEmbedding(3))
        for source in ({"docstore": SimpleDocumentStore()}, {"index": index}):
            with pytest.raises(ConfigError, match=r"holds no nodes.*store_nodes_override"):
                BMXRetriever.from_defaults(**source)

    def test_a_generator_of_nodes_is_a_source(self):
        retriever = BMXRetriever.from_defaults(nodes=(node for node in make_nodes()), show_progress=False)
        assert ids(retriever.retrieve("bees")) == ["bee"]

    def test_an_empty_list_gives_a_retriever_to_add_to(self):
        retriever = BMXRetriever.from_defaults(nodes=[])
        assert retriever.retrieve("owls") == []
        retriever.add_nodes(make_nodes())
        assert ids(retriever.retrieve("owls")) == ["owl"]

    def test_something_else_than_nodes_is_named(self):
        with pytest.raises(ConfigError, match=r"nodes\[0\] must be a LlamaIndex node, found str"):
            BMXRetriever.from_defaults(nodes=["text"])

    def test_the_last_of_nodes_with_one_id_counts(self):
        twice = [TextNode(id_="a", text="old"), TextNode(id_="a", text="new")]
        retriever = BMXRetriever.from_defaults(nodes=twice)
        assert not retriever.retrieve("old")
        assert retriever.retrieve("new")[0].text == "new"

    def test_an_engine_of_plain_documents_gives_text_nodes(self):
        engine = LexicalRetriever.from_documents([prorank_plugins.Document("a", "owls", {"x": [1]})])
        retriever = BMXRetriever(engine, similarity_top_k=1)
        node = retriever.retrieve("owl")[0].node
        assert (type(node), node.node_id, node.text, node.metadata) == (TextNode, "a", "owls", {"x": [1]})
        engine.delete(["a"])
        assert retriever.retrieve("owl")

    def test_something_else_than_an_engine_is_refused(self):
        with pytest.raises(ConfigError, match="from_defaults takes nodes"):
            BMXRetriever(make_nodes())

    @pytest.mark.parametrize("analyzer", [Analyzer("de"), "de", "german"])
    def test_an_analyzer_or_a_language_is_used(self, analyzer):
        nodes = [TextNode(id_="haus", text="Die Häuser stehen am Fluss")]
        retriever = BMXRetriever.from_defaults(nodes=nodes, analyzer=analyzer)
        assert ids(retriever.retrieve("Haus")) == ["haus"]
        assert retriever.retrieve("die") == []

    def test_a_function_is_an_analyzer(self):
        retriever = BMXRetriever.from_defaults(nodes=[TextNode(text="the C++ book")], analyzer=words)
        assert retriever.retrieve("c++")
        assert retriever.retrieve("the")
        assert not retriever.retrieve("c")

    def test_another_scorer_is_used(self):
        bound = make_retriever(scorer=BMX(normalize="bound")).retrieve("hunt mice")
        assert all(0 < result.score <= 1 for result in bound)
        bm25 = make_retriever(scorer=BM25()).retrieve("hunt mice")
        assert bm25[0].score != make_retriever().retrieve("hunt mice")[0].score


class TestTopK:
    def test_top_k_can_be_changed(self):
        retriever = make_retriever(similarity_top_k=1)
        assert len(retriever.retrieve("hunt")) == 1
        retriever.similarity_top_k = 3
        assert len(retriever.retrieve("hunt")) == 3
        retriever.similarity_top_k = np.int64(0)
        assert retriever.retrieve("hunt") == []

    def test_more_than_there_are_gives_the_matching_ones(self):
        assert set(ids(make_retriever(similarity_top_k=1000).retrieve("hunt"))) == {"owl", "bat", "fox"}

    @pytest.mark.parametrize("wrong", [-1, 1.5, "2", True, None])
    def test_a_wrong_top_k_is_refused(self, wrong):
        retriever = make_retriever()
        with pytest.raises(ConfigError, match="similarity_top_k must be a whole number"):
            retriever.similarity_top_k = wrong
        with pytest.raises(ConfigError, match="similarity_top_k must be a whole number"):
            make_retriever(similarity_top_k=wrong)


class TestQueries:
    @pytest.mark.parametrize("query", ["", "  ", "the and of", "zeppelin", "?!"])
    def test_a_query_without_a_known_term_finds_nothing(self, query):
        assert make_retriever().retrieve(query) == []

    def test_one_node_is_enough(self):
        retriever = BMXRetriever.from_defaults(nodes=make_nodes()[:1])
        assert ids(retriever.retrieve("owls")) == ["owl"]
        assert np.isfinite(retriever.retrieve("owls")[0].score)

    def test_nodes_without_text_are_never_found(self):
        nodes = [TextNode(id_="empty", text=""), Node(id_="image"), *make_nodes()]
        retriever = BMXRetriever.from_defaults(nodes=nodes, similarity_top_k=10)
        assert set(ids(retriever.retrieve("hunt"))) == {"owl", "bat", "fox"}

    def test_equal_nodes_with_two_ids_are_kept_apart(self):
        nodes = [TextNode(id_=name, text="owls hunt") for name in ("first", "second")]
        retriever = BMXRetriever.from_defaults(nodes=nodes)
        # Releases of LlamaIndex before 0.14.19 merge equal nodes in `retrieve` itself.
        results = retriever._retrieve(QueryBundle("owls"))
        assert ids(results) == ["first", "second"]
        assert results[0].score == results[1].score


class TestCopies:
    def test_changing_a_result_changes_nothing_else(self):
        retriever = make_retriever()
        before = facts(retriever.retrieve("hunt mice"))
        for result in retriever.retrieve("hunt mice"):
            result.score = 99.0
            result.node.metadata["kind"] = "changed"
            result.node.metadata["tags"].append("changed")
            result.node.relationships.clear()
            result.node.excluded_embed_metadata_keys.append("changed")
            result.node.set_content("changed")
        assert facts(retriever.retrieve("hunt mice")) == before

    def test_changing_a_node_of_the_caller_changes_nothing(self):
        nodes = make_nodes()
        retriever = BMXRetriever.from_defaults(nodes=nodes, similarity_top_k=10)
        before = facts(retriever.retrieve("hunt mice"))
        for node in nodes:
            node.metadata["tags"].append("changed")
            node.metadata["kind"] = "changed"
            node.set_content("changed")
        assert facts(retriever.retrieve("hunt mice")) == before
        assert retriever.retrieve("changed") == []

    def test_changing_a_result_of_a_loaded_retriever_changes_nothing_else(self, tmp_path):
        make_retriever().persist(tmp_path)
        retriever = BMXRetriever.from_persist_dir(tmp_path)
        before = facts(retriever.retrieve("hunt mice"))
        for result in retriever.retrieve("hunt mice"):
            result.node.metadata["tags"].append("changed")
        assert facts(retriever.retrieve("hunt mice")) == before

    def test_the_score_is_never_in_the_metadata(self):
        result = make_retriever().retrieve("owls")[0]
        assert set(result.node.metadata) == {"kind", "year", "tags"}
        assert "score" not in result.get_content(metadata_mode=MetadataMode.ALL)

    def test_nodes_of_every_class_come_back_as_they_were(self):
        special = [
            Document(id_="document", text="okapi document", metadata={"a": 1}),
            Node(id_="node", text_resource=MediaResource(text="okapi node")),
            ImageNode(id_="image", text="okapi image", image="QUJD", image_url="http://example.com/a.png"),
            Document(
                id_="media",
                text="okapi media",
                image_resource=MediaResource(data=b"\x89PNG\r\n\x1a\nxyz", url="http://example.com/b"),
            ),
            IndexNode(id_="index", text="okapi index", index_id="nowhere"),
            Note(id_="note", text="okapi note", written=date(1999, 12, 31)),
            TextNode(id_="vector", text="okapi vector", embedding=[0.25, 0.5]),
        ]
        retriever = BMXRetriever.from_defaults(nodes=special, similarity_top_k=10)
        found = {result.node_id: result.node for result in retriever.retrieve("okapi")}
        assert found == {node.node_id: node for node in special}
        assert {type(found[node.node_id]) for node in special} == {type(node) for node in special}
        found["vector"].embedding.append(1.0)
        again = {result.node_id: result.node for result in retriever.retrieve("okapi")}
        assert again["vector"].embedding == [0.25, 0.5]


class TestFilters:
    def find(self, filters, query="hunt bees"):
        return set(ids(make_retriever(filters=filters).retrieve(query)))

    @pytest.mark.parametrize(
        ("key", "operator", "value", "expected"),
        [
            ("kind", "==", "mammal", {"bat", "fox"}),
            ("kind", "!=", "mammal", {"owl", "bee"}),
            ("year", ">", 2010, {"bat", "fox"}),
            ("year", ">=", 2010, {"bee", "bat", "fox"}),
            ("year", "<", 2010, {"owl"}),
            ("year", "<=", 2010, {"owl", "bee"}),
            ("kind", "in", ["bird", "insect"], {"owl", "bee"}),
            ("kind", "nin", ["bird", "insect"], {"bat", "fox"}),
            ("tags", "contains", "owl", {"owl"}),
            ("tags", "any", ["owl", "bee"], {"owl", "bee"}),
            ("tags", "all", ["owl", "all"], {"owl"}),
            ("kind", "text_match", "mamm", {"bat", "fox"}),
            ("missing", "is_empty", None, {"owl", "bee", "bat", "fox"}),
            ("kind", "is_empty", None, set()),
            ("missing", "==", "x", set()),
            ("node_id", "==", "owl", {"owl"}),
            ("ref_doc_id", "==", "book", {"owl", "bee", "bat", "fox"}),
            ("doc_id", "!=", "book", set()),
        ],
    )
    def test_every_operator_of_the_framework_works(self, key, operator, value, expected):
        assert self.find(only(key, value, FilterOperator(operator))) == expected

    @pytest.mark.parametrize(
        ("key", "operator", "value"),
        [("kind", "text_match_insensitive", "MAMM"), ("missing", "!=", "x"), ("missing", "nin", ["x"])],
    )
    def test_operators_that_releases_differ_in_follow_the_installed_one(self, key, operator, value):
        filters = only(key, value, FilterOperator(operator))
        accepts = build_metadata_filter_fn(
            {node.node_id: node.metadata for node in make_nodes()}.get, filters
        )
        try:
            expected = {name for name in TEXTS if accepts(name)}
        except ValueError:
            with pytest.raises(ConfigError, match="does not suit node"):
                self.find(filters)
        else:
            assert self.find(filters) == expected

    def test_conditions_combine_filters(self):
        parts = [MetadataFilter(key="kind", value="mammal"), MetadataFilter(key="year", value=2001)]
        for condition, expected in {
            FilterCondition.AND: set(),
            FilterCondition.OR: {"owl", "bat", "fox"},
            FilterCondition.NOT: {"bee"},
            None: set(),
        }.items():
            assert self.find(MetadataFilters(filters=parts, condition=condition)) == expected

    def test_nested_filters_work(self):
        mammals, old = only("kind", "mammal"), only("year", 2015, FilterOperator.LTE)
        not_mammals = MetadataFilters(filters=[mammals], condition="not")
        assert self.find(MetadataFilters(filters=[mammals, old])) == {"bat"}
        assert self.find(MetadataFilters(filters=[not_mammals, old])) == {"owl", "bee"}
        nested = MetadataFilters(
            filters=[MetadataFilter(key="node_id", value="fox"), MetadataFilters(filters=[not_mammals, old])],
            condition="or",
        )
        assert self.find(nested) == {"fox", "owl", "bee"}

    def test_empty_filters_let_everything_through(self):
        assert self.find(MetadataFilters(filters=[])) == set(TEXTS)

    @pytest.mark.parametrize("top_k", [1, 2, 4, 100])
    def test_a_filtered_out_node_never_comes_back(self, top_k):
        found = ids(make_retriever(similarity_top_k=top_k, filters=only("kind", "bird")).retrieve("hunt"))
        assert found == ["owl"]

    def test_filters_that_nothing_passes_give_nothing(self):
        assert make_retriever(filters=only("kind", "fish")).retrieve("hunt") == []

    def test_filters_can_be_set_changed_and_removed(self):
        retriever = make_retriever()
        assert len(retriever.retrieve("hunt")) == 3
        retriever.filters = only("kind", "mammal")
        assert set(ids(retriever.retrieve("hunt"))) == {"bat", "fox"}
        retriever.filters.filters[0].value = "bird"
        assert ids(retriever.retrieve("hunt")) == ["owl"]
        retriever.filters = None
        assert len(retriever.retrieve("hunt")) == 3

    def test_filters_see_nodes_that_are_added_later(self):
        retriever = make_retriever(filters=only("kind", "bird"))
        assert ids(retriever.retrieve("hunt")) == ["owl"]
        retriever.add_nodes([TextNode(id_="hawk", text="Hawks hunt.", metadata={"kind": "bird"})])
        assert set(ids(retriever.retrieve("hunt"))) == {"owl", "hawk"}
        retriever.delete_nodes(["owl"])
        assert ids(retriever.retrieve("hunt")) == ["hawk"]

    def test_a_filter_that_does_not_suit_a_value_names_both(self):
        retriever = make_retriever(filters=only("kind", 3, FilterOperator.GT))
        with pytest.raises(ConfigError, match=r"the filter kind > 3 does not suit node 'owl'.*'bird'"):
            retriever.retrieve("hunt")

    def test_something_else_than_filters_is_refused(self):
        with pytest.raises(ConfigError, match="filters must be MetadataFilters or None, found dict"):
            make_retriever(filters={"kind": "bird"})


class TestEditing:
    def test_added_nodes_are_found_and_their_ids_returned(self):
        retriever = make_retriever()
        assert retriever.add_nodes([TextNode(id_="elk", text="Elks hunt nothing.")]) == ["elk"]
        assert "elk" in ids(retriever.retrieve("hunt"))

    def test_an_added_node_takes_the_place_of_one_with_its_id(self):
        retriever = make_retriever()
        changed = [TextNode(id_="owl", text="Owls sleep."), TextNode(id_="elk", text="Elks sleep.")]
        assert retriever.add_nodes(changed) == ["owl", "elk"]
        assert set(ids(retriever.retrieve("sleep"))) == {"owl", "elk"}
        assert "owl" not in ids(retriever.retrieve("hunt"))

    def test_edits_give_the_scores_of_a_fresh_build(self):
        retriever = BMXRetriever.from_defaults(nodes=make_nodes()[:2], similarity_top_k=10)
        retriever.add_nodes([TextNode(id_="gone", text="hunt hunt hunt"), *make_nodes()[2:]])
        retriever.delete_nodes(["gone"])
        assert facts(retriever.retrieve("hunt mice")) == facts(make_retriever().retrieve("hunt mice"))

    def test_deleted_nodes_are_gone_and_unknown_ids_passed_over(self):
        retriever = make_retriever()
        retriever.delete_nodes(["owl", "unicorn", "owl"])
        assert "owl" not in ids(retriever.retrieve("hunt"))
        retriever.delete_nodes(iter(TEXTS))
        assert retriever.retrieve("hunt") == []

    def test_one_id_in_place_of_a_list_is_refused(self):
        with pytest.raises(ConfigError, match="pass \\[id\\]"):
            make_retriever().delete_nodes("owl")

    def test_a_failing_edit_changes_nothing(self):
        def picky(text):
            if "poison" in text:
                raise RuntimeError("poison")
            return text.lower().split()

        retriever = make_retriever(analyzer=picky)
        before = facts(retriever.retrieve("hunt"))
        with pytest.raises(RuntimeError, match="poison"):
            retriever.add_nodes([TextNode(id_="owl", text="poison"), TextNode(id_="new", text="hunt")])
        assert facts(retriever.retrieve("hunt")) == before

    async def test_nodes_are_added_and_deleted_asynchronously(self):
        retriever = make_retriever()
        assert await retriever.aadd_nodes([TextNode(id_="elk", text="Elks hunt nothing.")]) == ["elk"]
        await retriever.adelete_nodes(["owl", "bat", "fox"])
        assert ids(await retriever.aretrieve("hunt")) == ["elk"]

    def test_a_loaded_retriever_can_be_edited_and_saved_again(self, tmp_path):
        make_retriever().persist(tmp_path)
        retriever = BMXRetriever.from_persist_dir(tmp_path)
        retriever.add_nodes([TextNode(id_="elk", text="Elks hunt nothing.", metadata={"kind": "mammal"})])
        retriever.delete_nodes(["owl"])
        expected = facts(retriever.retrieve("hunt"))
        retriever.persist(tmp_path)
        again = BMXRetriever.from_persist_dir(tmp_path)
        assert facts(again.retrieve("hunt")) == expected
        assert set(ids(again.retrieve("hunt"))) == {"elk", "bat", "fox"}


class TestConcurrency:
    async def test_the_event_loop_goes_on_while_searching(self):
        retriever = BMXRetriever.from_defaults(nodes=[TextNode(text="owls hunt")], analyzer=slowly)
        ticks = 0

        async def tick():
            nonlocal ticks
            while True:
                await asyncio.sleep(0.01)
                ticks += 1

        ticking = asyncio.create_task(tick())
        found = await asyncio.gather(*(retriever.aretrieve("owls") for _ in range(4)))
        ticking.cancel()
        assert all(len(results) == 1 for results in found)
        assert ticks >= 5

    def test_many_threads_get_the_same_results(self):
        retriever = make_retriever(filters=only("kind", "insect", FilterOperator.NE))
        expected = facts(retriever.retrieve("hunt mice at night"))
        with ThreadPoolExecutor(32) as pool:
            found = list(pool.map(lambda _: facts(retriever.retrieve("hunt mice at night")), range(320)))
        assert all(results == expected for results in found)

    def test_searches_during_edits_see_all_of_an_edit_or_nothing(self):
        def pair(text):
            return [TextNode(id_=str(i), text=f"{text} owl", metadata={"text": text}) for i in range(2)]

        retriever = BMXRetriever.from_defaults(nodes=pair("even"))
        retriever.filters = only("text", "none", FilterOperator.NE)
        stop = threading.Event()

        def edit():
            for turn in range(60):
                retriever.add_nodes(pair("odd" if turn % 2 else "even"))
            stop.set()

        def search():
            while not stop.is_set():
                found = [result.metadata["text"] for result in retriever._retrieve(QueryBundle("owl"))]
                assert len(found) == 2
                assert len(set(found)) == 1

        with ThreadPoolExecutor(5) as pool:
            jobs = [pool.submit(edit), *(pool.submit(search) for _ in range(4))]
            for job in jobs:
                job.result()


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


class TestInstrumentation:
    @pytest.mark.parametrize("way", ["sync", "async"])
    def test_one_start_and_one_end_event_are_sent(self, recorded, way):
        events, spans = recorded
        retriever = make_retriever()
        found = retriever.retrieve("owls") if way == "sync" else asyncio.run(retriever.aretrieve("owls"))
        assert [type(event) for event in events] == [RetrievalStartEvent, RetrievalEndEvent]
        assert events[0].str_or_query_bundle == "owls"
        assert ids(events[1].nodes) == ids(found) == ["owl"]
        assert any(span.id_.startswith("BMXRetriever.") for span in spans.completed_spans)
        assert not spans.open_spans

    def test_callbacks_hear_of_the_query_and_the_nodes(self):
        handler = LlamaDebugHandler(print_trace_on_end=False)
        make_retriever(callback_manager=CallbackManager([handler])).retrieve("owls")
        ((start, end),) = handler.get_event_pairs(CBEventType.RETRIEVE)
        assert start.payload[EventPayload.QUERY_STR] == "owls"
        assert ids(end.payload[EventPayload.NODES]) == ["owl"]


class Other(BaseRetriever):
    """A second retriever with copies of the same nodes, scored the other way round."""

    def _retrieve(self, query_bundle):
        return [
            NodeWithScore(node=node, score=score / 10)
            for score, node in zip(range(9, 0, -1), reversed(make_nodes()), strict=False)
        ]


class TestInsideTheFramework:
    @pytest.mark.parametrize("use_async", [True, False])
    @pytest.mark.parametrize("mode", ["reciprocal_rerank", "relative_score", "dist_based_score", "simple"])
    def test_fusion_joins_copies_of_a_node_and_leaves_the_index_alone(self, mode, use_async):
        retriever = make_retriever()
        before = facts(retriever.retrieve("hunt mice at night"))
        fusion = QueryFusionRetriever(
            [retriever, Other()],
            llm=MockLLM(),
            mode=mode,
            num_queries=1,
            similarity_top_k=10,
            use_async=use_async,
        )
        for _ in range(2):
            fused = fusion.retrieve("hunt mice at night")
            assert sorted(ids(fused)) == sorted(TEXTS)
            assert facts(retriever.retrieve("hunt mice at night")) == before

    def test_relative_fusion_of_a_retriever_with_itself_keeps_its_order(self):
        retriever = make_retriever()
        fusion = QueryFusionRetriever(
            [retriever, retriever], llm=MockLLM(), mode="relative_score", num_queries=1, use_async=False
        )
        assert ids(fusion.retrieve("hunt mice")) == ids(retriever.retrieve("hunt mice"))[:2]

    def test_a_query_engine_answers_from_the_nodes(self):
        engine = RetrieverQueryEngine.from_args(make_retriever(similarity_top_k=1), llm=MockLLM())
        response = engine.query("Who dances to tell where flowers are?")
        assert ids(response.source_nodes) == ["bee"]
        assert "Bees dance" in str(response)

    def test_index_nodes_lead_to_their_objects(self):
        inner = make_retriever(similarity_top_k=1)
        door = IndexNode(id_="door", text="animals", index_id="animals", obj=inner)
        retriever = BMXRetriever.from_defaults(nodes=[door])
        assert ids(retriever.retrieve("owls among animals")) == ["owl"]
        assert ids(asyncio.run(retriever.aretrieve("owls among animals"))) == ["owl"]
        assert retriever._retrieve(QueryBundle("animals"))[0].node.obj is inner
        assert door.obj is inner

    @pytest.mark.parametrize("way", ["objects", "object_map"])
    def test_objects_are_found_by_their_index_id(self, way):
        inner = make_retriever(similarity_top_k=1)
        given = {
            "objects": [IndexNode(text="", index_id="animals", obj=inner)],
            "object_map": {"animals": inner},
        }
        door = IndexNode(id_="door", text="animals", index_id="animals")
        retriever = BMXRetriever.from_defaults(nodes=[door], **{way: given[way]})
        assert ids(retriever.retrieve("owls among animals")) == ["owl"]

    @pytest.mark.parametrize("way", ["obj", "object_map"])
    def test_a_node_behind_an_index_node_comes_back_as_a_copy(self, way):
        target = TextNode(id_="target", text="hidden", metadata={"a": [1]})
        behind = {"obj": target} if way == "obj" else {}
        door = IndexNode(id_="door", text="animals", index_id="animals", **behind)
        options = {} if way == "obj" else {"object_map": {"animals": target}}
        retriever = BMXRetriever.from_defaults(nodes=[door], **options)
        result = retriever.retrieve("animals")[0]
        assert result.node == target
        result.node.metadata["a"].append(2)
        assert retriever.retrieve("animals")[0].node.metadata == {"a": [1]}
        assert target.metadata == {"a": [1]}

    def test_verbose_tells_which_objects_are_entered(self, capsys):
        door = IndexNode(text="animals", index_id="animals", obj=make_retriever())
        BMXRetriever.from_defaults(nodes=[door], verbose=True).retrieve("animals")
        assert "animals: BMXRetriever" in capsys.readouterr().out
        BMXRetriever.from_defaults(nodes=[door]).retrieve("animals")
        assert capsys.readouterr().out == ""


class TestSaving:
    def test_every_option_is_kept(self, tmp_path):
        filters = MetadataFilters(
            filters=[
                MetadataFilter(key="kind", value=["bird", "mammal"], operator="in"),
                MetadataFilters(filters=[MetadataFilter(key="year", value=2020)], condition="not"),
                MetadataFilter(key="year", value=[1, 2], operator="nin"),
            ]
        )
        analyzer = Analyzer(prorank_plugins.AnalyzerConfig(stop_words=("hunt",)))
        retriever = make_retriever(
            filters=filters,
            analyzer=analyzer,
            scorer=BMX(variant="paper", beta=0.5),
            verbose=True,
            similarity_top_k=7,
        )
        retriever.persist(tmp_path)
        loaded = BMXRetriever.from_persist_dir(str(tmp_path))
        assert loaded.similarity_top_k == 7
        assert loaded.filters == filters
        assert loaded._verbose is True
        assert loaded.engine.scorer == retriever.engine.scorer
        assert loaded.engine.index.analyzer == analyzer
        assert ids(loaded.retrieve("mice at night")) == ["owl", "bat"]
        assert facts(loaded.retrieve("mice at night")) == facts(retriever.retrieve("mice at night"))

    def test_options_can_be_given_anew(self, tmp_path):
        make_retriever(filters=only("kind", "bird"), similarity_top_k=7).persist(tmp_path)
        manager = CallbackManager([LlamaDebugHandler(print_trace_on_end=False)])
        loaded = BMXRetriever.from_persist_dir(
            tmp_path, similarity_top_k=1, filters=None, scorer=BM25(), mmap=False, callback_manager=manager
        )
        assert (loaded.similarity_top_k, loaded.filters, loaded.engine.scorer) == (1, None, BM25())
        assert loaded.callback_manager is manager
        assert facts(loaded.retrieve("hunt")) == facts(
            make_retriever(scorer=BM25(), similarity_top_k=1).retrieve("hunt")
        )
        with pytest.raises(ConfigError, match="similarity_top_k"):
            BMXRetriever.from_persist_dir(tmp_path, similarity_top_k=-1)
        with pytest.raises(TypeError, match="top_k"):
            BMXRetriever.from_persist_dir(tmp_path, top_k=3)

    def test_another_process_finds_the_same(self, tmp_path):
        retriever = make_retriever()
        retriever.persist(tmp_path / "bmx")
        code = (
            "import sys, json; from prorank_plugins.llama_index import BMXRetriever\n"
            "found = BMXRetriever.from_persist_dir(sys.argv[1]).retrieve('hunt mice')\n"
            "print(json.dumps([[r.node.to_dict(), r.node.hash, r.score] for r in found]))"
        )
        shown = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path / "bmx")], capture_output=True, text=True, check=True
        )
        expected = [[r.node.to_dict(), r.node.hash, r.score] for r in retriever.retrieve("hunt mice")]
        assert json.loads(shown.stdout) == expected

    def test_nodes_of_every_class_survive(self, tmp_path):
        inner = IndexNode(text="inner", index_id="deeper", metadata={"a": 1}, obj=Note(text="innermost"))
        special = [
            Document(id_="document", text="okapi document", metadata={"a": 1, "b": None, "c": [1, {"d": 2}]}),
            Document(
                id_="media",
                text="okapi media",
                image_resource=MediaResource(data=b"\x89PNG\r\n\x1a\nxyz", url="http://example.com/b"),
            ),
            ImageNode(id_="image", text="okapi image", image="QUJD", image_path="/a.png"),
            Note(id_="note", text="okapi note", written=date(1999, 12, 31)),
            TextNode(id_="vector", text="okapi vector", embedding=[0.1, 1 / 3], text_template="{content}"),
            TextNode(id_="nan", text="okapi nan", metadata={"x": float("nan")}),
            IndexNode(id_="index", text="okapi index", index_id="inner", obj=inner),
            *make_nodes(),
        ]
        retriever = BMXRetriever.from_defaults(nodes=special, similarity_top_k=20)
        retriever.persist(tmp_path)
        query = QueryBundle("okapi hunt bees")
        saved = {result.node_id: result.node for result in retriever._retrieve(query)}
        loaded = {r.node_id: r.node for r in BMXRetriever.from_persist_dir(tmp_path)._retrieve(query)}
        assert loaded.keys() == saved.keys() == {node.node_id for node in special}
        for node_id, node in saved.items():
            assert type(loaded[node_id]) is type(node)
            assert repr(loaded[node_id].model_dump()) == repr(node.model_dump())
            assert loaded[node_id].hash == node.hash
        assert loaded["index"].obj == inner
        assert type(loaded["index"].obj.obj) is Note
        assert loaded["media"].image_resource == saved["media"].image_resource

    @pytest.mark.parametrize("value", [date(2020, 1, 1), (1, 2), {1}, {1: "a"}, object()])
    def test_metadata_that_json_would_change_is_refused(self, tmp_path, value):
        retriever = BMXRetriever.from_defaults(nodes=[TextNode(id_="odd", text="x", metadata={"a": value})])
        with pytest.raises(ConfigError, match="node 'odd' cannot be saved"):
            retriever.persist(tmp_path / "bmx")
        assert not (tmp_path / "bmx").exists()

    def test_objects_must_be_passed_again(self, tmp_path):
        inner = make_retriever(similarity_top_k=1)
        nodes = [
            IndexNode(text="birds", index_id="birds", obj=inner),
            IndexNode(text="mammals", index_id="mammals"),
        ]
        BMXRetriever.from_defaults(nodes=nodes, object_map={"mammals": inner}).persist(tmp_path)
        with pytest.raises(ConfigError, match=r"not saved: birds, mammals\. Pass them again"):
            BMXRetriever.from_persist_dir(tmp_path)
        with pytest.raises(ConfigError, match=r"not saved: mammals\."):
            BMXRetriever.from_persist_dir(tmp_path, object_map={"birds": inner})
        loaded = BMXRetriever.from_persist_dir(tmp_path, object_map={"birds": inner, "mammals": None})
        assert ids(loaded.retrieve("birds like owls")) == ["owl"]
        assert loaded.retrieve("mammals")[0].node.index_id == "mammals"

    def test_a_function_must_be_passed_again(self, tmp_path):
        retriever = make_retriever(analyzer=words)
        retriever.persist(tmp_path)
        with pytest.raises(IndexFormatError, match="pass it again"):
            BMXRetriever.from_persist_dir(tmp_path)
        loaded = BMXRetriever.from_persist_dir(tmp_path, analyzer=words)
        assert facts(loaded.retrieve("hunt")) == facts(retriever.retrieve("hunt"))

    def test_a_node_class_that_is_not_defined_is_named(self, tmp_path):
        BMXRetriever.from_defaults(nodes=[Note(text="x")]).persist(tmp_path)
        code = (
            "import sys; from prorank_plugins.llama_index import BMXRetriever\n"
            "BMXRetriever.from_persist_dir(sys.argv[1])"
        )
        shown = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True)
        assert f"nodes of the class {__name__}.Note, which is not defined" in shown.stderr

    def test_an_empty_retriever_is_saved_and_loaded(self, tmp_path):
        BMXRetriever.from_defaults(nodes=[]).persist(tmp_path)
        loaded = BMXRetriever.from_persist_dir(tmp_path)
        assert loaded.retrieve("owls") == []
        loaded.add_nodes(make_nodes())
        assert ids(loaded.retrieve("owls")) == ["owl"]

    def test_plain_retrievers_read_what_was_saved_and_the_other_way_round(self, tmp_path):
        make_retriever().persist(tmp_path / "nodes")
        document = LexicalRetriever.load(tmp_path / "nodes").retrieve("owls", 1)[0].document
        assert (document.text, document.metadata["kind"]) == (TEXTS["owl"], "bird")
        LexicalRetriever.from_documents([prorank_plugins.Document("a", "owls")]).save(tmp_path / "plain")
        assert ids(BMXRetriever.from_persist_dir(tmp_path / "plain").retrieve("owls")) == ["a"]

    def test_a_missing_or_damaged_folder_is_told_apart(self, tmp_path):
        with pytest.raises(IndexNotFoundError):
            BMXRetriever.from_persist_dir(tmp_path / "nowhere")
        make_retriever().persist(tmp_path)
        manifest = tmp_path / "manifest.json"
        whole = json.loads(manifest.read_text())
        for options in ([], {"filters": 3}, {"objects": 3}, {"filters": {"filters": [{"key": 1}]}}):
            whole["content"]["options"]["caller"]["llama_index"] = options
            manifest.write_text(json.dumps(whole))
            with pytest.raises(CorruptIndexError, match="options are damaged"):
                BMXRetriever.from_persist_dir(tmp_path)

    @pytest.mark.parametrize(
        "entry", [3, {}, {"type": "TextNode", "fields": 3}, {"type": "TextNode", "fields": {"text": [1]}}]
    )
    def test_a_damaged_node_is_an_error_of_the_package(self, tmp_path, entry):
        odd = prorank_plugins.Document("a", "owls", {"_llama_index_node": entry})
        LexicalRetriever.from_documents([odd]).save(tmp_path)
        with pytest.raises(CorruptIndexError, match="node 'a' cannot be restored"):
            BMXRetriever.from_persist_dir(tmp_path).retrieve("owls")

    def test_a_node_on_disk_cannot_make_its_class_fetch_anything(self, tmp_path, monkeypatch):
        fetched = []
        monkeypatch.setattr("requests.get", lambda *args, **_: fetched.append(args))
        entry = {"type": "ImageDocument", "fields": {"id_": "a", "image_url": "http://example.com/a.png"}}
        odd = prorank_plugins.Document("a", "owls", {"_llama_index_node": entry})
        LexicalRetriever.from_documents([odd]).save(tmp_path)
        assert ids(BMXRetriever.from_persist_dir(tmp_path).retrieve("owls")) == ["a"]
        assert fetched == []


class TestCopying:
    @pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, lambda r: pickle.loads(pickle.dumps(r))])
    @pytest.mark.parametrize("loaded", [False, True])
    def test_copies_work_and_are_edited_apart(self, tmp_path, duplicate, loaded):
        retriever = make_retriever(filters=only("kind", "mammal"), similarity_top_k=3, scorer=BM25())
        if loaded:
            retriever.persist(tmp_path)
            retriever = BMXRetriever.from_persist_dir(tmp_path)
        before = facts(retriever.retrieve("hunt mice"))
        twin = duplicate(retriever)
        assert facts(twin.retrieve("hunt mice")) == before
        assert (twin.similarity_top_k, twin.filters, twin.engine.scorer) == (3, retriever.filters, BM25())
        twin.delete_nodes(["fox"])
        twin.filters.filters[0].value = "bird"
        twin.engine.scorer = BMX()
        assert facts(retriever.retrieve("hunt mice")) == before
        assert twin.get_prompts() == {}

    def test_callbacks_stay_with_deep_copies_and_leave_pickles(self):
        handler = LlamaDebugHandler(print_trace_on_end=False)
        handler.connection = threading.Lock()
        retriever = make_retriever(callback_manager=CallbackManager([handler]))
        assert copy.deepcopy(retriever).callback_manager is retriever.callback_manager
        revived = pickle.loads(pickle.dumps(retriever))
        assert revived.callback_manager.handlers == []
        assert revived.retrieve("owls")

    def test_objects_are_shared_by_deep_copies(self):
        inner = make_retriever(similarity_top_k=1)
        door = IndexNode(text="animals", index_id="animals")
        retriever = BMXRetriever.from_defaults(nodes=[door], object_map={"animals": inner})
        twin = copy.deepcopy(retriever)
        assert twin.object_map == {"animals": inner}
        assert twin.object_map is not retriever.object_map


BLOCKED = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "llama_index":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Blocker())
import prorank_plugins
try:
    import prorank_plugins.llama_index
except ImportError as error:
    print(type(error).__name__, error)
"""


def test_without_llama_index_the_error_gives_the_line_to_run():
    shown = subprocess.run([sys.executable, "-c", BLOCKED], capture_output=True, text=True, check=True)
    assert shown.stdout.startswith("MissingExtraError ")
    assert "pip install 'prorank-plugins[llama-index]'" in shown.stdout


def test_importing_the_package_does_not_import_llama_index():
    code = "import sys, prorank_plugins; print('llama_index' in sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "False"


def test_importing_the_retriever_does_not_import_langchain():
    code = "import sys, prorank_plugins.llama_index; print([m for m in sys.modules if 'langchain_core' in m])"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"
