"""Why a document has its score, term by term."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from prorank_plugins.core.markup import BLUE, GREEN, Html, bar, escaped, note, number, table
from prorank_plugins.core.shown import print_str
from prorank_plugins.lexical.exhaustive import saturation
from prorank_plugins.lexical.planning import PlannedQueries
from prorank_plugins.lexical.queries import UNSEEN
from prorank_plugins.lexical.segment import Segment


@dataclass(frozen=True)
class TermExplanation:
    """One row of the plan for one document.

    Attributes:
        term: the analysed term.
        group: which of the summed queries it belongs to; 0 for a plain query.
        occurrences: in the query.
        term_freq: in the document; 0 if it does not match.
        doc_freq: documents that contain it.
        idf: its rarity in nats.
        entropy: E, its entropy over the query's largest (BMX eq. 4); 0 for BM25.
        tf_part: ``tf / (tf + slope·|D|/avgdl + offset)``, in [0, 1).
        contribution: what it adds to the score before coverage and normalisation.
    """

    term: str
    group: int
    occurrences: float
    term_freq: int
    doc_freq: int
    idf: float
    entropy: float
    tf_part: float
    contribution: float


@dataclass(frozen=True)
class Explanation:
    """A score taken apart. ``score == scale · (Σ contributions + coverage)`` up to rounding.

    Attributes:
        id: the document.
        score: as `LexicalIndex.scores` gives it.
        scorer: its repr.
        terms: one entry for each query term that some document contains, in query order.
        unseen: query terms that no document contains.
        coverage: what the variant "reference" adds for the share of the query that matches; for the
            variant "paper" that part stands in the contributions.
        matched, query_length: query tokens found in the document, and counted in all (m).
        document_length, average_length: |D| and avgdl in tokens.
        scale: 1 unless scores are normalised.
    """

    id: str
    score: float
    scorer: str
    terms: tuple[TermExplanation, ...]
    unseen: tuple[str, ...]
    coverage: float
    matched: float
    query_length: float
    document_length: int
    average_length: float
    scale: float

    def __str__(self) -> str:
        lines = [
            f"{self.score:.4f}  {self.id}  [{self.scorer}]",
            f"│  |D| {self.document_length}, avgdl {self.average_length:.1f}; "
            f"{self.matched:g} of {self.query_length:g} query tokens match",
        ]
        width = max((len(entry.term) for entry in self.terms), default=0)
        for entry in self.terms:
            name = entry.term.ljust(width)
            if not entry.term_freq:
                lines.append(f"├─ {'–':>7}  {name}  not in the document (df {entry.doc_freq})")
                continue
            times = f" × {entry.occurrences:g} in the query" if entry.occurrences != 1 else ""
            lines.append(
                f"├─ {entry.contribution:7.4f}  {name}  idf {entry.idf:.3f} (df {entry.doc_freq}), "
                f"tf {entry.term_freq} → {entry.tf_part:.3f}, entropy {entry.entropy:.3f}{times}"
            )
        lines += [f"├─ {'–':>7}  {term}  in no document" for term in self.unseen]
        lines.append(f"└─ {self.coverage:7.4f}  coverage")
        if self.scale != 1.0:
            lines.append(f"   all times {self.scale:.6g} (normalised)")
        return "\n".join(lines)

    _repr_pretty_ = print_str

    def _repr_html_(self) -> str:
        largest = max((self.coverage, *(entry.contribution for entry in self.terms))) or 1.0
        rows = [_term_row(entry, largest) for entry in self.terms]
        empty = Html("")
        rows += [(escaped(term), Html("in no document"), *[empty] * 6) for term in self.unseen]
        rows.append(
            (Html("<i>coverage</i>"), bar(self.coverage / largest, GREEN), number(self.coverage))
            + (empty,) * 5
        )
        shown = table(["term", "", "adds", "idf", "df", "tf", "tf part", "entropy"], rows, left=(0, 1))
        about = (
            f"{self.scorer}; |D| {self.document_length}, avgdl {self.average_length:.1f}; "
            f"{self.matched:g} of {self.query_length:g} query tokens match"
        )
        if self.scale != 1.0:
            about += f"; all times {self.scale:.6g} (normalised)"
        head = f'<div dir="auto"><b>{number(self.score, 4)}</b> {escaped(self.id)}</div>'
        return f"<div>{head}{shown}{note(escaped(about))}</div>"


def _term_row(entry: TermExplanation, largest: float) -> tuple[Html, ...]:
    name = escaped(entry.term)
    if entry.occurrences != 1:
        name = Html(f"{name} × {entry.occurrences:g}")
    numbers = (number(entry.idf), Html(str(entry.doc_freq)), Html(str(entry.term_freq)))
    if not entry.term_freq:
        return name, Html("not in the document"), Html(""), *numbers, Html(""), number(entry.entropy)
    mark = bar(entry.contribution / largest, BLUE)
    return name, mark, number(entry.contribution), *numbers, number(entry.tf_part), number(entry.entropy)


def explain_document(planned: PlannedQueries, row: int, scorer: str) -> Explanation:
    """The explanation of one document's score for one planned query.

    Args:
        planned: a single query.
        row: the document's.
        scorer: the scorer's repr.
    """
    plan, query = planned.plan, planned.terms
    segment, doc = planned.state.place(row)
    names = [query.terms[at] for at in plan.terms.tolist()]
    norm = float(segment.lengths[doc]) * planned.slope
    entries = [_explain_row(planned, i, name, segment, doc, norm) for i, name in enumerate(names)]
    found = np.array([entry.term_freq > 0 for entry in entries], np.float64)
    bonuses = np.bincount(plan.groups, plan.bonuses * found, query.n_groups)
    matches = np.bincount(plan.groups, plan.counts * found, query.n_groups)
    coverage = float((bonuses * matches).sum())
    scale = planned.scale(0)
    unseen = (term for term, number in zip(query.terms, query.ids.tolist(), strict=True) if number == UNSEEN)
    return Explanation(
        id=segment.ids[doc],
        score=(sum(entry.contribution for entry in entries) + coverage) * scale,
        scorer=scorer,
        terms=tuple(entries),
        unseen=tuple(dict.fromkeys(unseen)),
        coverage=coverage,
        matched=float(matches.sum()),
        query_length=float(plan.query_lengths.sum()),
        document_length=int(segment.lengths[doc]),
        average_length=planned.stats.average_length,
        scale=scale,
    )


def _explain_row(
    planned: PlannedQueries, i: int, name: str, segment: Segment, doc: int, norm: float
) -> TermExplanation:
    plan = planned.plan
    docs, term_freqs = segment.of(int(planned.numbers[i]))
    place = int(np.searchsorted(docs, doc))
    found = place < len(docs) and docs[place] == doc
    freq = np.array(float(term_freqs[place]) if found else 0.0)
    tf_part = float(saturation(freq, np.array(norm), 1.0, plan.offsets[i])) if found else 0.0
    return TermExplanation(
        term=name,
        group=int(plan.groups[i]),
        occurrences=float(plan.counts[i]),
        term_freq=int(freq),
        doc_freq=int(planned.stats.doc_freqs[plan.terms[i]]),
        idf=float(plan.idfs[i]),
        entropy=float(plan.entropies[i]),
        tf_part=tf_part,
        contribution=float(plan.weights[i] * tf_part + plan.floors[i]) if found else 0.0,
    )
