"""Concurrent calls joined into one pass, without a worker thread and without a waiting time.

Flat combining (Hendler, Incze, Shavit and Tzafrir, SPAA 2010): callers leave their work in a list; whoever
gets the lock does all that has gathered and hands out the results. A call that comes alone runs at once;
calls that come during a pass share the next one.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

Work = TypeVar("Work")
Result = TypeVar("Result")


class _Call(Generic[Work, Result]):
    """One caller's work and what became of it."""

    def __init__(self, work: Work) -> None:
        self.work = work
        self.result: list[Result] = []
        self.error: BaseException | None = None

    @property
    def done(self) -> bool:
        return bool(self.result) or self.error is not None


class Combiner(Generic[Work, Result]):
    """Runs a function of many works for callers that each have one. Safe from many threads.

    Args:
        run: does several works in one pass and returns as many results. An exception reaches every
            caller whose work was in the pass.
    """

    def __init__(self, run: Callable[[Sequence[Work]], Sequence[Result]]) -> None:
        self._run = run
        self._gathered: list[_Call[Work, Result]] = []
        self._gathering = threading.Lock()
        self._running = threading.Lock()

    def __call__(self, work: Work) -> Result:
        """The result of ``work``."""
        call: _Call[Work, Result] = _Call(work)
        with self._gathering:
            self._gathered.append(call)
        with self._running:
            if not call.done:
                self._run_gathered()
        if call.error is not None:
            raise call.error
        return call.result[0]

    def _run_gathered(self) -> None:
        with self._gathering:
            calls, self._gathered = self._gathered, []
        try:
            results = self._run([call.work for call in calls])
            for call, result in zip(calls, results, strict=True):
                call.result.append(result)
        except BaseException as error:
            for call in calls:
                call.error = error
            if not isinstance(error, Exception):
                raise
