"""The search kernel, which takes some seconds to compile, once on a machine.

Machine code is kept on disk, so that later processes load it in a fraction of a second. The first process
of all answers by numpy meanwhile, with the same bits.
"""

from __future__ import annotations

import threading
from types import ModuleType

# Loading machine code from the disk takes less, compiling takes more.
_PATIENCE_SECONDS = 0.3


class _Compilation:
    """The import of the kernel's module, in a thread of its own that the interpreter waits for at its end."""

    def __init__(self) -> None:
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None
        self._module: ModuleType | None = None
        self._error: BaseException | None = None

    def result(self, wait: bool) -> ModuleType | None:
        """The module; None while it is being compiled, unless ``wait`` says to wait."""
        if self._module is not None:
            return self._module
        with self._starting:
            is_first = self._thread is None
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="prorank-compilation")
                self._thread.start()
        self._thread.join(None if wait else _PATIENCE_SECONDS if is_first else 0.0)
        if self._module is None and self._error is None and not self._thread.is_alive():
            self._run()  # this process was forked from one that was compiling
        if self._error is not None:
            raise self._error
        return self._module

    def _run(self) -> None:
        try:
            from prorank_plugins.lexical.kernels import searching
        except BaseException as error:  # raised again where somebody searches
            self._error = error
        else:
            self._module = searching


_COMPILATION = _Compilation()


def compiled_search(wait: bool) -> ModuleType | None:
    """`prorank_plugins.lexical.kernels.searching`, or None while it is being compiled for the first time.

    Args:
        wait: wait for it, however long it takes.
    """
    return _COMPILATION.result(wait)
