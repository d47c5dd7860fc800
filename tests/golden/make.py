"""Write the golden folder of the present format: ``python -m tests.golden.make``.

Run once for each format version; a folder that is there is part of the contract and never rewritten.
It holds two segments, deletions in both, and edits in a journal.
The analyzer is a plain one, so that the folder does not depend on the release of the stemmer.
"""

import json
from pathlib import Path

from prorank_plugins import BMX, Analyzer, AnalyzerConfig, Document, LexicalRetriever
from prorank_plugins.core.locking import LOCK
from prorank_plugins.lexical.persistence import FORMAT_VERSION

HERE = Path(__file__).parent
TEXTS = [
    "Read a zip file without extracting it",
    "Compress a file with gzip, then read the file again",
    "東京都庁 へ行きます",
    "",
    "naïve café: हिन्दी में किताबें",
    "file " * 300,
]
QUERIES = ["read file", "東京", "किताबें cafe café", "zip zip unknown"]


def main() -> None:
    target = HERE / f"lexical-v{FORMAT_VERSION}"
    if target.exists():
        raise SystemExit(f"{target} is there already; golden folders are not rewritten")
    analyzer = Analyzer(AnalyzerConfig(language=None, stop_words=("a", "the", "it", "with")))
    documents = [Document(f"doc-{i}", text, {"n": i, "tags": ["x"]}) for i, text in enumerate(TEXTS)]
    retriever = LexicalRetriever.from_documents(documents, analyzer, BMX(variant="paper", normalize="bound"))
    retriever.save(target)
    with LexicalRetriever.open(target) as retriever:
        retriever.add([Document(f"late-{i}", f"read late file {i}", {"n": -i}) for i in range(3)])
        retriever.delete(["doc-1", "late-0"])
        retriever.save(target)
        retriever.update([Document("doc-2", "東京 file, lone \ud800", {"n": 2.5})])
        retriever.delete(["late-1"])
        retriever.add([Document("last", "zip file zip", {"tags": ["é"]})])
        kept = [dict(document.metadata) for document in retriever.documents]
        hits = {query: [(h.document.id, h.score) for h in retriever.retrieve(query, 10)] for query in QUERIES}
    (target / LOCK).unlink()
    record = {"metadata": kept, "hits": hits}
    target.with_suffix(".json").write_text(json.dumps(record, ensure_ascii=False, indent=1) + "\n")


if __name__ == "__main__":
    main()
