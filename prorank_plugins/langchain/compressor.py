"""Any reranker behind the interface of LangChain's document compressors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from langchain_core.callbacks import Callbacks
from langchain_core.documents import BaseDocumentCompressor
from langchain_core.documents import Document as LCDocument
from langchain_core.runnables import RunnableLambda
from pydantic import ConfigDict, Field, PrivateAttr, field_serializer, field_validator
from typing_extensions import Self

from prorank_plugins.core.documents import ScoredDocument
from prorank_plugins.core.errors import ConfigError
from prorank_plugins.langchain.documents import reranked, texts_of
from prorank_plugins.rerank.lazy import LazyReranker, checked_model, lazy_reranker, model_name
from prorank_plugins.rerank.positions import arank, numbered, rank
from prorank_plugins.rerank.weights import DEFAULT_MODEL


class ProRankCompressor(BaseDocumentCompressor):
    r"""LangChain document compressor that keeps the documents a reranker finds most relevant.

    Results are copies, best first, with the reranker's score in ``metadata["relevance_score"]`` beside the
    retriever's. Safe to use from many threads.

    Setup:
        ```bash
        pip install -U 'prorank-plugins[langchain,rerank]'
        ```

    Key init args:
        model: str | Path | Reranker
            Hub name or folder, loaded when first used and shared by all who name it, or a ready
            `ProRankReranker`, or anything with ``rerank(query, documents, k)``.
        top_n: int | None
            Most documents to return, 3 by default; None for all.
        score_threshold: float | None
            Documents with a lower score are left out. ProRank's score is a log-odds: 0 is an even chance.
        instruction: str | None
            What counts as relevant, for models that take an instruction.
        device: str | None
            With a name or folder: such as ``"cpu"`` or ``"cuda:1"``; None picks one.
        dtype: str | None
            With a name or folder: such as ``"float32"``; None picks one.
        max_length: int | None
            With a name or folder: tokens of the longest input; None is the reranker's default.

    Instantiate:
        ```python
        from prorank_plugins.langchain import BMXRetriever, ProRankCompressor

        compressor = ProRankCompressor(model="./my-model", top_n=2)
        ```

    Usage:
        ```python
        retriever = BMXRetriever.from_texts(
            ["A dog sleeps all day.", "Dogs bark.", "A sleeping dog lies.", "Cats dislike water."], k=20
        )
        documents = compressor.compress_documents(retriever.invoke("sleeping dogs"), "sleeping dogs")
        documents[0].metadata["relevance_score"], documents[0].metadata["bmx_score"]
        ```

    Use within a chain:
        ```python
        from langchain_core.runnables import RunnableParallel, RunnablePassthrough

        candidates = RunnableParallel(documents=retriever, query=RunnablePassthrough())
        chain = candidates | compressor.as_runnable()
        chain.invoke("sleeping dogs")
        ```

    With langchain-classic: ``ContextualCompressionRetriever(base_compressor=..., base_retriever=...)``.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid", protected_namespaces=())

    model: Any = DEFAULT_MODEL
    top_n: int | None = Field(default=3, ge=0)
    score_threshold: float | None = Field(default=None, allow_inf_nan=False)
    instruction: str | None = None
    device: str | None = None
    dtype: str | None = None
    max_length: int | None = Field(default=None, gt=0)

    _held: LazyReranker | None = PrivateAttr(default=None)

    @field_validator("model")
    @classmethod
    def _check_model(cls, model: Any) -> Any:
        return checked_model(model)

    @field_serializer("model", when_used="json")
    def _name_model(self, model: Any) -> str:
        return model_name(model)

    def model_post_init(self, context: Any, /) -> None:
        """Hold on to what is shared by name, so that a copy made for one call does not load it anew."""
        self._reranker()

    def compress_documents(
        self, documents: Sequence[LCDocument], query: str, callbacks: Callbacks | None = None
    ) -> list[LCDocument]:
        """Copies of the best documents, best first; documents of equal score stay in their order.

        Args:
            documents: what was retrieved; left as it is.
            query: the user's question.
            callbacks: unused, LangChain has none for rerankers; see `as_runnable`.

        Raises:
            ConfigError: an item that is no document, an instruction for a reranker that takes none, or a
                reranker that returns what it should not.
        """
        if not documents or self.top_n == 0:
            return []
        candidates = numbered(texts_of(documents))
        reranker = self._reranker().get()
        return _copies(documents, rank(reranker, query, candidates, **self._limits()))

    async def acompress_documents(
        self, documents: Sequence[LCDocument], query: str, callbacks: Callbacks | None = None
    ) -> list[LCDocument]:
        """`compress_documents` by the reranker's own ``arerank``, or in a thread."""
        if not documents or self.top_n == 0:
            return []
        candidates = numbered(texts_of(documents))
        reranker = await self._reranker().aget()
        return _copies(documents, await arank(reranker, query, candidates, **self._limits()))

    def as_runnable(self) -> RunnableLambda[dict[str, Any], list[LCDocument]]:
        """The same as a Runnable that traces show; takes ``{"documents": [...], "query": "..."}``."""

        def compress(inputs: dict[str, Any]) -> list[LCDocument]:
            return self.compress_documents(*_arguments(inputs))

        async def acompress(inputs: dict[str, Any]) -> list[LCDocument]:
            return await self.acompress_documents(*_arguments(inputs))

        return RunnableLambda(compress, afunc=acompress, name=type(self).__name__)

    def _reranker(self) -> LazyReranker:
        self._held = lazy_reranker(self.model, self.device, self.dtype, self.max_length, self._held)
        return self._held

    def _limits(self) -> dict[str, Any]:
        return {"k": self.top_n, "threshold": self.score_threshold, "instruction": self.instruction}

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        for name, value in super().__repr_args__():
            yield name, model_name(value) if name == "model" else value

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        # A copy with other options is wanted, not a second set of weights.
        shared = {id(self.model): self.model, id(self._held): self._held}
        return super().__deepcopy__({**shared, **(memo or {})})


def _copies(documents: Sequence[LCDocument], hits: list[tuple[int, ScoredDocument]]) -> list[LCDocument]:
    return [reranked(documents[position], hit) for position, hit in hits]


def _arguments(inputs: Mapping[str, Any]) -> tuple[Sequence[LCDocument], str]:
    if not isinstance(inputs, Mapping) or not {"documents", "query"} <= inputs.keys():
        found = sorted(inputs) if isinstance(inputs, Mapping) else type(inputs).__name__
        raise ConfigError(f'the input must be {{"documents": [...], "query": "..."}}, found {found}')
    return inputs["documents"], inputs["query"]
