"""The rerankers: each library behind the same two steps, load and score, on one thread."""

from __future__ import annotations

import json
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

from prorank_plugins.rerank.prompt import PRORANK

BASELINE = "prorank float32"
"""The contestant that the others are compared with."""
REFERENCE = "mxbai-rerank, default batch"
"""The contestant whose scores are the right ones, where it takes part; else `BASELINE`."""
ONNX_FILE = "score.onnx"
"""The exported graph, beside the model."""

# The messages of sentence-transformers become the prompt of the released models.
_CHAT_TEMPLATE = (
    "{{%- set q = messages | selectattr('role', 'eq', 'query') | map(attribute='content') | first -%}}"
    "{{%- set d = messages | selectattr('role', 'eq', 'document') | map(attribute='content') | first -%}}"
    "{{{{ {before} + 'query: ' + q + '\\n' + 'document: ' + d + '\\n' + {after} }}}}"
)


class Engine(ABC):
    """One library with one model loaded.

    Attributes:
        modules: what must be importable.
        install: the command line that brings them.
        on_torch: whether it runs on torch.
    """

    modules: ClassVar[tuple[str, ...]] = ("torch", "tokenizers", "safetensors")
    install: ClassVar[str] = "pip install 'prorank-plugins[rerank]'"
    on_torch: ClassVar[bool] = True

    @abstractmethod
    def __init__(self, folder: Path, dtype: str) -> None:
        """Import the library and load the model of ``folder``."""

    @abstractmethod
    def score(self, query: str, documents: list[str], batch_size: int) -> list[float]:
        """Raw scores in the order of the documents."""


class ProRank(Engine):
    """This package. It plans its batches itself."""

    def __init__(self, folder: Path, dtype: str) -> None:
        from prorank_plugins.rerank.reranker import ProRankReranker

        self._reranker = ProRankReranker.from_pretrained(folder, device="cpu", dtype=dtype)

    def score(self, query: str, documents: list[str], batch_size: int) -> list[float]:
        """`ProRankReranker.score`."""
        return [float(score) for score in self._reranker.score(query, documents)]


class Mxbai(Engine):
    """mxbai-rerank: the authors' own library."""

    modules = ("mxbai_rerank",)
    install = "pip install mxbai-rerank"

    def __init__(self, folder: Path, dtype: str) -> None:
        self._reranker: Any = import_module("mxbai_rerank").MxbaiRerankV2(str(folder), device="cpu")
        if not hasattr(self._reranker.tokenizer, "prepare_for_model"):
            # transformers 5 has no such method; nothing in this workload is long enough to be cut.
            self._reranker.tokenizer.prepare_for_model = lambda query, document, **_: {
                "input_ids": query + document
            }

    def score(self, query: str, documents: list[str], batch_size: int) -> list[float]:
        """``rank`` without sorting."""
        ranked = self._reranker.rank(
            query, documents, top_k=len(documents), batch_size=batch_size, sort=False, return_documents=False
        )
        scores = {result.index: float(result.score) for result in ranked}
        return [scores[row] for row in range(len(documents))]


class SentenceTransformers(Engine):
    """sentence-transformers: ``CrossEncoder`` with ``LogitScore``. It tokenises the joined prompt."""

    modules = ("sentence_transformers",)
    install = "pip install 'sentence-transformers>=5.4'"

    def __init__(self, folder: Path, dtype: str) -> None:
        torch: Any = import_module("torch")
        library: Any = import_module("sentence_transformers")
        modules: Any = import_module("sentence_transformers.base.modules")
        scoring: Any = import_module("sentence_transformers.cross_encoder.modules")
        template = _CHAT_TEMPLATE.format(
            before=repr(PRORANK.prefix), after=repr(PRORANK.task + PRORANK.suffix)
        )
        with tempfile.TemporaryDirectory() as name:
            # The template has to be there when the folder is loaded.
            copy = Path(name)
            for file in folder.iterdir():
                (copy / file.name).symlink_to(file.resolve())
            (copy / "chat_template.jinja").write_text(template, "utf-8")
            model = modules.Transformer(
                str(copy), transformer_task="text-generation", model_kwargs={"dtype": torch.float32}
            )
        answers = [
            model.tokenizer(answer, add_special_tokens=False)["input_ids"][0]
            for answer in (PRORANK.positive, PRORANK.negative)
        ]
        self._reranker: Any = library.CrossEncoder(
            modules=[model, scoring.LogitScore(*answers)], device="cpu", activation_fn=torch.nn.Identity()
        )

    def score(self, query: str, documents: list[str], batch_size: int) -> list[float]:
        """``predict``."""
        pairs = [(query, document) for document in documents]
        found = self._reranker.predict(pairs, batch_size=batch_size, show_progress_bar=False)
        return [float(score) for score in found]


