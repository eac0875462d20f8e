"""Compiled loops of the hybrid: one customer's candidates and what the members say of them.

Arrays only; `hybrid.Collector` and `recommender.recommend` own them. Scratch arrays hold zeros
between two calls.

>>> features, places = np.array([[4.0], [1.0]]), np.array([0, 1])
>>> most, utility = np.zeros(1), np.zeros(2)
>>> utilities(features, places, np.array([1.0, 2.0]), most, utility)
>>> most, utility
(array([4.]), array([3.  , 1.25]))
"""

from typing import Final

import numpy as np

from models.recommend.kernels import compiled
from models.recommend.repeat_kernels import repeats

#: Where each member's features begin; `hybrid.FEATURES` names them all.
OWN_HELD: Final = 7
SIMILAR: Final = 9
TOGETHER: Final = 11
POPULAR: Final = 13
CONTENT: Final = 17
_FEATURES: Final = 18
#: What is said of an item while one customer's candidates are collected: a cache line an item.
EVERY, RECENT, ALIKE, FOND, HELD, PLACE, SAID = 0, 1, 2, 3, 4, 5, 8


@compiled
def follow_twice(rows, weights, links, said, touched):
    """Add up the links of some rows, each once (`EVERY`) and times its weight (`RECENT`).

    Returns  how many columns were touched; they are at the front of `touched`
    """
    starts, columns, scores, place, late_columns, late_scores, lengths = links
    found = 0
    for q in range(len(rows)):
        row, weight = rows[q], max(weights[q], 0.0)
        at = place[row] if row < len(place) else -1
        if at >= 0:
            found = _follow(
                late_columns[at], late_scores[at], 0, lengths[at], weight, said, touched, found
            )
        elif row < len(starts) - 1:
            found = _follow(
                columns, scores, starts[row], starts[row + 1], weight, said, touched, found
            )
    return found


@compiled
def _follow(columns, scores, first, last, weight, said, touched, found):
    for at in range(first, last):
        column = columns[at]
        if said[column, EVERY] == 0.0:
            touched[found] = column
            found += 1
        said[column, EVERY] += scores[at]
        said[column, RECENT] += weight * scores[at]
    return found


@compiled
def name_best(columns, said, by, most, allowed, out, named):
    """Name the allowed columns of the `most` highest scores > 0 that are not named yet.

    by      whose scores
    Returns the number of named columns, which are at the front of `out`
    """
    values, usable = np.empty(len(columns)), np.empty(len(columns), dtype=np.int64)
    kept = 0
    for q in range(len(columns)):
        column = columns[q]
        score = said[column, by]
        if score > 0.0 and allowed[column]:
            values[kept], usable[kept] = score, column
            kept += 1
    least, ties = _least_of(values[:kept], most)
    for q in range(kept):
        if values[q] < least:
            continue
        if values[q] == least:
            ties -= 1
            if ties < 0:
                continue
        named = _name(usable[q], said, out, named)
    return named


@compiled
def _name(column, said, out, named):
    if said[column, PLACE] == 0.0:
        out[named] = column
        named += 1
        said[column, PLACE] = named
    return named


