"""Compiled count of what the buyers of an item bought too.

Rows and postings are as in `search_kernels`; an entry says the last day of purchase, 0 = never.

>>> best_of(np.array([4, 2, 7]), np.array([0.5, 0.5, 0.1]), 1)
(array([2]), array([0.5]))
"""

import numpy as np

from models.recommend.heap_kernels import least_of
from models.recommend.kernels import compiled


@compiled
def bought_with(item, most, inv, lists, rows, buyers, both, touched):
    """What the buyers of an item bought too.

    most     holders that are asked
    lists    postings of base and overlay
    rows     of base and overlay
    buyers   of each item
    both, touched  int32 zeros, one an item, and as many places
    Returns  items, cosines of their buyers with the item's, how many bought both
    """
    out = np.empty(most, dtype=np.int64)
    some, _ = holders_of(item, inv, lists[0], lists[1], out)
    asked, found = count_buyers(item, out[:some], rows[0], rows[1], both, touched)
    own = max(buyers[item], asked)
    others, scores = touched[:found].copy(), np.empty(found)
    shared = np.empty(found, dtype=np.int64)
    for t in range(found):
        count = both[others[t]] * (own / max(asked, 1))
        theirs = max(buyers[others[t]], count, 1.0)
        scores[t], shared[t] = min(count / np.sqrt(own * theirs), 1.0), np.rint(count)
        both[others[t]] = 0
    return others, scores, shared


@compiled
def best_of(columns, scores, count):
    """The columns of the highest scores and those, best first, ties by column."""
    near = scores >= least_of(scores, count)[0]
    columns, scores = columns[near], scores[near]
    rising = np.argsort(columns)
    columns, scores = columns[rising], scores[rising]
    best = np.argsort(-scores, kind="mergesort")[:count]
    return columns[best], scores[best]


@compiled
def holders_of(item, inv, base, overlay, out):
    """Write some living holders of an item, evenly spread, to `out`.

    Returns  how many were written, and how many there are: exact while all fit, else an estimate
    """
    b_start, b_slot, _ = base
    o_start, o_length, o_slot, _ = overlay
    first, last = 0, 0
    if item + 1 < len(b_start):
        first, last = b_start[item], b_start[item + 1]
    many = last - first + o_length[item]
    step = max(1, (many + len(out) - 1) // len(out))
    found, looked = 0, 0
    for at in range(0, many, step):
        if first + at < last:
            slot = b_slot[first + at]
        else:
            slot = o_slot[o_start[item] + first + at - last]
        looked += 1
        if inv[slot] > 0:
            out[found] = slot
            found += 1
    return found, (many * found + looked - 1) // max(looked, 1)


@compiled
def count_buyers(item, slots, base, overlay, both, touched):
    """Of the slots that bought an item, count how many bought each other one.

    both     int32 zeros, one an item
    Returns  how many of the slots bought it, and how many others were touched
    """
    b_start, b_item, _, _, b_last = base
    o_start, o_length, o_item, _, _, o_last = overlay
    rows = len(b_start) - 1
    buyers, found = 0, 0
    for c in range(len(slots)):
        late = slots[c] >= rows
        number = slots[c] - rows if late else slots[c]
        start = o_start[number] if late else b_start[number]
        end = start + o_length[number] if late else b_start[number + 1]
        items, last = (o_item, o_last) if late else (b_item, b_last)
        place = start + np.searchsorted(items[start:end], item)
        if place == end or items[place] != item or last[place] == 0:
            continue
        buyers += 1
        for at in range(start, end):
            other = items[at]
            if last[at] > 0 and other != item:
                if both[other] == 0:
                    touched[found] = other
                    found += 1
                both[other] += 1
    return buyers, found
