"""Compiled loops of the hybrid: one customer's candidates and what the members say of them.

Arrays only; `hybrid.Collector` owns them. Scratch arrays hold zeros between two calls.

>>> place, out, every = np.zeros(3, np.int16), np.zeros(3, np.int64), np.ones(3, np.bool_)
>>> name_best(np.array([0, 1, 2]), np.array([0.1, 0.5, 0.3]), 2, every, place, out, 0)
2
>>> out[:2]
array([1, 2])
"""

from typing import Final

import numpy as np

from models.recommend.heap_kernels import least_of
from models.recommend.kernels import compiled
from models.recommend.repeat_kernels import repeats

#: Where each member's features begin; `hybrid.FEATURES` names them all.
OWN_HELD: Final = 7
SIMILAR: Final = 9
TOGETHER: Final = 11
POPULAR: Final = 13
CONTENT: Final = 17
_FEATURES: Final = 18


@compiled
def follow_twice(rows, weights, links, place, out):
    """Add up the links of some rows, each once and times its weight.

    place    int16 zeros, one a column, and so again after
    out      columns; zeros for sums of the scores and sums of weight * score: to be zeroed again,
             but for what is at 0
    Returns  how many columns there are, in `out` from 1 on
    """
    starts, columns, scores, late_place, late_columns, late_scores, lengths = links
    out[1][0] = _called_up(rows, links)
    found = 0
    for q in range(len(rows)):
        row, weight = rows[q], max(weights[q], 0.0)
        at = late_place[row] if row < len(late_place) else -1
        if at >= 0:
            found = _follow(
                late_columns[at], late_scores[at], 0, lengths[at], weight, place, out, found
            )
        elif row < len(starts) - 1:
            found = _follow(
                columns, scores, starts[row], starts[row + 1], weight, place, out, found
            )
    for t in range(1, found + 1):
        place[out[0][t]] = 0
    return found


@compiled
def _called_up(rows, links):
    """Read the first link of each row: no read waits for another, so that the waits for memory
    overlap, which they do not while links are followed. The sum is for nothing but to be read.
    """
    starts, columns, scores, late_place, late_columns, late_scores, _ = links
    total = 0.0
    for q in range(len(rows)):
        row = rows[q]
        at = late_place[row] if row < len(late_place) else -1
        if at >= 0:
            total += late_columns[at, 0] + late_scores[at, 0]
        elif row < len(starts) - 1 and starts[row] < len(columns):
            total += columns[starts[row]] + scores[starts[row]]
    return total


@compiled
def _follow(columns, scores, first, last, weight, place, out, found):
    touched, every, recent = out
    some, values = columns[first:last], scores[first:last]
    for q in range(len(some)):  # without a branch: whether an item is new cannot be foreseen
        column = some[q]
        t = place[column]
        found += t == 0
        t = found if t == 0 else t
        place[column], touched[t] = t, column
        every[t] += values[q]
        recent[t] += weight * values[q]
    return found


@compiled
def name_best(columns, scores, most, allowed, place, out, named):
    """Name the allowed columns of the `most` highest scores > 0 that are not named yet.

    place    (width,) int16: 1 + where a named column is in `out`, 0 = not named
    Returns the number of named columns, which are at the front of `out`
    """
    held = np.empty(len(columns))
    for q in range(len(columns)):
        held[q] = scores[q] if allowed[columns[q]] else 0.0
    least, ties = least_of(held, most)
    for q in range(len(columns)):
        if held[q] > 0.0 and held[q] >= least:
            if held[q] == least:
                ties -= 1
                if ties < 0:
                    continue
            named = _name(columns[q], place, out, named)
    return named


@compiled
def _name(column, place, out, named):
    if place[column] == 0:
        out[named] = column
        named += 1
        place[column] = named
    return named


@compiled
def name_all(columns, place, allowed, out, named):
    """Name allowed columns that are not named yet; the number of named ones."""
    for q in range(len(columns)):
        if allowed[columns[q]]:
            named = _name(columns[q], place, out, named)
    return named


