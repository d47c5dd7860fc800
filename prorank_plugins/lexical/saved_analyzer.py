"""The analyzer of a saved index: described when written, rebuilt and compared when read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from prorank_plugins.core.errors import ConfigError, IndexFormatError
from prorank_plugins.core.storage import ArtifactReader
from prorank_plugins.lexical.analysis import Analyzer, AnalyzerConfig, WordTerms


def describe_analyzer(analyzer: Analyzer | None) -> dict[str, Any] | None:
    """JSON data that names an analyzer and what it does; None for none."""
    if analyzer is None:
        return None
    return {**analyzer.source.description(), "fingerprint": analyzer.fingerprint()}


def restore_analyzer(source: ArtifactReader, given: Analyzer | None) -> Analyzer | None:
    """The analyzer the index was built with, from what was saved or as ``given`` again."""
    saved = source.content.get("analyzer")
    if saved is None:
        if given is not None:
            raise IndexFormatError(f"{source.path} was built from token lists; load it without an analyzer")
        return None
    if not isinstance(saved, dict):
        raise source.corrupt("the manifest does not describe the analyzer")
    analyzer = given if given is not None else _rebuild(source, saved)
    if analyzer.fingerprint() != saved.get("fingerprint"):
        which = (
            "the analyzer given"
            if given is not None
            else "the analyzer of this release (its stemmer or Unicode tables)"
        )
        raise IndexFormatError(
            f"{source.path} was built with another analyzer: {which} gives other terms than {_named(saved)}. "
            "Pass the analyzer it was built with, or build the index again."
        )
    return analyzer


def _named(saved: Mapping[str, Any]) -> str:
    return json.dumps(
        {key: value for key, value in saved.items() if key != "fingerprint"}, ensure_ascii=False
    )


def _rebuild(source: ArtifactReader, saved: Mapping[str, Any]) -> Analyzer:
    kind = saved.get("kind")
    if kind == "callable":
        raise IndexFormatError(
            f"{source.path} was built with the function {saved.get('name')!r}, which is not saved; "
            "pass it again: load(path, analyzer=Analyzer(function))"
        )
    try:
        if kind == "subwords":
            from prorank_plugins.lexical.subwords import SubwordTerms

            return Analyzer(SubwordTerms(source.bytes("subwords.model", mmap=False).tobytes()))
        if kind == "words":
            config = dict(saved["config"])
            if isinstance(config.get("stop_words"), list):
                config["stop_words"] = tuple(config["stop_words"])
            return Analyzer(WordTerms(AnalyzerConfig(**config)))
    except (ConfigError, TypeError, KeyError, ValueError) as error:
        raise source.corrupt(f"the manifest's analyzer cannot be restored ({error})") from error
    raise IndexFormatError(f"{source.path} names an analyzer of kind {kind!r}; upgrade prorank-plugins")
