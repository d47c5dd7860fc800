"""Execute notebooks in place: ``python notebooks/execute.py [NOTEBOOK ...]``, all of them by default.

Outputs are kept, times of execution and the machine's kernel are not, so that running them again changes
what the results change and nothing else.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

HERE = Path(__file__).parent
TIMEOUT = 600


def execute(path: Path) -> float:
    """Run one notebook in an empty working directory, write it back, and return the seconds it took."""
    notebook = nbformat.read(path, as_version=4)
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        resources = {"metadata": {"path": folder}}
        NotebookClient(notebook, timeout=TIMEOUT, kernel_name="python3", resources=resources).execute()
    seconds = time.perf_counter() - start
    nbformat.write(tidied(notebook), path)
    return seconds


def tidied(notebook: Any) -> Any:
    """The notebook without what differs from run to run and from machine to machine."""
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    notebook.metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
    return notebook


if __name__ == "__main__":
    chosen = [Path(name) for name in sys.argv[1:]] or sorted(HERE.glob("*.ipynb"))
    for path in chosen:
        sys.stdout.write(f"{path.name} {execute(path):.1f} s\n")
        sys.stdout.flush()
