"""The formulas once more, written apart from the package: plain loops over token lists, no postings.

Slow on purpose and without a line in common with the code under test.
"""

import math
import re
import unicodedata
from decimal import Decimal, localcontext


def raw_entropy(term, corpus):
    """Eq. 5 as a Decimal, so that term frequencies of 10,000 keep their ratios."""
    with localcontext() as context:
        context.prec = 40
        total = Decimal(0)
        for tokens in corpus:
            tf = tokens.count(term)
            if tf == 0:
                continue
            x = (-Decimal(tf)).exp()
            log_one_plus_x = (1 + x).ln() if tf < 30 else x - x * x / 2
            total += log_one_plus_x / (1 + x)
        return total


def entropies(tokens, corpus):
    """Eq. 4 for each query token, repeats included."""
    raw = [raw_entropy(token, corpus) for token in tokens]
    largest = max(raw, default=Decimal(0))
    return [float(value / largest) if largest else 0.0 for value in raw]


def idf(term, corpus):
    df = sum(term in tokens for tokens in corpus)
    return math.log(1 + (len(corpus) - df + 0.5) / (df + 0.5))


def bmx(corpus, query, variant="reference", repeats="keep", alpha=None, beta=None, weights=None):
    """Equation 2 for every document. ``weights`` are the token weights of a joint query."""
    n = len(corpus)
    avgdl = sum(map(len, corpus)) / n
    alpha = max(min(1.5, avgdl / 100), 0.5) if alpha is None else alpha
    beta = 1 / math.log(1 + n) if beta is None else beta
    pairs = list(zip(query, weights or [1.0] * len(query), strict=True))
    if repeats == "merge":
        first = {}
        for token, weight in pairs:
            first.setdefault(token, weight)
        pairs = list(first.items())
    if variant == "reference":
        pairs = [(token, weight) for token, weight in pairs if any(token in tokens for tokens in corpus)]
    m = len(pairs)
    if m == 0 or avgdl == 0:
        return [0.0] * n
    e = entropies([token for token, _ in pairs], corpus)
    mean_e = sum(e) / m
    scores = []
    for tokens in corpus:
        s = sum(token in tokens for token, _ in pairs) / m
        score = 0.0
        for (token, weight), e_i in zip(pairs, e, strict=True):
            tf = tokens.count(token)
            if tf:
                score += (
                    weight * idf(token, corpus) * tf * (alpha + 1)
                    / (tf + alpha * len(tokens) / avgdl + alpha * mean_e)
                )  # fmt: skip
            if tf or variant == "paper":
                score += weight * beta * e_i * s
        scores.append(score)
    return scores


def bm25(corpus, query, k1=1.5, b=0.75):
    avgdl = sum(map(len, corpus)) / len(corpus)
    scores = []
    for tokens in corpus:
        score = 0.0
        for token in query:
            tf = tokens.count(token)
            if tf:
                length = k1 * (1 - b + b * len(tokens) / avgdl)
                score += idf(token, corpus) * tf * (k1 + 1) / (tf + length)
        scores.append(score)
    return scores


def best(scores, k):
    """Rows of the k best positive scores; ties by row."""
    order = sorted(range(len(scores)), key=lambda row: (-scores[row], row))
    return [row for row in order if scores[row] > 0][:k]


def is_mark(char):
    return unicodedata.category(char).startswith("M")


_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u1100-\u11ff\u3005-\u3007\u3021-\u3029\u3031-\u3035\u3038-\u303c"
    "\u3041-\u3096\u3099\u309a\u309d-\u309f\u30a1-\u30fa\u30fc-\u30ff\u3105-\u312f\u3131-\u318e\u31a0-\u31bf"
    "\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\ua960-\ua97c\uac00-\ud7a3\ud7b0-\ud7fb\uf900-\ufaff"
    "\U0001b000-\U0001b16f\U00020000-\U000323af]"
)
_IGNORED = "\u00ad\u200c\u200d\u2060\ufeff"


def words(text):
    """(word, is written without blanks) of a text, character by character."""
    text = unicodedata.normalize("NFKC", text)
    text = "".join(
        c
        for c in text
        if c not in _IGNORED and not 0xFE00 <= ord(c) <= 0xFE0F and not 0xE0100 <= ord(c) <= 0xE01EF
    )
    found, current, unspaced = [], "", False
    for char in text + " ":
        in_unspaced = bool(_UNSPACED.match(char)) and (
            char.isalnum() or is_mark(char) or not 0xE00 <= ord(char) < 0x1800
        )
        plain = not in_unspaced and (char.isalnum() or char == "_")
        if current and unspaced == in_unspaced and (in_unspaced or plain or is_mark(char)):
            current += char
            continue
        if current:
            found.append((current if unspaced else current.rstrip("_"), unspaced))
        current, unspaced = "", in_unspaced
        if in_unspaced or (plain and char != "_"):
            current = char
    return found
