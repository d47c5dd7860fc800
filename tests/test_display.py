"""What notebooks show: markup that is whole, escaped, and asks nobody for anything."""

from html.parser import HTMLParser

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from IPython.lib.pretty import pretty

from prorank_plugins import (
    BMX,
    ConfigError,
    Document,
    Hits,
    LexicalIndex,
    RetrieveThenRerank,
    ScoredDocument,
    show_ranking,
)
from prorank_plugins.core.markup import bar, escaped, interval, number, one_line
from prorank_plugins.core.passages import SPAN_KEY, passage, winning_span
from prorank_plugins.evaluation import compare, evaluate
from prorank_plugins.training import StepReport, show_training

TAGS = {
    "div",
    "b",
    "i",
    "mark",
    "table",
    "tr",
    "th",
    "td",
    "svg",
    "text",
    "line",
    "circle",
    "rect",
    "polyline",
}
ATTRIBUTES = {
    "style", "dir", "width", "height", "viewbox", "x", "y", "x1", "x2", "y1", "y2", "cx", "cy", "r", "points",
    "fill", "stroke", "stroke-opacity", "stroke-width", "text-anchor", "font-size", "font-family",
    "font-weight",
}  # fmt: skip
HOSTILE = "</td></table><script>alert('http://x')</script><img src=x onerror=alert(1)> & \"quoted\" {x}"


class Checked(HTMLParser):
    """Refuses what a notebook should not be given, and keeps the text."""

    def __init__(self):
        super().__init__()
        self.open, self.texts, self.tags, self.marked = [], [], [], []

    def handle_starttag(self, tag, attributes):
        assert tag in TAGS, tag
        names = [name for name, _ in attributes]
        assert set(names) <= ATTRIBUTES, names
        assert len(set(names)) == len(names)
        for _, value in attributes:
            assert "url" not in value
            assert "http" not in value
        self.open.append(tag)
        self.tags.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)
        if "mark" in self.open:
            self.marked.append(data)

    def handle_comment(self, data):
        raise AssertionError(data)

    handle_decl = handle_pi = unknown_decl = handle_comment


def parsed(markup):
    parser = Checked()
    parser.feed(markup)
    parser.close()
    assert not parser.open
    return parser


def text_of(shown):
    return "".join(parsed(shown._repr_html_()).texts)


def hits(*ids):
    return Hits(list(ids), np.linspace(2, 1, len(ids), dtype=np.float32), np.arange(len(ids)))


def documents(*texts):
    return [Document(f"d{place}", text) for place, text in enumerate(texts)]


def scored(items, start=3.0):
    return [ScoredDocument(item, start - place) for place, item in enumerate(items)]


def reports(n=3):
    return [StepReport(step, 1 / step, 1e-3, {"accuracy": step / n}) for step in range(1, n + 1)]


