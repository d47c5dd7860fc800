"""Any reranker behind the interface of LlamaIndex's node postprocessors."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from llama_index.core.callbacks import CBEventType, EventPayload
from llama_index.core.instrumentation import get_dispatcher  # type: ignore[attr-defined]
from llama_index.core.instrumentation.events.rerank import ReRankEndEvent, ReRankStartEvent
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.schema import MetadataMode, NodeWithScore, QueryBundle
from pydantic import ConfigDict, Field, PrivateAttr, field_serializer, field_validator

from prorank_plugins.core.documents import Document, ScoredDocument
from prorank_plugins.core.errors import ConfigError
from prorank_plugins.llama_index.nodes import copied
from prorank_plugins.rerank.lazy import LazyReranker, checked_model, lazy_reranker, model_name
from prorank_plugins.rerank.positions import arank, numbered, rank
from prorank_plugins.rerank.weights import DEFAULT_MODEL

RETRIEVAL_SCORE = "retrieval_score"
"""Metadata key of the score a node came with, if that is kept."""

dispatcher = get_dispatcher(__name__)


class ProRankPostprocessor(BaseNodePostprocessor):
    """LlamaIndex node postprocessor that keeps the nodes a reranker finds most relevant.

    What is scored is each node's text with the metadata meant for embedding (``MetadataMode.EMBED``).
    Results are copies, best first, with the reranker's score in `NodeWithScore.score`; nodes of equal score
    stay in their order. Safe to use from many threads.

    ::

        from llama_index.core.schema import TextNode
        from prorank_plugins.llama_index import BMXRetriever, ProRankPostprocessor

        nodes = [TextNode(text="Owls hunt at night."), TextNode(text="Bats hunt insects at night.")]
        retriever = BMXRetriever.from_defaults(nodes=nodes, similarity_top_k=20)
        reranker = ProRankPostprocessor(model="./my-model", top_n=1)
        found = retriever.retrieve("Which birds hunt at night?")
        best = reranker.postprocess_nodes(found, query_str="Which birds hunt at night?")

    or, in a query engine, ``RetrieverQueryEngine.from_args(retriever, node_postprocessors=[reranker])``.

    Attributes:
        model: hub name or folder, loaded when first used and shared by all who name it, or a ready
            `ProRankReranker`, or anything with ``rerank(query, documents, k)``. JSON holds its name.
        top_n: the most nodes that come back; None for all.
        score_threshold: nodes with a lower score are left out. ProRank's score is a log-odds: 0 is an even
            chance.
        instruction: what counts as relevant, for models that take an instruction.
        keep_retrieval_score: put the score a node came with into its copy's metadata, as
            ``retrieval_score``, hidden from embedding and language models. It changes `TextNode.hash`, by
            which fusion retrievers recognise nodes.
        device: with a name or folder: such as ``"cpu"`` or ``"cuda:1"``; None picks one.
        dtype: with a name or folder: such as ``"float32"``; None picks one.
        max_length: with a name or folder: tokens of the longest input; None is the reranker's default.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid", protected_namespaces=())

    model: Any = DEFAULT_MODEL
    top_n: int | None = Field(default=2, ge=0)
    score_threshold: float | None = Field(default=None, allow_inf_nan=False)
    instruction: str | None = None
    keep_retrieval_score: bool = False
    device: str | None = None
    dtype: str | None = None
    max_length: int | None = Field(default=None, gt=0)

    _held: LazyReranker | None = PrivateAttr(default=None)

    @field_validator("model")
    @classmethod
    def _check_model(cls, model: Any) -> Any:
        return checked_model(model)

    @field_serializer("model")
    def _name_model(self, model: Any) -> str:
        return model_name(model)

    def model_post_init(self, context: Any, /) -> None:
        """Hold on to what is shared by name, so that a copy made for one call does not load it anew."""
        self._reranker()

    @classmethod
    def class_name(cls) -> str:
        """The name in serialised components."""
        return "ProRankPostprocessor"

    def _postprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        if not nodes or self.top_n == 0:
            return []
        query, candidates = _query(query_bundle), _candidates(nodes)
        reranker = self._reranker().get()
        with self._reported(nodes, query) as results:
            hits = rank(reranker, query.query_str, candidates, **self._limits())
            results.extend(self._results(nodes, hits))
        return results

    @dispatcher.span
    async def _apostprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        if not nodes or self.top_n == 0:
            return []
        query, candidates = _query(query_bundle), _candidates(nodes)
        reranker = await self._reranker().aget()
        with self._reported(nodes, query) as results:
            hits = await arank(reranker, query.query_str, candidates, **self._limits())
            results.extend(self._results(nodes, hits))
        return results

    @contextmanager
    def _reported(self, nodes: list[NodeWithScore], query: QueryBundle) -> Iterator[list[NodeWithScore]]:
        """A list to fill with the results, between the events of its start and its end.

        As everywhere in the framework, an error ends the callback event with the exception and the span
        with a drop; there is no end event then.
        """
        name, top_n = model_name(self.model), len(nodes) if self.top_n is None else self.top_n
        results: list[NodeWithScore] = []
        dispatcher.event(ReRankStartEvent(query=query, nodes=nodes, top_n=top_n, model_name=name))
        payload: dict[str, Any] = {
            EventPayload.NODES: nodes,
            EventPayload.MODEL_NAME: name,
            EventPayload.QUERY_STR: query.query_str,
            EventPayload.TOP_K: top_n,
        }
        with self.callback_manager.event(CBEventType.RERANKING, payload=payload) as event:
            yield results
            event.on_end(payload={EventPayload.NODES: results})
        dispatcher.event(ReRankEndEvent(nodes=results))

    def _results(
        self, nodes: list[NodeWithScore], hits: list[tuple[int, ScoredDocument]]
    ) -> Iterator[NodeWithScore]:
        for position, hit in hits:
            node, before = copied(nodes[position].node), nodes[position].score
            if self.keep_retrieval_score:
                node.metadata[RETRIEVAL_SCORE] = None if before is None else float(before)
                node.excluded_embed_metadata_keys.append(RETRIEVAL_SCORE)
                node.excluded_llm_metadata_keys.append(RETRIEVAL_SCORE)
            yield NodeWithScore(node=node, score=hit.score)

    def _reranker(self) -> LazyReranker:
        self._held = lazy_reranker(self.model, self.device, self.dtype, self.max_length, self._held)
        return self._held

    def _limits(self) -> dict[str, Any]:
        return {"k": self.top_n, "threshold": self.score_threshold, "instruction": self.instruction}

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        for name, value in super().__repr_args__():
            yield name, model_name(value) if name == "model" else value

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> ProRankPostprocessor:
        # A copy with other options is wanted, not a second set of weights or of open traces.
        kept = (self.model, self._held, self.callback_manager)
        return super().__deepcopy__({**{id(item): item for item in kept}, **(memo or {})})

    def __reduce__(self) -> tuple[Any, ...]:
        # LlamaIndex would leave out a model that cannot be pickled, and the default one take its place.
        # Callback handlers hold connections and open traces, which stay with the process.
        fields = self.model_fields_set - {"callback_manager"}
        return partial(type(self), **{name: getattr(self, name) for name in sorted(fields)}), ()


def _query(query_bundle: QueryBundle | None) -> QueryBundle:
    if query_bundle is None:
        raise ConfigError("Missing query bundle in extra info.")
    return query_bundle


def _candidates(nodes: list[NodeWithScore]) -> list[Document]:
    return numbered(
        (node.node.get_content(metadata_mode=MetadataMode.EMBED), node.node.metadata) for node in nodes
    )
