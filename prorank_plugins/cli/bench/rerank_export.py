"""Write the score graph of a model folder for ONNX Runtime: ``python -m ...rerank_export FOLDER``."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from prorank_plugins.cli.bench.rerank_engines import ONNX_FILE
from prorank_plugins.rerank.prompt import PRORANK


def export(folder: Path) -> None:
    """(input_ids, attention_mask) → one score a row: the last position, one dot product, in float32."""
    torch: Any = import_module("torch")
    transformers: Any = import_module("transformers")
    tokenizer = transformers.AutoTokenizer.from_pretrained(str(folder))
    model = transformers.AutoModelForCausalLM.from_pretrained(str(folder), dtype=torch.float32).eval()
    positive, negative = (
        tokenizer(answer, add_special_tokens=False)["input_ids"][0]
        for answer in (PRORANK.positive, PRORANK.negative)
    )
    head = model.get_output_embeddings().weight
    direction = (head[positive] - head[negative]).detach().clone()

    def score(self: Any, input_ids: Any, attention_mask: Any) -> Any:
        states = self.model(input_ids=input_ids, attention_mask=attention_mask, use_cache=False)
        return states.last_hidden_state[:, -1] @ self.direction

    graph = type("Score", (torch.nn.Module,), {"forward": score})()
    graph.model = model.model
    graph.register_buffer("direction", direction)
    ids = torch.randint(0, 1000, (2, 40))
    mask = torch.ones_like(ids)
    mask[1, :5] = 0
    dimensions = {0: torch.export.Dim("rows", min=1, max=256), 1: torch.export.Dim("width", min=2, max=8192)}
    torch.onnx.export(
        graph.eval(),
        (ids, mask),
        str(folder / ONNX_FILE),
        input_names=["input_ids", "attention_mask"],
        output_names=["score"],
        dynamo=True,
        dynamic_shapes={"input_ids": dimensions, "attention_mask": dimensions},
        external_data=True,
    )


if __name__ == "__main__":
    export(Path(sys.argv[1]))
