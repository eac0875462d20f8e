"""Compiled loops of the lists: candidates ranked by utility, and what is to be said of the best.

>>> features, places = np.array([[4.0], [1.0]]), np.array([0, 1])
>>> most, utility = np.zeros(1), np.zeros(2)
>>> utilities(features, places, np.array([1.0, 2.0]), most, utility)
>>> most, utility
(array([4.]), array([3.  , 1.25]))
"""

import numpy as np

from models.recommend.candidate_kernels import SIMILAR
from models.recommend.heap_kernels import least_of
from models.recommend.kernels import compiled


@compiled
def utilities(features, places, weights, most, utility):
    """Weigh scores over their maximum among the places, and the square roots of that.

    weights  (2 f,): on the scores, then on the roots
    most     (f,) out: the maxima
    utility  (places,) out
    """
    f = features.shape[1]
    column = np.empty(len(places))  # one behind another: a step of the processor takes several
    utility[:] = 0.0
    for j in range(f):
        top, plain, root = 0.0, weights[j], weights[f + j]
        for q in range(len(places)):
            column[q] = features[places[q], j]
            top = max(top, column[q])
        most[j] = top
        if top > 0.0:
            for q in range(len(column)):
                unit = column[q] / top
                utility[q] += plain * unit + root * np.sqrt(unit)


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
def listed(found, own, hidden, weights, count, first, member_of, members):
    """Rank the candidates of both lists, and say what there is to say of the best.

    found    columns, features, bought, due, place among own (-1 = none), holders of each candidate
    own      times, first and last day of purchase, looked of each own item
    hidden   columns that are on neither
    weights  of what is bought again, then of what is new
    Returns  how many are on the first list; of those and of the second's (best, 7 + members) int64:
             column, similar customers who bought it, days of purchase, the first and the last of
             them, whether it was looked at, which member but the first adds most, members by size
             of what they add; (best, 1 + members): utility, and that in their sequence, to 4
             decimals
    """
    columns, features, bought, due, mine, holders = found
    times, first_day, last_day, looked = own
    chosen = np.empty((2, len(columns)), dtype=np.bool_)
    for q in range(len(columns)):
        shown = not (len(hidden) > 0 and (hidden == columns[q]).any())
        chosen[0, q] = shown and bought[q] and due[q]
        chosen[1, q] = shown and not bought[q]
    again, new = weights
    one = rank(features, chosen[0], again, count, first, member_of, members)
    two = rank(features, chosen[1], new, count, first, member_of, members)
    ends = len(one[0]), len(one[0]) + len(two[0])
    told = np.zeros((ends[1], 7 + members), dtype=np.int64)
    said = np.empty((ends[1], 1 + members))
    for i in range(ends[1]):
        places, utility, parts = one if i < ends[0] else two
        n = i if i < ends[0] else i - ends[0]
        q = places[n]
        told[i, 0], told[i, 1], at = columns[q], holders[q], mine[q]
        if at >= 0:
            told[i, 2], told[i, 3], told[i, 4] = times[at], first_day[at], last_day[at]
            told[i, 5] = looked[at] > 0
        rounded = np.rint(parts[n] * 1e4) / 1e4
        told[i, 6] = 1 + np.argmax(rounded[1:])
        _by_size(rounded, told[i, 7:])
        said[i, 0] = utility[n]
        for j in range(members):
            said[i, 1 + j] = rounded[told[i, 7 + j]]
    return ends[0], told, said


@compiled
def _by_size(values, places):
    """Write the places of values by falling size."""
    for j in range(len(values)):
        to = j
        while to > 0 and abs(values[places[to - 1]]) < abs(values[j]):
            places[to] = places[to - 1]
            to -= 1
        places[to] = j


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