@compiled
def like(profile, weights, terms, items, most_terms, term_total, term_touched, alike, touched):
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
    least, ties = least_of(values, most_terms)
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
            if alike[column] == 0.0:
                touched[found] = column
                found += 1
            alike[column] += values[t] / norm * scores[at]
    return found


@compiled
def collect(own, liked, shop, today, allowed, bounds, scratch):
    """Name the candidates of one customer, and write what every member says of them.

    own      columns, times, first, last, weight, fast, looked
    liked    columns, scores, holders
    shop     companions, terms and items (links each), trends (items, 4), popular columns,
             repeat shares and gaps by item, those of the shop
    bounds   how many candidates of similar, together and content; terms of the profile, and items
             that together and content start from
    scratch  of each item: content, place (zeros); companions and both their sums; two lists of
             columns; totals of terms (zeros) and their list
    Returns  columns of the candidates, their features, bought, due, place among own, holders
    """
    alike, place, others, two, out, term_total, term_touched = scratch
    companions, terms, items, trends, popular, shares, gaps, shop_share, shop_gap = shop
    most_similar, most_together, most_content, most_terms, most_profile = bounds
    profile, weights = _profile(own, most_profile)
    touched = follow_twice(profile, weights, companions, place, others)
    similar = like(profile, weights, terms, items, most_terms, term_total, term_touched, alike, two)
    columns, scores, holders = liked
    named = name_best(columns, scores, most_similar, allowed, place, out, 0)
    one, every, recent = others[0][1:][:touched], others[1][1:][:touched], others[2][1:][:touched]
    named = name_best(one, every, most_together, allowed, place, out, named)
    named = name_best(one, recent, most_together, allowed, place, out, named)
    total = alike[two[:similar]]
    named = name_best(two[:similar], total, most_content, allowed, place, out, named)
    named = name_all(popular, place, allowed, out, named)
    named = name_all(own[0], place, allowed, out, named)
    features = np.zeros((named, _FEATURES))
    holding = np.zeros(named, dtype=np.int64)
    for i in range(named):
        column = out[i]
        if column < len(trends):
            for j in range(CONTENT - POPULAR):
                features[i, POPULAR + j] = trends[column, j]
        features[i, CONTENT] = alike[column]
    for t in range(touched):
        i = place[one[t]] - 1
        if i >= 0:
            features[i, TOGETHER], features[i, TOGETHER + 1] = every[t], recent[t]
    for q in range(len(columns)):
        i = place[columns[q]] - 1
        if i >= 0:
            holding[i] = holders[q]
            features[i, SIMILAR], features[i, SIMILAR + 1] = scores[q], holders[q]
    bought, due = np.zeros(named, np.bool_), np.ones(named, np.bool_)
    mine = np.full(named, -1)
    repeated, ripe = np.empty((len(own[0]), OWN_HELD)), np.empty(len(own[0]), np.bool_)
    repeats(own, shares, gaps, shop_share, shop_gap, today, repeated, ripe)
    for q in range(len(own[0])):
        i = place[own[0][q]] - 1
        if i >= 0:
            features[i, :OWN_HELD] = repeated[q]
            features[i, OWN_HELD], features[i, OWN_HELD + 1] = own[1][q] > 0, own[6][q]
            bought[i], due[i], mine[i] = own[1][q] > 0, ripe[q], q
    every[:], recent[:] = 0.0, 0.0
    for t in range(similar):
        alike[two[t]] = 0.0
    for i in range(named):
        place[out[i]] = 0
    return out[:named].copy(), features, bought, due, mine, holding


@compiled
def _profile(own, most):
    """The heaviest own items, and their weights: what taste is read from."""
    columns, weights = own[0], own[4] + own[6]
    least, ties = least_of(weights, most)
    if len(columns) <= most:
        return columns, weights
    kept = np.empty(most, dtype=np.int64)
    size = 0
    for q in range(len(columns)):
        ties -= weights[q] == least
        if weights[q] > least or (weights[q] == least and ties >= 0):
            kept[size] = q
            size += 1
    return columns[kept], weights[kept]
