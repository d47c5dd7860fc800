"""BMX behind the interface of LangChain's retrievers."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun, CallbackManagerForRetrieverRun
from langchain_core.documents import Document as LCDocument
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import RunnableConfig, run_in_executor
from langchain_core.runnables.config import get_config_list
from pydantic import ConfigDict, Field
from typing_extensions import Self

from prorank_plugins.core.errors import ConfigError, CorruptIndexError
from prorank_plugins.core.protocols import Retriever
from prorank_plugins.langchain.documents import documents_of, from_langchain, to_langchain
from prorank_plugins.lexical.analysis import AnalyzerLike, as_analyzer
from prorank_plugins.lexical.retriever import LexicalRetriever
from prorank_plugins.lexical.scorers import Scorer

_OPTIONS = "langchain"


class BMXRetriever(BaseRetriever):
    r"""LangChain retriever that ranks by BMX, entropy-weighted BM25, without a server or a model.

    Setup:
        ```bash
        pip install -U 'prorank-plugins[langchain]'
        ```

    Key init args:
        docs: Iterable[Document]
            What to index; kept by the engine, not by this object. Ids are kept, missing ones generated.
        engine: Retriever
            Instead of ``docs``: a `LexicalRetriever`, or anything with ``retrieve(query, k)``, which
            can then be searched only.
        k: int
            Most documents to return, 4 by default. Only documents that share a term with the query
            are returned, so there can be fewer.
        filter: Any
            The only documents that may come back: metadata to match (``{"lang": "en"}``, a list of
            values allows any of them), a predicate on the metadata, ids, or a boolean mask. A filter
            given to a call takes the place of this one; ``{}`` lets everything through.
        id_key: str | None
            Metadata key that shows the document's id, for ``EnsembleRetriever(id_key=...)``. A
            document that has this key keeps its own value.
        analyzer: Analyzer | AnalyzerConfig | str | Callable
            With ``docs``: how text becomes terms. English by default; a language code for another one.
        scorer: Scorer
            With ``docs``: ``BMX()`` by default, or ``BM25()``.

    Instantiate:
        ```python
        from prorank_plugins.langchain import BMXRetriever

        retriever = BMXRetriever.from_texts(
            ["The fox jumps over the dog.", "A dog sleeps all day.", "Cats dislike water."],
            metadatas=[{"animal": "fox"}, {"animal": "dog"}, {"animal": "cat"}],
            ids=["fox", "dog", "cat"],
            k=2,
        )
        ```

    Usage:
        ```python
        documents = retriever.invoke("sleeping dogs")
        documents[0].id, documents[0].metadata["bmx_score"]

        retriever.invoke("dog", k=1, filter={"animal": ["dog", "cat"]})
        retriever.add_texts(["A wolf is no dog."], ids=["wolf"])
        retriever.delete(["cat"])
        ```

    Use within a chain:
        ```python
        from langchain_core.language_models import FakeListChatModel
        from langchain_core.output_parsers import StrOutputParser
        from langchain_core.prompts import ChatPromptTemplate
        from langchain_core.runnables import RunnablePassthrough

        prompt = ChatPromptTemplate.from_template("Answer from this context: {context}\n\n{question}")
        llm = FakeListChatModel(responses=["The dog."])  # any chat model


        def format_docs(documents):
            return "\n\n".join(document.page_content for document in documents)


        chain = (
            {"context": retriever | format_docs, "question": RunnablePassthrough()}
            | prompt
            | llm
            | StrOutputParser()
        )
        chain.invoke("Who sleeps all day?")
        ```
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

    # A public field, so that `configurable_fields`, which calls the constructor with all public fields on
    # every invocation, hands the engine on instead of building another.
    engine: Retriever = Field(exclude=True, repr=False)
    k: int = Field(default=4, ge=0)
    filter: Any = None
    id_key: str | None = None

    def __init__(
        self,
        docs: Iterable[LCDocument] | None = None,
        *,
        engine: Retriever | None = None,
        analyzer: AnalyzerLike | None = None,
        scorer: Scorer | None = None,
        **fields: Any,
    ) -> None:
        if engine is None:
            if docs is None:
                raise ConfigError(
                    "BMXRetriever needs docs= (an empty list is fine) or engine=; found neither. "
                    "from_texts, from_documents and load_local make one, too."
                )
            engine = LexicalRetriever.from_documents(from_langchain(docs), as_analyzer(analyzer), scorer)
        elif docs is not None or analyzer is not None or scorer is not None:
            raise ConfigError(
                "an engine comes with documents, analyzer and scorer: pass engine= alone, or docs= with "
                "analyzer= and scorer=. add_documents adds to an engine."
            )
        super().__init__(**{"engine": engine, **fields})

    @classmethod
    def from_texts(
        cls,
        texts: Iterable[str],
        metadatas: Iterable[Mapping[str, Any] | None] | None = None,
        ids: Iterable[str | None] | None = None,
        **kwargs: Any,
    ) -> Self:
        """Index texts.

        Args:
            texts: what to index; a generator is fine.
            metadatas: one for each text.
            ids: one for each text, unique; one that is None is generated.
            kwargs: as for the class.

        Raises:
            ConfigError: not as many metadatas or ids as texts, or ids that repeat.
        """
        return cls(docs=documents_of(texts, metadatas, ids), **kwargs)

    @classmethod
    def from_documents(cls, documents: Iterable[LCDocument], **kwargs: Any) -> Self:
        """Index documents; the arguments are those of the class."""
        return cls(docs=documents, **kwargs)

    # Searching

    def _get_relevant_documents(
        self,
        query: str,
        *,
        run_manager: CallbackManagerForRetrieverRun,
        k: int | None = None,
        filter: Any = None,
        _found: list[LCDocument] | None = None,
        **unknown: Any,
    ) -> list[LCDocument]:
        if _found is not None:
            return _found
        _refuse(unknown)
        wanted = self.filter if filter is None else filter
        options = {} if wanted is None else {"filter": wanted}
        found = self.engine.retrieve(query, self.k if k is None else k, **options)
        return [to_langchain(hit, self.id_key) for hit in found]

    async def _aget_relevant_documents(
        self,
        query: str,
        *,
        run_manager: AsyncCallbackManagerForRetrieverRun,
        k: int | None = None,
        filter: Any = None,
        _found: list[LCDocument] | None = None,
        **unknown: Any,
    ) -> list[LCDocument]:
        if _found is not None:
            return _found
        return await run_in_executor(
            None,
            self._get_relevant_documents,
            query,
            run_manager=run_manager.get_sync(),
            k=k,
            filter=filter,
            **unknown,
        )

    def batch(
        self,
        inputs: list[str],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> list[list[LCDocument]]:
        """`invoke` for many queries, with one search for all; callbacks see each query."""
        found = self._find_all(inputs, kwargs)
        if found is None:  # the inherited way tells which input is wrong
            return super().batch(inputs, config, return_exceptions=return_exceptions, **kwargs)
        configs = get_config_list(config, len(inputs))
        return [
            self.invoke(query, one_config, **kwargs, _found=documents)
            for query, one_config, documents in zip(inputs, configs, found, strict=True)
        ]

    async def abatch(
        self,
        inputs: list[str],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> list[list[LCDocument]]:
        """`batch`, with the search in a thread."""
        found = await run_in_executor(None, self._find_all, inputs, kwargs)
        if found is None:
            return await super().abatch(inputs, config, return_exceptions=return_exceptions, **kwargs)
        configs = get_config_list(config, len(inputs))
        return [
            await self.ainvoke(query, one_config, **kwargs, _found=documents)
            for query, one_config, documents in zip(inputs, configs, found, strict=True)
        ]

    def _find_all(self, queries: Sequence[str], options: Mapping[str, Any]) -> list[list[LCDocument]] | None:
        """Results of all queries by one search; None where that cannot be, or not without an error."""
        engine, known = self.engine, {"k", "filter", "verbose"}
        if len(queries) < 2 or not isinstance(engine, LexicalRetriever) or options.keys() - known:
            return None
        k, wanted = options.get("k"), options.get("filter")
        try:
            found = engine.retrieve_many(
                queries, self.k if k is None else k, self.filter if wanted is None else wanted
            )
        except Exception:  # whatever it is, it is raised again for the query that it belongs to
            return None
        return [[to_langchain(hit, self.id_key) for hit in hits] for hits in found]

    # Editing

    def add_documents(self, documents: Iterable[LCDocument]) -> list[str]:
        """Add documents, replacing those whose ids are there already; returns the ids in order.

        Raises:
            ConfigError: ids that repeat, an item that is no LangChain document, or an engine that is no
                `LexicalRetriever`; nothing is changed then.
        """
        return self._lexical("documents can be added").upsert(from_langchain(documents))

    def add_texts(
        self,
        texts: Iterable[str],
        metadatas: Iterable[Mapping[str, Any] | None] | None = None,
        ids: Iterable[str | None] | None = None,
    ) -> list[str]:
        """`add_documents` for texts; the arguments are those of `from_texts`."""
        return self.add_documents(documents_of(texts, metadatas, ids))

    def delete(self, ids: Iterable[str]) -> bool:
        """Remove documents; ids that are not there are passed over. Returns True.

        Raises:
            ConfigError: ids that are not str, or an engine that is no `LexicalRetriever`.
        """
        self._lexical("documents can be deleted").delete(ids, missing_ok=True)
        return True

    async def aadd_documents(self, documents: Iterable[LCDocument]) -> list[str]:
        """`add_documents` in a thread."""
        return await run_in_executor(None, self.add_documents, documents)

    async def aadd_texts(
        self,
        texts: Iterable[str],
        metadatas: Iterable[Mapping[str, Any] | None] | None = None,
        ids: Iterable[str | None] | None = None,
    ) -> list[str]:
        """`add_texts` in a thread."""
        return await run_in_executor(None, self.add_texts, texts, metadatas, ids)

    async def adelete(self, ids: Iterable[str]) -> bool:
        """`delete` in a thread."""
        return await run_in_executor(None, self.delete, ids)

    # Saving

    def save_local(self, path: str | Path) -> None:
        """Write documents, index and every option to a folder, as a whole or not at all, without pickle.

        Raises:
            ConfigError: an option or a document's metadata that is not JSON, a scorer of the caller's own,
                a folder with other content, or an engine that is no `LexicalRetriever`.
        """
        engine = self._lexical("a retriever can be saved")
        options = {name: _jsonable(name, value) for name, value in self.model_dump().items()}
        engine.save(path, options={_OPTIONS: options})

    @classmethod
    def load_local(
        cls, path: str | Path, *, analyzer: AnalyzerLike | None = None, mmap: bool = True, **overrides: Any
    ) -> Self:
        """Read a retriever that `save_local` wrote, or the documents that `LexicalRetriever.save` wrote.

        Args:
            path: the folder.
            analyzer: needed only if it was built with a callable, which is not saved.
            mmap: map the files instead of reading them.
            overrides: options that take the place of those saved (``k=10``).

        Raises:
            IndexNotFoundError: no folder there.
            CorruptIndexError: incomplete or damaged.
            IndexFormatError: another kind, a newer format or another analyzer.
        """
        engine, saved = LexicalRetriever.load_with_options(path, mmap, as_analyzer(analyzer))
        options = saved.get(_OPTIONS, {})
        if not isinstance(options, dict):
            raise CorruptIndexError(f"{path}: the saved options are {options!r}. Build and save it again.")
        return cls(engine=engine, **{**options, **overrides})

    def _lexical(self, what: str) -> LexicalRetriever:
        """The engine, if it is one that can do more than search."""
        if not isinstance(self.engine, LexicalRetriever):
            raise ConfigError(f"{what} with a LexicalRetriever as engine, found {type(self.engine).__name__}")
        return self.engine


def _refuse(unknown: Mapping[str, Any]) -> None:
    """Reject options of a call other than `verbose`, which LangChain reads and hands on."""
    if wrong := sorted(unknown.keys() - {"verbose"}):
        raise ConfigError(f"unknown option {wrong[0]!r}; a call to BMXRetriever takes k and filter")


def _jsonable(name: str, value: Any) -> Any:
    """An option as JSON gives it back: tuples and sets of values become lists."""
    try:
        return json.loads(json.dumps(value, default=_list_of_set, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"{name}={value!r} cannot be saved ({error}); save with {name}=None and give it to load_local"
        ) from error


def _list_of_set(value: Any) -> list[Any]:
    if isinstance(value, (set, frozenset)):
        return list(value)
    raise TypeError(f"{type(value).__name__} is not JSON")
