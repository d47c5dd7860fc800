"""BMX behind the interface of LlamaIndex's retrievers."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from copy import copy, deepcopy
from pathlib import Path
from typing import Any

import numpy as np
from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.callbacks.base import CallbackManager
from llama_index.core.constants import DEFAULT_SIMILARITY_TOP_K
from llama_index.core.indices.base import BaseIndex
from llama_index.core.schema import BaseNode, IndexNode, NodeWithScore, QueryBundle
from llama_index.core.storage.docstore.types import BaseDocumentStore
from llama_index.core.vector_stores.types import MetadataFilters
from numpy.typing import NDArray

from prorank_plugins.core.documents import Document
from prorank_plugins.core.errors import ConfigError, CorruptIndexError
from prorank_plugins.lexical.analysis import AnalyzerLike, as_analyzer
from prorank_plugins.lexical.filters import metadata_mask
from prorank_plugins.lexical.retriever import LexicalRetriever
from prorank_plugins.lexical.scorers.plan import Scorer
from prorank_plugins.lexical.state import State
from prorank_plugins.llama_index.filters import predicate
from prorank_plugins.llama_index.nodes import (
    NODE,
    KeptNode,
    class_name,
    copied,
    documents_of,
    is_object,
    node_class,
    node_of,
    packed_node,
)


class BMXRetriever(BaseRetriever):
    """Retrieves nodes by BMX, or by another lexical scorer.

    What is indexed is each node's text with the metadata meant for embedding (``MetadataMode.EMBED``).
    Results are copies with the score in `NodeWithScore.score`; only nodes that share a term with the query
    come back. Safe to use from many threads, also while nodes are added and deleted.

    ::

        from llama_index.core.schema import TextNode
        from prorank_plugins.llama_index import BMXRetriever

        nodes = [TextNode(text="Owls hunt at night."), TextNode(text="Bees dance.")]
        retriever = BMXRetriever.from_defaults(nodes=nodes, similarity_top_k=1)
        retriever.retrieve("Which birds hunt at night?")[0].text        # "Owls hunt at night."
        retriever.persist("./bmx")
        retriever = BMXRetriever.from_persist_dir("./bmx")

    Scores are unbounded; ``from_defaults(..., scorer=BMX(normalize="bound"))`` gives scores in [0, 1], which
    can be compared with a vector retriever's.

    Args:
        engine: documents and index. The retriever works on its own copy: later edits of either do not
            reach the other. Documents that were not made of nodes come back as `TextNode`.
        similarity_top_k: the most nodes that come back, at least 0.
        filters: the only nodes that may come back; nested filters are fine. Besides their metadata, nodes
            can be told apart by ``node_id`` and, for their source document, ``ref_doc_id``.
        callback_manager: as for every LlamaIndex retriever.
        objects: what an `IndexNode` among the results stands for, by its ``index_id``.
        object_map: likewise, as a mapping.
        verbose: print which objects are entered.

    Raises:
        ConfigError: an argument of the wrong type or range.
    """

    def __init__(
        self,
        engine: LexicalRetriever,
        similarity_top_k: int = DEFAULT_SIMILARITY_TOP_K,
        filters: MetadataFilters | None = None,
        callback_manager: CallbackManager | None = None,
        objects: list[IndexNode] | None = None,
        object_map: dict[str, Any] | None = None,
        verbose: bool = False,
    ) -> None:
        if not isinstance(engine, LexicalRetriever):
            raise ConfigError(
                f"engine must be a LexicalRetriever, found {type(engine).__name__}; "
                "BMXRetriever.from_defaults takes nodes, a docstore or an index"
            )
        self._engine = copy(engine)
        self.similarity_top_k = similarity_top_k
        self.filters = filters
        self._mask: tuple[object, str, NDArray[np.bool_]] | None = None
        super().__init__(callback_manager, object_map=object_map, objects=objects, verbose=verbose)

    @classmethod
    def from_defaults(
        cls,
        index: BaseIndex[Any] | None = None,
        nodes: Iterable[BaseNode] | None = None,
        docstore: BaseDocumentStore | None = None,
        similarity_top_k: int = DEFAULT_SIMILARITY_TOP_K,
        filters: MetadataFilters | None = None,
        analyzer: AnalyzerLike | None = None,
        scorer: Scorer | None = None,
        callback_manager: CallbackManager | None = None,
        objects: list[IndexNode] | None = None,
        object_map: dict[str, Any] | None = None,
        verbose: bool = False,
        show_progress: bool = False,
    ) -> BMXRetriever:
        """Index the nodes of exactly one of ``index``, ``nodes`` and ``docstore``.

        An index is asked for its docstore. Of ``nodes`` with one id the last counts; an empty list gives a
        retriever to add nodes to. ``analyzer`` is an `Analyzer`, an `AnalyzerConfig`, a language or a
        function from text to terms, English for None; ``scorer`` is ``BMX()`` for None; ``show_progress``
        shows a progress bar while indexing. The other arguments are those of the class.

        Raises:
            ConfigError: not exactly one source, a docstore without nodes, or a wrong argument.
        """
        if sum(source is not None for source in (index, nodes, docstore)) != 1:
            raise ConfigError("Please pass exactly one of index, nodes, or docstore.")
        if index is not None:
            docstore = index.docstore
            if objects is None and object_map is None:
                object_map = dict(getattr(index, "_object_map", {}))
        if docstore is not None:
            nodes = _nodes_in(docstore)
        engine = LexicalRetriever.from_documents(
            documents_of(nodes or []), as_analyzer(analyzer), scorer, progress=show_progress
        )
        return cls(
            engine,
            similarity_top_k=similarity_top_k,
            filters=filters,
            callback_manager=callback_manager,
            objects=objects,
            object_map=object_map,
            verbose=verbose,
        )

    @property
    def engine(self) -> LexicalRetriever:
        """Index and documents, to look into: ``engine.index.explain(query, node_id)``."""
        return self._engine

    @property
    def similarity_top_k(self) -> int:
        """The most nodes that come back."""
        return self._similarity_top_k

    @similarity_top_k.setter
    def similarity_top_k(self, value: int) -> None:
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 0:
            raise ConfigError(f"similarity_top_k must be a whole number of at least 0, found {value!r}")
        self._similarity_top_k = int(value)

    @property
    def filters(self) -> MetadataFilters | None:
        """The only nodes that may come back; None for all."""
        return self._filters

    @filters.setter
    def filters(self, value: MetadataFilters | None) -> None:
        if value is not None and not isinstance(value, MetadataFilters):
            raise ConfigError(f"filters must be MetadataFilters or None, found {type(value).__name__}")
        self._filters = value

    # Searching

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return self._search(query_bundle.query_str)

    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        # The inherited method would search on the event loop and hold up everything else.
        return await asyncio.to_thread(self._search, query_bundle.query_str)

    def _search(self, query: str) -> list[NodeWithScore]:
        allowed = None if self.filters is None else _NodeFilter(self, self.filters)
        hits = self._engine.retrieve(query, self.similarity_top_k, allowed)
        return [NodeWithScore(node=self._result(hit.document), score=hit.score) for hit in hits]

    def _result(self, document: Document) -> BaseNode:
        """A copy of the document's node, and of the node it stands for if ``object_map`` holds that."""
        node = node_of(document)
        if isinstance(document.metadata.get(NODE), KeptNode):
            node = copied(node)
        if isinstance(node, IndexNode) and node.obj is None:
            target = self.object_map.get(node.index_id)
            if isinstance(target, (BaseNode, NodeWithScore)):
                node.obj = copied(target)
        return node

    def _allowed(self, filters: MetadataFilters, documents: Sequence[Document]) -> NDArray[np.bool_]:
        """(n_docs,) mask of the nodes that pass the filters, remembered until either changes."""
        wanted, known = filters.model_dump_json(), self._mask
        if known is None or known[0] is not documents or known[1] != wanted:
            mask = metadata_mask(predicate(filters), [_filterable(document) for document in documents])
            known = self._mask = (documents, wanted, mask)
        return known[2]

    # Editing

    def add_nodes(self, nodes: Iterable[BaseNode]) -> list[str]:
        """Add nodes, in place of those with the same ids; returns their ids.

        Raises:
            ConfigError: an item that is no node; nothing is added then.
        """
        return self._engine.upsert(documents_of(nodes))

    def delete_nodes(self, node_ids: Iterable[str]) -> None:
        """Remove nodes. Ids that are not there are passed over."""
        self._engine.delete(node_ids, missing_ok=True)

    async def aadd_nodes(self, nodes: Iterable[BaseNode]) -> list[str]:
        """`add_nodes`, in a thread."""
        return await asyncio.to_thread(self.add_nodes, nodes)

    async def adelete_nodes(self, node_ids: Iterable[str]) -> None:
        """`delete_nodes`, in a thread."""
        await asyncio.to_thread(self.delete_nodes, node_ids)

    # Saving and copying

    def persist(self, path: str | Path) -> None:
        """Write nodes, index and every option to a folder, as a whole or not at all.

        What index nodes stand for is not saved, but for nodes in ``IndexNode.obj``: `from_persist_dir`
        asks for it again, as it does for an analyzer that is a function.

        Raises:
            ConfigError: a node that JSON cannot give back as it was, a scorer of the caller's own, or a
                folder with other content.
        """
        engine = copy(self._engine)
        nodes = [node_of(document) for document in engine.documents]
        objects = {key for key, value in self.object_map.items() if value is not None}
        objects |= {node.index_id for node in nodes if isinstance(node, IndexNode) and is_object(node.obj)}
        options = {
            "similarity_top_k": self.similarity_top_k,
            "filters": None if self.filters is None else self.filters.model_dump(mode="json"),
            "verbose": self._verbose,
            "objects": sorted(objects),
            "classes": sorted({class_name(type(node)) for node in nodes}),
        }
        documents = [
            Document(document.id, document.text, {**document.metadata, NODE: packed_node(node)})
            for document, node in zip(engine.documents, nodes, strict=True)
        ]
        LexicalRetriever(engine.index, documents, engine.scorer).save(path, {"llama_index": options})

    @classmethod
    def from_persist_dir(
        cls,
        path: str | Path,
        analyzer: AnalyzerLike | None = None,
        scorer: Scorer | None = None,
        mmap: bool = True,
        **overrides: Any,
    ) -> BMXRetriever:
        """Read a retriever that `persist` wrote.

        Args:
            path: the folder.
            analyzer: needed only if the index was built with a function, which is not saved.
            scorer: in place of the saved one.
            mmap: map the index's arrays instead of reading them.
            overrides: arguments of the class, in place of what was saved; ``object_map`` or ``objects``,
                if index nodes stood for objects (None for one to get the index node itself).

        Raises:
            IndexNotFoundError: no folder there.
            CorruptIndexError: incomplete or damaged.
            IndexFormatError: another kind, a newer format or another analyzer.
            ConfigError: objects are missing, or an override is wrong.
        """
        engine, content = LexicalRetriever.load_with_options(path, mmap, as_analyzer(analyzer))
        if scorer is not None:
            engine.scorer = scorer
        saved = content.get("llama_index", {})
        try:
            filters = saved.get("filters")
            options = {
                "similarity_top_k": saved.get("similarity_top_k", DEFAULT_SIMILARITY_TOP_K),
                "filters": None if filters is None else MetadataFilters.model_validate(filters),
                "verbose": saved.get("verbose", False),
            }
            objects, classes = set(saved.get("objects", [])), list(saved.get("classes", []))
        except (AttributeError, TypeError, ValueError) as error:
            raise CorruptIndexError(
                f"{path}: the retriever's options are damaged ({error}). "
                "Restore the folder from a copy or build it again."
            ) from error
        for name in classes:
            node_class(name)
        retriever = cls(engine, **{**options, **overrides})
        if missing := sorted(objects - set(retriever.object_map)):
            raise ConfigError(
                f"index nodes in {path} stand for objects that are not saved: {', '.join(missing)}. "
                "Pass them again: from_persist_dir(path, object_map={index_id: object})"
            )
        return retriever

    def __getstate__(self) -> dict[str, Any]:
        # Callback handlers hold connections and open traces, which stay with the process.
        left = ("_mask", "callback_manager")
        return {name: value for name, value in self.__dict__.items() if name not in left}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update({"callback_manager": CallbackManager(), **state})
        self._mask = None

    def __deepcopy__(self, memo: dict[int, Any]) -> BMXRetriever:
        memo[id(self._engine)] = copy(self._engine)
        memo.update({id(shared): shared for shared in (self.callback_manager, *self.object_map.values())})
        twin = type(self).__new__(type(self))
        memo[id(self)] = twin
        twin.__setstate__({**deepcopy(self.__getstate__(), memo), "callback_manager": self.callback_manager})
        return twin

    def __copy__(self) -> BMXRetriever:
        return deepcopy(self)

    def __repr__(self) -> str:
        return f"BMXRetriever({len(self._engine)} nodes, similarity_top_k={self.similarity_top_k})"


class _NodeFilter:
    """Metadata filters for the nodes that an engine holds at the moment of a search."""

    def __init__(self, retriever: BMXRetriever, filters: MetadataFilters) -> None:
        self._retriever, self._filters = retriever, filters

    def mask(self, state: State) -> NDArray[np.bool_]:
        """(n_docs,) the nodes that pass."""
        return self._retriever._allowed(self._filters, state.documents)


def _nodes_in(docstore: BaseDocumentStore) -> Iterable[BaseNode]:
    nodes = list(docstore.docs.values())
    if not nodes:
        raise ConfigError(
            f"the {type(docstore).__name__} holds no nodes: most external vector stores keep the text "
            "themselves and leave the docstore empty. Pass nodes=..., or build the "
            "index with store_nodes_override=True."
        )
    return nodes


def _filterable(document: Document) -> dict[str, Any]:
    """What filters see of a node: its metadata, its id and that of its source."""
    node = node_of(document)
    source = dict.fromkeys(("ref_doc_id", "doc_id", "document_id"), node.ref_doc_id)
    return {"node_id": node.node_id, **source, **node.metadata}
