"""Start measuring processes: an engine's index is built in one, loaded and searched in others."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from prorank_plugins.cli.bench.document_files import DocumentFiles
from prorank_plugins.cli.bench.fresh_worker import Job, as_json
from prorank_plugins.cli.bench.single_thread import ONE_THREAD
from prorank_plugins.core.errors import ProRankError

# The packages around the worker would load half of this library with their commands. Empty stand-ins let an
# engine's memory and first answer be its own.
_START = """\
import sys, types
for name, folder in {folders!r}.items():
    sys.modules[name] = types.ModuleType(name)
    sys.modules[name].__path__ = [folder]
from prorank_plugins.cli.bench.fresh_worker import main
main()
"""


@dataclass(frozen=True)
class Fresh:
    """Measuring processes over one collection.

    Attributes:
        scratch: folder for indexes and numba's caches.
        files: the documents.
        n_docs: how many of them to index.
        queries: as terms.
    """

    scratch: Path
    files: DocumentFiles
    n_docs: int
    queries: Sequence[Sequence[str]]

    def folder_of(self, engine: str) -> Path:
        """Where an engine's index is."""
        return self.scratch / f"{engine}-{self.n_docs}"

    def build(self, engine: str, raw: bool = False) -> dict[str, Any]:
        """Index the documents; see `prorank_plugins.cli.bench.fresh_worker.build`."""
        folder = self.folder_of(engine)
        place = folder.with_name(f"{folder.name}-raw") if raw else folder
        file = self.files.texts if raw else self.files.terms
        job = Job("build", engine, str(place), file=str(file), n_docs=self.n_docs, raw=raw)
        return _run(job, self.scratch / "numba")

    def search(self, engine: str, contestant: str, ks: Sequence[int], cache: Path) -> dict[str, Any]:
        """Search the index; see `prorank_plugins.cli.bench.fresh_worker.search`.

        Args:
            engine: whose index `build` made of terms.
            contestant: the way to search it.
            ks: numbers of documents to ask for; none to stop after the first answer.
            cache: folder of numba's compiled code.
        """
        queries = tuple(tuple(query) for query in self.queries)
        folder = str(self.folder_of(engine))
        job = Job("search", engine, folder, contestant=contestant, queries=queries, ks=tuple(ks))
        return _run(job, cache)


def _run(job: Job, cache: Path) -> dict[str, Any]:
    """Do one job in a process of its own.

    Raises:
        ProRankError: the process failed.
    """
    bench = Path(__file__).parent
    folders = {"prorank_plugins.cli": str(bench.parent), "prorank_plugins.cli.bench": str(bench)}
    command = [sys.executable, "-c", _START.format(folders=folders)]
    environment = {**os.environ, **ONE_THREAD, "NUMBA_CACHE_DIR": str(cache)}
    environment["PYTHONPATH"] = os.pathsep.join([str(bench.parents[2]), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        command,
        input=as_json(replace(job, started=time.time())),
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["nothing on the standard error"])[-1]
        raise ProRankError(f"{job.engine} failed to {job.task} in a process of its own: {last}")
    measured: dict[str, Any] = json.loads(done.stdout)
    return measured
