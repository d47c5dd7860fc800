"""Write ids and scores of mxbai-rerank 0.1.6: ``python -m tests.golden.rerank.make``.

Needs ``pip install mxbai-rerank==0.1.6 accelerate``. Nothing of that library is changed. On transformers 5,
whose tokenizers lost the method ``prepare_for_model`` that it calls, a stand-in with the meaning of
transformers 4 is added to the tokenizer.

``python -m tests.golden.rerank.make tokenizer`` trains the tokenizer again; the golden file has to follow.
"""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from prorank_plugins.rerank.prompt import PRORANK
from tests import tiny_models
from tests.golden.rerank.pairs import Case, cases

HERE = Path(__file__).parent
GOLDEN = HERE / "mxbai-rerank.json"


def write_tokenizer() -> None:
    """Train the small tokenizer on this project's licence and prompt."""
    licence = (HERE.parents[2] / "LICENSE").read_text("utf-8")
    prompt = " ".join([PRORANK.prefix, PRORANK.task, PRORANK.suffix, "query: instruction: document: "])
    for token in tiny_models.CONTROL_TOKENS:
        prompt = prompt.replace(token, "")
    tiny_models.TOKENIZER.write_text(
        tiny_models.train_tokenizer([licence, *[prompt] * 4], 700) + "\n", "utf-8"
    )


def load_peer(folder: Path, max_length: int) -> Any:
    """mxbai-rerank's model in float32 on the CPU."""
    import torch
    import transformers
    from mxbai_rerank import MxbaiRerankV2

    transformers.logging.set_verbosity_error()
    peer = MxbaiRerankV2(
        str(folder),
        device="cpu",
        torch_dtype=torch.float32,
        max_length=max_length,
        attn_implementation="eager",
    )
    if not hasattr(peer.tokenizer, "prepare_for_model"):
        object.__setattr__(peer.tokenizer, "prepare_for_model", _prepare_for_model)
    return peer


def _prepare_for_model(
    ids: list[int], pair_ids: list[int], *, truncation: str, max_length: int, **_: Any
) -> dict[str, list[int]]:
    """transformers 4: only the second sequence is cut, from the right, unless that would leave none of it."""
    assert truncation == "only_second"
    over = len(ids) + len(pair_ids) - max_length
    if 0 < over < len(pair_ids):
        pair_ids = pair_ids[: len(pair_ids) - over]
    return {"input_ids": [*ids, *pair_ids]}


def reference(folder: Path, case: Case) -> list[tuple[list[int], float]]:
    """Row of ids and score of each pair, scored one at a time."""
    peer = load_peer(folder, case.max_length)
    rows = []
    for query, document in case.pairs:
        inputs = peer.prepare_inputs([query], [document], instruction=case.instruction)
        kept = inputs["attention_mask"][0].bool()
        score = peer.predict([query], [document], instruction=case.instruction)
        rows.append((inputs["input_ids"][0][kept].tolist(), float(score[0])))
    return rows


def record(folder: Path, case: Case) -> dict[str, Any]:
    """What is written of a case; the ids of the template, equal in all rows, are written once."""
    peer = load_peer(folder, case.max_length)
    before = peer.chat_template_prefix_inputs
    after = [*peer.sep_inputs, *peer.task_prompt_inputs, *peer.chat_template_suffix_inputs]
    pairs = []
    for (query, document), (ids, score) in zip(case.pairs, reference(folder, case), strict=True):
        assert ids[: len(before)] == before
        assert ids[-len(after) :] == after
        middle = " ".join(map(str, ids[len(before) : -len(after)]))
        pairs.append({"query": query, "document": document, "ids": middle, "score": round(score, 7)})
    return {
        "instruction": case.instruction, "max_length": case.max_length, "positions": case.positions,
        "before": " ".join(map(str, before)), "after": " ".join(map(str, after)), "pairs": pairs,
    }  # fmt: skip


def main() -> None:
    """Write the file that the arguments ask for."""
    if sys.argv[1:] == ["tokenizer"]:
        return write_tokenizer()
    import torch
    import transformers

    with tempfile.TemporaryDirectory() as place:
        found = []
        for number, case in enumerate(cases()):
            folder = tiny_models.qwen(Path(place) / str(number), max_position_embeddings=case.positions)
            found.append(record(folder, case))
    versions = {"transformers": transformers.__version__, "torch": torch.__version__}
    data = {"made_with": {"mxbai-rerank": "0.1.6", **versions}, "cases": found}
    GOLDEN.write_text(json.dumps(data, ensure_ascii=False, indent=0) + "\n", "utf-8")


if __name__ == "__main__":
    main()
