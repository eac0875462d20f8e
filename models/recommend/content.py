"""Content: items whose names and attributes are like those of what a customer holds.

The only member that knows an item before anybody has bought it.
"""

import re
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from scipy.sparse import csr_array

from models.recommend.links import Links, links_of, no_links

_WORD: Final = re.compile(r"[^\s,;/|()\"]+")
_MOST_TERMS: Final = 64  # of one item
_COMMON: Final = 0.2  # a term in more than this share of the items tells nothing


class Content(NamedTuple):
    """Items and their terms, TF-IDF weighted, each item at unit length.

    terms  item -> terms
    items  term -> items
    """

    terms: Links
    items: Links


NO_CONTENT: Final = Content(no_links(0), no_links(0))


def fit_content(texts: Sequence[str]) -> Content:
    """Weigh the terms of items by how rare they are.

    texts    one an item, "" = nothing is known of it
    Returns  terms that two items have at least; tf * (log((1 + n) / (1 + items)) + 1)
    Source   Salton & Buckley (1988), Information Processing & Management 24(5)

    >>> tea = fit_content(["red tea", "red cup", "tea cup red"])
    >>> tea.terms.starts, tea.terms.scores.round(2)
    (array([0, 2, 4, 7]), array([0.61, 0.79, 0.61, 0.79, 0.48, 0.62, 0.62]))
    """
    number: dict[str, int] = {}
    row, column = [], []
    for item, text in enumerate(texts):
        for word in _WORD.findall(text.lower())[:_MOST_TERMS]:
            row.append(item)
            column.append(number.setdefault(word, len(number)))
    counts = csr_array(
        (np.ones(len(row)), (np.array(row, dtype=np.int64), np.array(column, dtype=np.int64))),
        shape=(len(texts), len(number)),
    )
    counts.sum_duplicates()
    known = int((np.diff(counts.indptr) > 0).sum())
    held = np.bincount(counts.indices, minlength=len(number))
    idf = np.log((1.0 + known) / (1.0 + held)) + 1.0
    idf[(held < 2) | (held > max(_COMMON * known, 3))] = 0.0
    weight = counts.data * idf[counts.indices]
    where = np.repeat(np.arange(len(texts)), np.diff(counts.indptr))
    norm = np.sqrt(np.bincount(where, weights=weight * weight, minlength=len(texts)))
    counts.data = np.divide(weight, norm[where], out=np.zeros(len(weight)), where=norm[where] > 0)
    counts.eliminate_zeros()
    return Content(links_of(counts), links_of(csr_array(counts.T.tocsr())))
