"""Compiled scores of candidates: exact, from their rows in float64; and the best of them.

Rows come twice, as in `search_kernels`. `place` is int32 zeros, one an item, and so again after.

>>> slots, exact = np.array([4, 2, 7]), np.array([0.5, 0.9, 0.5])
>>> out, scores = np.zeros(2, np.int32), np.zeros(2)
>>> rank(slots, exact, 10, np.zeros(0), out, scores), out.tolist(), scores.tolist()
(2, [2, 4], [0.9, 0.5])
"""

import numpy as np

from models.recommend.kernels import compiled

COSINE, PEARSON, EUCLIDEAN = 0, 1, 2


@compiled
def cosines(slots, items, values, place, idf, norm, base, overlay, out):
    """Score candidates by cosine, from their rows and norms.

    items, values  the asking row, idf-weighted, at unit length
    base, overlay  start, length, item, weight, first and last day; a slot is in both in turn
    """
    b_start, b_item, b_weight, _, _ = base
    o_start, o_length, o_item, o_weight, _, _ = overlay
    mine = np.zeros(len(items) + 1)  # at place 0 what the asking row does not hold: no branch
    for q in range(len(items)):
        place[items[q]] = q + 1
        mine[q + 1] = values[q] * idf[items[q]]
    rows = len(b_start) - 1
    out[:] = _called_up(slots, b_start, b_item, b_weight)
    for c in range(len(slots)):
        slot = slots[c]
        if slot < rows:
            dot = _dot(b_start[slot], b_start[slot + 1], b_item, b_weight, mine, place)
        else:
            first = o_start[slot - rows]
            dot = _dot(first, first + o_length[slot - rows], o_item, o_weight, mine, place)
        out[c] = dot / norm[slot]
    for q in range(len(items)):
        place[items[q]] = 0


@compiled
def _called_up(slots, starts, items, weights):
    """Read the first entry of each row: no read waits for another, so that the waits for memory
    overlap, which they do not while rows are added up. The sum is for nothing but to be read.
    """
    total = 0.0
    for c in range(len(slots)):
        if slots[c] < len(starts) - 1:
            total += weights[starts[slots[c]]] + items[starts[slots[c]]]
    return total


@compiled
def _dot(first, last, item, weight, values, place):
    items, weights, total = item[first:last], weight[first:last], 0.0
    for q in range(len(items)):
        total += weights[q] * values[place[items[q]]]
    return total


@compiled
def rescore(slots, kind, items, values, count, place, idf, base, overlay, out):
    """The same for Pearson and the Euclidean distance.

    items, values  the asking row, idf-weighted
    count          number of items, for Pearson
    """
    b_start, b_item, b_weight, _, _ = base
    o_start, o_length, o_item, o_weight, _, _ = overlay
    own2, own1 = 0.0, 0.0
    for q in range(len(items)):
        place[items[q]] = q + 1
        own2 += values[q] * values[q]
        own1 += values[q]
    rows = len(b_start) - 1
    shared = np.zeros(len(items), dtype=np.bool_)
    for c in range(len(slots)):
        late = slots[c] >= rows
        number = slots[c] - rows if late else slots[c]
        first = o_start[number] if late else b_start[number]
        last = first + o_length[number] if late else b_start[number + 1]
        dot, norm2, sums, apart = 0.0, 0.0, 0.0, 0.0
        shared[:] = False
        for at in range(first, last):
            item = o_item[at] if late else b_item[at]
            x = (o_weight[at] if late else b_weight[at]) * idf[item]
            mine, q = 0.0, place[item]
            if q > 0:
                mine, shared[q - 1] = values[q - 1], True
            dot += x * mine
            norm2 += x * x
            sums += x
            apart += (x - mine) ** 2
        for q in range(len(items)):
            if not shared[q]:
                apart += values[q] * values[q]
        out[c] = _score(kind, dot, own2, own1, norm2, sums, apart, count)
    for q in range(len(items)):
        place[items[q]] = 0


@compiled
def _score(kind, dot, own2, own1, norm2, sums, apart, count):
    if kind == EUCLIDEAN:
        return 1 / (1 + np.sqrt(apart))
    if kind == PEARSON:
        a, b = own2 - own1 * own1 / count, norm2 - sums * sums / count
        if a <= 1e-12 * own2 or b <= 1e-12 * norm2:  # constant but for rounding
            return 0.0
        return (dot - own1 * sums / count) / np.sqrt(a) / np.sqrt(b)
    return dot / np.sqrt(own2) / np.sqrt(norm2)


@compiled
def rank(slots, exact, base, places, out, scores):
    """Write the best of scored slots, best first, ties by place; scores are to 9 decimals.

    places       of overlay slots among the `base` others
    out, scores  as long as wanted
    Returns      how many were found; -1 where two of them cannot be told apart by place
    """
    size, k = 0, len(out)
    where = np.empty(k)
    twins = False
    for c in range(len(exact)):
        score = min(np.rint(exact[c] * 1e9) / 1e9, 1.0)
        if score <= 0 or (size == k and score < scores[k - 1]):
            continue
        slot = slots[c]
        place = np.float64(slot) if slot < base else places[slot - base]
        if size == k and score == scores[k - 1]:
            twins = twins or place == where[k - 1]
            if place >= where[k - 1]:
                continue
        at = min(size, k - 1)
        size = min(size + 1, k)
        while at > 0 and (
            scores[at - 1] < score or (scores[at - 1] == score and where[at - 1] > place)
        ):
            out[at], scores[at], where[at] = out[at - 1], scores[at - 1], where[at - 1]
            at -= 1
        twins = twins or (at > 0 and scores[at - 1] == score and where[at - 1] == place)
        out[at], scores[at], where[at] = slot, score, place
    return -1 if twins else size
