"""How many documents of a segment contain each term more than once."""

from __future__ import annotations

import numpy as np

from prorank_plugins.lexical.codes import MOST_TOLD
from prorank_plugins.lexical.histograms import Histograms
from prorank_plugins.lexical.segment import Segment


def histograms_of(segment: Segment) -> Histograms:
    """The histograms of a segment's terms, deleted documents included."""
    from prorank_plugins.lexical.kernels import repeats

    lists = np.searchsorted(segment.indptr, segment.large_places, side="right").astype(np.int32) - 1
    untold = Histograms.of(lists, segment.large_freqs)
    large = np.stack((untold.terms, untold.term_freqs, untold.counts))
    most = min(len(segment.codes), (MOST_TOLD - 1) * len(segment.terms)) + large.shape[1]
    told, counts = np.zeros((2, MOST_TOLD + 1), np.int32), np.empty((3, most), np.int32)
    n = repeats.count_repeats(segment.indptr, segment.codes, segment.code_freqs, large, told, counts)
    return Histograms(segment.terms.take(counts[0, :n]), counts[1, :n].copy(), counts[2, :n].copy())
