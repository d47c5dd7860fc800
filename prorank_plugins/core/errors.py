"""Every error that callers are meant to catch.

::

    ProRankError
     ├─ ConfigError (ValueError)             an argument or setting is wrong
     ├─ DataFormatError (ValueError)         a data set, run or qrels file cannot be read
     ├─ UnknownIdError (KeyError)            an id is not in the index
     ├─ IndexNotFoundError (FileNotFoundError)  no saved index at this path
     ├─ IndexFormatError (ValueError)        a saved index of another kind, version or analyzer
     ├─ CorruptIndexError (ValueError)       a saved index is incomplete or damaged
     ├─ IndexLockedError (RuntimeError)      another process or object is writing to a saved index
     ├─ MissingExtraError (ImportError)      an optional dependency is not installed
     ├─ ModelError (RuntimeError)            a model cannot be loaded or used
     ├─ TrainingError (RuntimeError)         a training run cannot go on
     └─ CheckpointError (ValueError)         a checkpoint is incomplete, damaged or of another run

Each message says what was found, what was expected and what to do.
"""

from __future__ import annotations


class ProRankError(Exception):
    """Base of all errors raised on purpose by this package."""


class ConfigError(ProRankError, ValueError):
    """An argument or a setting has a value that cannot work."""


class DataFormatError(ProRankError, ValueError):
    """A data set, run or judgement file does not have the expected form."""


class UnknownIdError(ProRankError, KeyError):
    """A document id is not in the index."""

    def __str__(self) -> str:
        # KeyError prints the repr of its argument, which would quote the whole sentence.
        return str(self.args[0]) if self.args else ""


class IndexNotFoundError(ProRankError, FileNotFoundError):
    """There is no saved index at the given path."""


class IndexFormatError(ProRankError, ValueError):
    """A saved index is of another kind, of a newer format, or needs another analyzer."""


class CorruptIndexError(ProRankError, ValueError):
    """A saved index is incomplete or its content contradicts itself."""


class IndexLockedError(ProRankError, RuntimeError):
    """Another process, or another object of this one, is writing to a saved index."""


class MissingExtraError(ProRankError, ImportError):
    """An optional dependency is needed and not installed."""


class ModelError(ProRankError, RuntimeError):
    """A model or its tokenizer cannot be loaded, or gives no usable score."""


class TrainingError(ProRankError, RuntimeError):
    """A training run cannot go on; what it had saved before is kept."""


class CheckpointError(ProRankError, ValueError):
    """A checkpoint is incomplete, damaged, or belongs to another run."""
