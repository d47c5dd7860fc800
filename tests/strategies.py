"""Random corpora and queries."""

from hypothesis import strategies as st

TERMS = list("abcdefgh")


def corpora(min_docs=1, max_docs=12):
    """Token lists over a few terms; empty documents and long runs of one term included."""
    repeated = st.tuples(st.sampled_from(TERMS), st.integers(1, 60)).map(lambda pair: [pair[0]] * pair[1])
    document = st.one_of(
        st.lists(st.sampled_from(TERMS), max_size=15),
        st.lists(repeated, max_size=3).map(lambda runs: [term for run in runs for term in run]),
    )
    return st.lists(document, min_size=min_docs, max_size=max_docs)


def queries(max_size=6):
    """Query tokens with repeats and with terms ("x", "y") that no document holds."""
    return st.lists(st.sampled_from([*TERMS, "x", "y"]), max_size=max_size)


def scorer_settings():
    """Keyword arguments that `BMX` and the oracle share."""
    number = st.one_of(st.none(), st.floats(0, 3))
    return st.fixed_dictionaries(
        {
            "variant": st.sampled_from(["reference", "paper"]),
            "repeats": st.sampled_from(["keep", "merge"]),
            "alpha": number,
            "beta": number,
        }
    )
