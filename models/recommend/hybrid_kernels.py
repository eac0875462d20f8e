"""Compiled loops of the hybrid: one customer's candidates and what the members say of them.

Arrays only; `hybrid.Collector` and `recommender.recommend` own them. Scratch arrays are one an item
and hold zeros (`place`: -1) between two calls.

>>> features, places = np.array([[4.0], [1.0]]), np.array([0, 1])
>>> most, utility = np.zeros(1), np.zeros(2)
>>> utilities(features, places, np.array([1.0, 2.0]), most, utility)
>>> most, utility
(array([4.]), array([3.  , 1.25]))
"""

import numpy as np

from models.recommend.kernels import compiled


@compiled
def follow_twice(rows, weights, starts, columns, scores, every, recent, touched):
    """Add up the links of some rows, each once (`every`) and times its weight (`recent`).

    Returns  how many columns were touched; they are at the front of `touched`
    """
    found = 0
    for q in range(len(rows)):
        row = rows[q]
        if row >= len(starts) - 1:
            continue
        weight = max(weights[q], 0.0)
        for at in range(starts[row], starts[row + 1]):
            column = columns[at]
            if every[column] == 0.0:
                touched[found] = column
                found += 1
            every[column] += scores[at]
            recent[column] += weight * scores[at]
    return found


@compiled
def name_best(columns, scores, most, allowed, place, out, named):
    """Name the allowed columns of the `most` highest scores > 0 that are not named yet.

    scores  one an item
    place   -1 where a column is not named
    Returns the number of named columns, which are at the front of `out`
    """
    values = np.empty(len(columns))
    kept = 0
    for q in range(len(columns)):
        if allowed[columns[q]] and scores[columns[q]] > 0.0:
            values[kept] = scores[columns[q]]
            kept += 1
    least, ties = _least_of(values[:kept], most)
    for q in range(len(columns)):
        column = columns[q]
        score = scores[column]
        if score <= 0.0 or score < least or not allowed[column]:
            continue
        if score == least:
            ties -= 1
            if ties < 0:
                continue
        if place[column] < 0:
            place[column] = named
            out[named] = column
            named += 1
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
def name_all(columns, allowed, place, out, named):
    """Name allowed columns that are not named yet; the number of named ones."""
    for q in range(len(columns)):
        column = columns[q]
        if allowed[column] and place[column] < 0:
            place[column] = named
            out[named] = column
            named += 1
    return named


@compiled
def take(columns, scores, features, feature):
    """Write the scores of the columns into one feature."""
    for i in range(len(columns)):
        features[i, feature] = scores[columns[i]]


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
def gather(column, day, weight, trips, half_life, rate, out_column, times, first, last, sums):
    """Gather a customer's interactions by item.

    column, day, weight  (e,) rising by column, then day; weight >= 1 = bought on that day
    trips                distinct days of purchases, rising
    rate                 what an item's weight shrinks by with every later trip
    sums                 (3, e) out: decayed, by trips, of other signals
    Returns              the number of items
    """
    newest = day[0]
    for q in range(len(day)):
        newest = max(newest, day[q])
    powers = np.ones(len(trips) + 1)
    for q in range(1, len(powers)):
        powers[q] = powers[q - 1] * rate
    found = -1
    for q in range(len(column)):
        if q == 0 or column[q] != column[q - 1]:
            found += 1
            out_column[found] = column[q]
        decayed = weight[q] * 2.0 ** ((day[q] - newest) / half_life)
        if weight[q] >= 1:
            if times[found] == 0:
                first[found] = day[q]
            times[found] += 1
            last[found] = day[q]
            sums[0, found] += decayed
            later = len(trips) - 1 - np.searchsorted(trips, day[q])
            sums[1, found] += powers[max(later, 0)]
        else:
            sums[2, found] += decayed
    return found + 1