class Onnx(Engine):
    """ONNX Runtime with our score graph: last position, one dot product; left padding, sorted by length."""

    modules = ("onnxruntime", "onnx", "onnxscript", "transformers")
    install = "pip install onnxruntime onnx onnxscript transformers"
    on_torch = False

    def __init__(self, folder: Path, dtype: str) -> None:
        from prorank_plugins.rerank.encoding import PairEncoder
        from prorank_plugins.rerank.tokens import PieceTokenizer

        runtime: Any = import_module("onnxruntime")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = runtime.InferenceSession(
            str(folder / ONNX_FILE), options, providers=["CPUExecutionProvider"]
        )
        length = json.loads((folder / "config.json").read_text("utf-8"))["max_position_embeddings"]
        self._encoder = PairEncoder(PRORANK, PieceTokenizer.from_folder(folder), 8192, length)

    def score(self, query: str, documents: list[str], batch_size: int) -> list[float]:
        """The graph over padded batches."""
        import numpy as np

        head = self._encoder.head(query, None)
        rows = [self._encoder.row(head, document) for document in self._encoder.documents(documents)]
        order = sorted(range(len(rows)), key=lambda row: -len(rows[row]))
        scores = [0.0] * len(rows)
        for start in range(0, len(order), batch_size):
            batch = order[start : start + batch_size]
            width = len(rows[batch[0]])
            ids = np.array([[0] * (width - len(rows[row])) + rows[row] for row in batch], np.int64)
            widths = np.array([[len(rows[row])] for row in batch])
            mask = (np.arange(width) >= width - widths).astype(np.int64)
            (found,) = self._session.run(None, {"input_ids": ids, "attention_mask": mask})
            for row, score in zip(batch, found.reshape(-1), strict=True):
                scores[row] = float(score)
        return scores


@dataclass(frozen=True)
class Contestant:
    """One way to use one library.

    Attributes:
        label: for tables.
        engine: the library.
        dtype: number format, for this package.
        batch_sizes: the fastest of these is taken.
    """

    label: str
    engine: type[Engine]
    dtype: str = "float32"
    batch_sizes: tuple[int, ...] = (1,)

    @property
    def approximate(self) -> bool:
        """Whether its scores are expected to differ."""
        return self.dtype != "float32"


CONTESTANTS: dict[str, tuple[Contestant, ...]] = {
    "prorank": (
        Contestant(BASELINE, ProRank),
        Contestant("prorank bfloat16 (approximate)", ProRank, "bfloat16"),
        Contestant("prorank int8 (approximate)", ProRank, "int8"),
    ),
    "mxbai": (
        Contestant(REFERENCE, Mxbai, batch_sizes=(32,)),
        Contestant("mxbai-rerank, best batch", Mxbai, batch_sizes=(1, 8)),
    ),
    "sentence-transformers": (
        Contestant("sentence-transformers, best batch", SentenceTransformers, batch_sizes=(1, 8)),
    ),
    "onnx": (Contestant("ONNX Runtime, best batch", Onnx, batch_sizes=(1, 8)),),
}
"""Contestants by the name on the command line."""


def find_contestant(label: str) -> Contestant:
    """The contestant of a label."""
    return next(each for several in CONTESTANTS.values() for each in several if each.label == label)


def choose_contestants(names: Sequence[str]) -> tuple[list[Contestant], list[str]]:
    """The contestants that can take part, and a sentence about each engine or format that cannot.

    Args:
        names: keys of `CONTESTANTS`.
    """
    present: list[Contestant] = []
    skipped: list[str] = []
    for name in names:
        engine = CONTESTANTS[name][0].engine
        missing = [module for module in engine.modules if find_spec(module) is None]
        if missing:
            skipped.append(f"{name}: {', '.join(missing)} not installed; run: {engine.install}")
            continue
        for contestant in CONTESTANTS[name]:
            if contestant.dtype == "bfloat16" and not _multiplies_bfloat16():
                skipped.append(f"{contestant.label}: this processor has no instructions for it")
            else:
                present.append(contestant)
    return present, skipped


def _multiplies_bfloat16() -> bool:
    try:
        flags = Path("/proc/cpuinfo").read_text("utf-8")
    except OSError:
        return False  # not Linux: not known
    return "amx_bf16" in flags or "avx512_bf16" in flags