@compiled
def _least_of(values, most):
    """The least of the `most` highest values, and how many of those equal it.

    A heap of the highest so far, whose root is the least: most values are below it at once.
    """
    if len(values) <= most:
        return 0.0, 0
    heap = values[:most].copy()
    for start in range(most // 2 - 1, -1, -1):
        _sink(heap, start)
    for q in range(most, len(values)):
        if values[q] > heap[0]:
            heap[0] = values[q]
            _sink(heap, 0)
    ties = 0
    for q in range(most):
        ties += heap[q] == heap[0]
    return heap[0], ties


@compiled
def _sink(heap, at):
    """Restore a heap (the least first) below one place."""
    while True:
        child = 2 * at + 1
        if child >= len(heap):
            return
        if child + 1 < len(heap) and heap[child + 1] < heap[child]:
            child += 1
        if heap[at] <= heap[child]:
            return
        heap[at], heap[child] = heap[child], heap[at]
        at = child


@compiled
def name_all(columns, said, allowed, out, named):
    """Name allowed columns that are not named yet; the number of named ones."""
    for q in range(len(columns)):
        if allowed[columns[q]]:
            named = _name(columns[q], said, out, named)
    return named


@compiled
def like(profile, weights, terms, items, most_terms, term_total, term_touched, said, touched):
    """Add up, for each item, its cosine with the terms of the profile.

    terms, items  links from items to terms and back, each item at unit length
    most_terms    of the profile that count: its heaviest
    Returns       how many items were touched
    """
    starts, columns, scores = terms
    found = 0
    for q in range(len(profile)):
        row = profile[q]
        if row >= len(starts) - 1 or weights[q] <= 0:
            continue
        for at in range(starts[row], starts[row + 1]):
            term = columns[at]
            if term_total[term] == 0.0:
                term_touched[found] = term
                found += 1
            term_total[term] += weights[q] * scores[at]
    values = term_total[term_touched[:found]]
    least, ties = _least_of(values, most_terms)
    norm2 = 0.0
    kept = 0
    for t in range(found):
        term = term_touched[t]
        value = term_total[term]
        term_total[term] = 0.0
        if value < least or (value == least and least > 0.0 and ties <= 0):
            continue
        ties -= value == least
        values[kept], term_touched[kept] = value, term
        norm2 += value * value
        kept += 1
    starts, columns, scores = items
    norm, found = np.sqrt(norm2), 0
    for t in range(kept):
        for at in range(starts[term_touched[t]], starts[term_touched[t] + 1]):
            column = columns[at]
            if said[column, ALIKE] == 0.0:
                touched[found] = column
                found += 1
            said[column, ALIKE] += values[t] / norm * scores[at]
    return found


@compiled
def collect(own, profile, weights, liked, shop, today, allowed, bounds, scratch):
    """Name the candidates of one customer, and write what every member says of them.

    own      columns, times, first, last, weight, fast, looked
    profile  columns that companions and content start from, and their weights
    liked    columns, scores, holders
    shop     companions, terms and items (links each), trends (items, 4), popular columns,
             repeat shares and gaps by item, those of the shop
    bounds   how many candidates of similar, together and content; terms of the profile
    scratch  what is said of each item (zeros); three lists of columns; terms and their totals
    Returns  columns of the candidates, their features, bought, due, place among own, holders
    """
    said, one, two, out, term_total, term_touched = scratch
    companions, terms, items, trends, popular, shares, gaps, shop_share, shop_gap = shop
    most_similar, most_together, most_content, most_terms = bounds
    touched = follow_twice(profile, weights, companions, said, one)
    similar = like(profile, weights, terms, items, most_terms, term_total, term_touched, said, two)
    columns, scores, holders = liked
    for q in range(len(columns)):
        said[columns[q], FOND], said[columns[q], HELD] = scores[q], holders[q]
    named = name_best(columns, said, FOND, most_similar, allowed, out, 0)
    named = name_best(one[:touched], said, EVERY, most_together, allowed, out, named)
    named = name_best(one[:touched], said, RECENT, most_together, allowed, out, named)
    named = name_best(two[:similar], said, ALIKE, most_content, allowed, out, named)
    named = name_all(popular, said, allowed, out, named)
    named = name_all(own[0], said, allowed, out, named)
    features = np.zeros((named, _FEATURES))
    holding = np.empty(named, dtype=np.int64)
    for i in range(named):
        column = out[i]
        holding[i] = said[column, HELD]
        features[i, SIMILAR], features[i, SIMILAR + 1] = said[column, FOND], said[column, HELD]
        features[i, TOGETHER] = said[column, EVERY]
        features[i, TOGETHER + 1] = said[column, RECENT]
        if column < len(trends):
            for j in range(CONTENT - POPULAR):
                features[i, POPULAR + j] = trends[column, j]
        features[i, CONTENT] = said[column, ALIKE]
    bought, due = np.zeros(named, np.bool_), np.ones(named, np.bool_)
    mine = np.full(named, -1)
    repeated, ripe = np.empty((len(own[0]), OWN_HELD)), np.empty(len(own[0]), np.bool_)
    repeats(own, shares, gaps, shop_share, shop_gap, today, repeated, ripe)
    for q in range(len(own[0])):
        i = int(said[own[0][q], PLACE]) - 1
        if i >= 0:
            features[i, :OWN_HELD] = repeated[q]
            features[i, OWN_HELD], features[i, OWN_HELD + 1] = own[1][q] > 0, own[6][q]
            bought[i], due[i], mine[i] = own[1][q] > 0, ripe[q], q
    for used in (one[:touched], two[:similar], out[:named]):
        for q in range(len(used)):
            said[used[q], :] = 0.0
    for q in range(len(columns)):
        said[columns[q], :] = 0.0
    return out[:named].copy(), features, bought, due, mine, holding


@compiled
def utilities(features, places, weights, most, utility):
    """Weigh scores over their maximum among the places, and the square roots of that.

    weights  (2 f,): on the scores, then on the roots
    most     (f,) out: the maxima
    utility  (places,) out
    """
    f = features.shape[1]
    most[:] = 0.0
    for q in range(len(places)):
        for j in range(f):
            value = features[places[q], j]
            most[j] = max(most[j], value)
    for q in range(len(places)):
        total = 0.0
        for j in range(f):
            value = features[places[q], j]
            if value > 0.0:
                unit = value / most[j]
                total += weights[j] * unit + weights[f + j] * np.sqrt(unit)
        utility[q] = total


@compiled
def parts_of(features, places, weights, most, member_of, parts):
    """Add up what each member adds to the utility of some places."""
    f = features.shape[1]
    for q in range(len(places)):
        for j in range(f):
            value = features[places[q], j]
            if value > 0.0:
                unit = value / most[j]
                parts[q, member_of[j]] += weights[j] * unit + weights[f + j] * np.sqrt(unit)


@compiled
def rank(features, chosen, weights, count, first, member_of, members):
    """Rank the chosen candidates of one list.

    chosen   (c,) who may be on it
    weights  (2 f,): on the scores over their maximum, then on the roots of that
    first    whether who has a score of similar customers goes before who has none
    Returns  places of the `count` highest utilities and of whoever equals the last, best first;
             their utilities, to 9 decimals; what each member adds
    """
    places = np.flatnonzero(chosen)
    most, utility = np.zeros(features.shape[1]), np.zeros(len(places))
    utilities(features, places, weights, most, utility)
    high, low = -np.inf, np.inf
    for q in range(len(places)):
        utility[q] = np.rint(utility[q] * 1e9) / 1e9
        if features[places[q], SIMILAR] > 0.0:
            low = min(low, utility[q])
        else:
            high = max(high, utility[q])
    if first and high >= low:
        for q in range(len(places)):
            if features[places[q], SIMILAR] <= 0.0:
                utility[q] -= high - low + 1e-9
    best = _highest(utility, count)
    parts = np.zeros((len(best), members))
    parts_of(features, places[best], weights, most, member_of, parts)
    return places[best], utility[best], parts


@compiled
def _highest(utility, count):
    """Places of the `count` highest utilities and of whoever equals the last, best first."""
    least, _ = _least_of(utility, count)
    every = len(utility) <= count
    found = np.empty(len(utility), dtype=np.int64)
    size = 0
    for q in range(len(utility)):
        if every or utility[q] >= least:
            at = size
            while at > 0 and utility[found[at - 1]] < utility[q]:
                found[at] = found[at - 1]
                at -= 1
            found[at] = q
            size += 1
    return found[:size]