def everything(text):
    """Each thing that shows itself, made with this text wherever a caller's text goes."""
    index = LexicalIndex.build([["a", text], ["b"], ["a"]], [text, "other", "third"], analyzer=None)
    pair = [Document(text, text, {SPAN_KEY: [0, len(text) // 2]}), Document("x" + text, "b")]
    run = {text: {"a": 1.0}, "q": {"a": 1.0}}
    better = {text: {"b": 1.0, "a": 0.5}, "q": {"a": 1.0}}
    qrels = {text: {"b": 1}, "q": {"a": 1}}
    first = evaluate(run, qrels, ["ndcg@10", "mrr"], {"note": text})
    second = evaluate(better, qrels, ["ndcg@10", "mrr"])
    return [
        index.search(["a", text]),
        index.explain(["a", text, text, "nowhere" + text], text),
        index.explain(["a", text], "other", scorer=BMX(normalize="bound")),
        *scored(pair),
        show_ranking(scored(pair), scored(pair[::-1]), query=text),
        show_ranking(pair, []),
        first,
        compare(first, second),
        compare(first, second)["mrr"],
        show_training([StepReport(1, 1.0, 1e-3, {text: 2.0}), StepReport(2, 0.5, 1e-3, {})]),
    ]


@given(st.text(min_size=1))
def test_whatever_a_text_holds_it_stays_text(text):
    for shown in everything(text):
        parsed(shown._repr_html_())
        shown._repr_html_().encode("utf-8")


def test_a_document_with_a_script_runs_none_and_asks_for_nothing():
    for shown in everything(HOSTILE):
        markup = shown._repr_html_()
        assert "<script" not in markup
        assert "<img" not in markup
        parsed(markup)
    pair = documents(HOSTILE, "b")
    assert " ".join(HOSTILE.split()) in text_of(show_ranking(pair, pair, query="a"))


@given(st.text(st.characters(blacklist_categories=["Cs", "Cc"])))
def test_an_escaped_text_reads_as_it_was(text):
    assert "".join(parsed(f"<b>{escaped(text)}</b>").texts) == text


def test_control_characters_and_lone_surrogates_are_shown_as_such():
    assert escaped("a\x00b\x1b[31m\ud800") == "a�b�[31m?"


@given(st.text(), st.integers(1, 50))
def test_a_line_is_one_line_of_at_most_its_length(text, n_chars):
    line = one_line(text, n_chars)
    assert len(line) <= n_chars
    assert len(line.splitlines()) <= 1


def test_numbers_have_a_true_minus():
    assert number(-1.5) == "−1.500"


@pytest.mark.parametrize(
    ("share", "width"), [(0.0, 0), (1e-9, 1), (0.5, 80), (1.0, 160), (7.0, 160), (-1.0, 0)]
)
def test_a_bar_is_as_long_as_its_share(share, width):
    assert f"width:{width}px;height" in bar(share)


def test_an_interval_puts_its_dot_where_the_value_is():
    assert 'cx="100.0"' in interval(0.2, 0.5, 0.8, 0.0, 1.0)
    assert 'x1="100.0" x2="100.0"' in interval(-0.5, 0.5, 0.8, -1.0, 1.0, zero=True)
    parsed(interval(0.0, 0.0, 0.0, 0.0, 0.0))


def test_ipython_prints_what_str_gives():
    for shown in everything("text"):
        if not isinstance(shown, ScoredDocument):
            assert pretty(shown) == str(shown)
    change = show_ranking(documents("a"), documents("a"))
    assert repr(change) == str(change)


# Passages


def test_the_window_that_won_is_marked():
    text = "The first part. The part that answers. The last part."
    start = text.index("The part")
    shown = parsed(passage(text, {SPAN_KEY: [start, start + 22]}))
    assert "".join(shown.marked) == "The part that answers."
    assert "".join(shown.texts) == text


def test_a_long_text_is_cut_around_its_window():
    text = "before " * 200 + "here it is " + "after " * 200
    start = text.index("here")
    shown = parsed(passage(text, {SPAN_KEY: [start, start + 11]}, n_chars=40))
    assert "".join(shown.marked).strip() == "here it is"
    whole = "".join(shown.texts)
    assert whole.startswith("…")
    assert whole.endswith("…")
    assert len(whole) < 60


@pytest.mark.parametrize("span", [None, "ab", [1], [0, 99], [3, 2], [-1, 3], ["0", "2"], [0, 10], [1.0, 2.0]])
def test_a_span_that_cannot_be_or_covers_all_marks_nothing(span):
    assert winning_span("ten chars!", {SPAN_KEY: span}) is None
    assert "mark" not in parsed(passage("ten chars!", {SPAN_KEY: span})).tags


@given(st.text(), st.integers(0, 40), st.integers(0, 40), st.integers(4, 60))
def test_a_passage_is_short_and_whole_for_any_window(text, start, end, n_chars):
    shown = parsed(f"<div>{passage(text, {SPAN_KEY: [start, end]}, n_chars)}</div>")
    assert len("".join(shown.texts)) <= 2 * n_chars + 3


# Rankings


def test_a_ranking_shows_what_rose_and_what_fell():
    pair = documents("one", "two", "three")
    change = show_ranking(scored(pair), scored([pair[2], pair[0]]), query="which?")
    markup = change._repr_html_()
    assert markup.count("<line") == 2  # the third fell out: a dot, no line
    assert "2f9e6e" in markup
    assert "d9822b" in markup
    assert "which?" in text_of(change)
    assert str(change).splitlines() == [
        "which?",
        "  1 ▲2       3.000  d2  three",
        "  2 ▼1       2.000  d0  one",
    ]


def test_documents_without_a_score_and_new_ones_are_shown_too():
    one, two = documents("one", "two")
    change = show_ranking([one], [one, two])
    assert [line.split() for line in str(change).splitlines()] == [
        ["1", "=", "d0", "one"],
        ["2", "new", "d1", "two"],
    ]
    assert "new" in text_of(change)


def test_only_so_many_ranks_are_shown():
    many = documents(*map(str, range(30)))
    change = show_ranking(many, many, limit=5)
    assert len(str(change).splitlines()) == 5
    assert parsed(change._repr_html_()).tags.count("tr") == 6
    assert "and 25 more" in text_of(change)


def test_what_cannot_be_shown_is_refused():
    one = documents("one")
    with pytest.raises(ConfigError, match="ids repeat in after"):
        show_ranking(one, one * 2)
    with pytest.raises(ConfigError, match="before holds str"):
        show_ranking(["one"], one)
    with pytest.raises(ConfigError, match="limit must be at least 1"):
        show_ranking(one, one, limit=0)


def test_the_result_of_a_pipeline_can_be_shown():
    class Retriever:
        def retrieve(self, query, k):
            return scored(documents("one", "two"))[:k]

    class Reranker:
        def rerank(self, query, documents, k=None):
            return scored(documents[::-1])[:k]

    found = RetrieveThenRerank(Retriever(), Reranker(), 2).retrieve("q", 2)
    assert "▲1" in str(show_ranking(Retriever().retrieve("q", 2), found))


# Hits, explanations, reports


def test_hits_are_a_line_each():
    assert str(hits("a", "b")) == "  1     2.0000  a\n  2     1.0000  b"
    assert str(Hits.none()) == "no hit"
    assert text_of(Hits.none()) == "no hit"
    many = hits(*map(str, range(25)))
    assert str(many).endswith("and 5 more")
    assert text_of(many).endswith("and 5 more")


def test_an_explanation_has_a_bar_for_each_term_that_matches_and_for_coverage():
    index = LexicalIndex.build(["a cat sleeps", "a dog barks at a cat"], ["cat", "dog"])
    explained = index.explain("dog barks unseen sleeps", "dog")
    assert explained._repr_html_().count("height:.8em") == 3
    shown = text_of(explained)
    assert "in no document" in shown
    assert "not in the document" in shown
    assert f"{explained.score:.4f}" in shown


def test_comparisons_are_a_dict_with_a_line_for_each_measure():
    first = evaluate({"q": ["a", "b"]}, {"q": {"b": 1}}, ["mrr", "p@1"])
    second = evaluate({"q": ["b", "a"]}, {"q": {"b": 1}}, ["mrr", "p@1"])
    found = compare(first, second)
    assert dict(found) == found
    assert [line.split()[:2] for line in str(found).splitlines()] == [["mrr", "+0.5000"], ["p@1", "+1.0000"]]


def test_training_curves_show_each_series():
    shown = show_training(iter(reports()))
    assert parsed(shown._repr_html_()).tags.count("polyline") == 2
    assert str(shown).splitlines()[1].split() == ["loss", "1", "0.3333"]
    assert str(shown).endswith("steps 1 to 3")
    assert str(show_training([])) == text_of(show_training([])) == "no report yet"


def test_long_runs_are_thinned_and_what_is_not_finite_is_left_out():
    shown = show_training([*reports(5000), StepReport(5001, float("nan"), 1e-3, {"odd": float("inf")})])
    assert len(shown._repr_html_()) < 20_000
    assert set(shown.series()) == {"loss", "accuracy"}
