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

from models.recommend.heap_kernels import least_of, sift
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
    out      columns; zeros for sums of the scores and sums of weight * score: to be zeroed again
    Returns  how many columns there are, in `out` from 1 on
    """
    starts, columns, scores, late_place, late_columns, late_scores, lengths = links
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
def _follow(columns, scores, first, last, weight, place, out, found):
    touched, every, recent = out
    for at in range(first, last):  # without a branch: whether an item is new cannot be foreseen
        column = columns[at]
        t = place[column]
        found += t == 0
        t = found if t == 0 else t
        place[column], touched[t] = t, column
        every[t] += scores[at]
        recent[t] += weight * scores[at]
    return found


@compiled
def name_best(columns, scores, most, allowed, place, out, named):
    """Name the allowed columns of the `most` highest scores > 0 that are not named yet.

    place    (width,) int16: 1 + where a named column is in `out`, 0 = not named
    Returns the number of named columns, which are at the front of `out`
    """
    heap, size = np.empty(most), 0
    for q in range(len(columns)):
        if scores[q] > 0.0 and (size < most or scores[q] > heap[0]) and allowed[columns[q]]:
            size = sift(heap, size, scores[q])
    least, ties = heap[0] if size == most else 0.0, 0
    for h in range(size):
        ties += heap[h] == least
    for q in range(len(columns)):
        if scores[q] > 0.0 and scores[q] >= least and allowed[columns[q]]:
            if scores[q] == least:
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
            most[j] = max(most[j], features[places[q], j])
    utility[:] = 0.0
    for j in range(f):
        if most[j] > 0.0:
            for q in range(len(places)):
                unit = features[places[q], j] / most[j]
                utility[q] += weights[j] * unit + weights[f + j] * np.sqrt(unit)


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
def listed(found, own, chosen, weights, count, first, member_of, members):
    """Rank the chosen candidates of one list, and say what there is to say of the best.

    found    columns, features, place among own (-1 = none), holders of each candidate
    own      times, first and last day of purchase, looked of each own item
    Returns  (best, 6) int64 column, similar customers who bought it, days of purchase, the first
             and the last of them, whether it was looked at; utilities; what each member adds, to 4
             decimals; the members by how much that is
    """
    columns, features, mine, holders = found
    times, first_day, last_day, looked = own
    places, utility, parts = rank(features, chosen, weights, count, first, member_of, members)
    facts = np.zeros((len(places), 6), dtype=np.int64)
    loudest = np.empty((len(places), members), dtype=np.int64)
    for i in range(len(places)):
        at = mine[places[i]]
        facts[i, 0], facts[i, 1] = columns[places[i]], holders[places[i]]
        if at >= 0:
            facts[i, 2], facts[i, 3], facts[i, 4] = times[at], first_day[at], last_day[at]
            facts[i, 5] = looked[at] > 0
        for j in range(members):
            parts[i, j] = np.rint(parts[i, j] * 1e4) / 1e4
            to = j
            while to > 0 and abs(parts[i, loudest[i, to - 1]]) < abs(parts[i, j]):
                loudest[i, to] = loudest[i, to - 1]
                to -= 1
            loudest[i, to] = j
    return facts, utility, parts, loudest


@compiled
def _highest(utility, count):
    """Places of the `count` highest utilities and of whoever equals the last, best first."""
    least, _ = least_of(utility, count)
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
