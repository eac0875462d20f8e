"""Compiled search for neighbors: who may be among the nearest, by sums of postings in float32.

Postings and rows come twice: of the base (read-only, mapped from a snapshot) and of the overlay
(rows that changed since). A slot below the base's size is a base row, others are overlay rows.
`inv` of a slot is 1 / norm of its values, 0 where nobody lives.

>>> bool(relative_error(2) < 1e-6)
True
"""

from math import frexp
from typing import Final

import numpy as np

from models.recommend.heap_kernels import least_of, reached, sift
from models.recommend.kernels import compiled
from models.recommend.score_kernels import cosines, rank

#: A row with at least one posting for so many slots is searched for among all slots.
_SCAN_ALL: Final = 4
_TINY: Final = np.float32(1e-45)  # the least key above 0


@compiled
def relative_error(terms):
    """The relative error of float32 sums of so many terms, all of one sign."""
    return 6e-8 * (terms + 8)


@compiled
def accumulate(items, values, base, overlay, acc, touched):
    """Add values * postings to `acc`; the slots that are not 0 any more, and how many there are.

    base     start (m + 1), slot, value
    overlay  start (m), length (m), slot, value
    acc      float32 zeros, one a slot; a slot is listed once, when it leaves 0
    """
    b_start, b_slot, b_value = base
    o_start, o_length, o_slot, o_value = overlay
    found = 0
    for q in range(len(items)):
        item, x = items[q], values[q]
        if item + 1 < len(b_start):
            for at in range(b_start[item], b_start[item + 1]):
                slot = b_slot[at]
                before = acc[slot]
                after = before + x * b_value[at]
                acc[slot] = after
                if before == 0 and after != 0:
                    touched[found] = slot
                    found += 1
        for at in range(o_start[item], o_start[item] + o_length[item]):
            slot = o_slot[at]
            before = acc[slot]
            after = before + x * o_value[at]
            acc[slot] = after
            if before == 0 and after != 0:
                touched[found] = slot
                found += 1
    return found


@compiled
def select_cosine(acc, touched, found, own, inv, wanted, slack, keys):
    """Keep the touched slots that may be among the best so many; `acc` is zeroed.

    slack    relative error of a key: who is within twice of it may be better
    keys     float32 scratch, one a slot
    Returns  how many of `touched` are candidates, now at its front
    """
    for t in range(found):
        slot = touched[t]
        keys[t] = acc[slot] * inv[slot] if slot != own else np.float32(0)
        acc[slot] = 0
    kept = _keep_from(reached(keys[:found], wanted), slack, keys, touched, found)
    return _keep_best(wanted, slack, keys, touched, kept)


@compiled
def _keep_best(wanted, slack, keys, touched, found):
    """Keep who may be among the best so many of those that are found."""
    least, _ = least_of(keys[:found].astype(np.float64), wanted)
    return _keep_from(least, slack, keys, touched, found)


@compiled
def _keep_from(least, slack, keys, touched, found):
    """Keep who has a key > 0 that may be at least so high."""
    least = max(np.float32(least * (1 - 2 * slack)), _TINY)
    kept = 0
    for t in range(found):
        if keys[t] >= least:
            keys[kept], touched[kept] = keys[t], touched[t]
            kept += 1
    return kept


@compiled
def select_centered(acc, touched, found, own, inv, total, own_total, own_inv, items, heap, slack):
    """The same for Pearson over `items` columns, zeros included; of who shares an item."""
    size = 0
    spread = np.sqrt(max(1 / (own_inv * own_inv) - own_total * own_total / items, 0.0))
    for step in range(2):
        least = heap[0] if size == len(heap) else 0.0
        kept = 0
        for t in range(found):
            slot = touched[t]
            if inv[slot] > 0 and slot != own and spread > 0:
                norm2, sums = 1 / (np.float64(inv[slot]) * inv[slot]), np.float64(total[slot])
                other = max(norm2 - sums * sums / items, 0.0)
                shared = np.float64(acc[slot])
                away = own_total * sums / items
                error = slack * (shared + away)
                if other < norm2 * slack * 4:  # a nearly constant row: rescored whatever it is
                    high, low = 2.0, -2.0
                else:
                    below = spread * np.sqrt(other)
                    high, low = (shared - away + error) / below, (shared - away - error) / below
                if step == 0 and low > 0 and (size < len(heap) or low > heap[0]):
                    size = sift(heap, size, low)
                elif step == 1 and high > 0 and high >= least - 4 * slack:
                    touched[kept] = slot
                    kept += 1
            if step == 1:
                acc[slot] = 0
    return kept


@compiled
def select_near(acc, touched, own, inv, exponent, own_norm2, own_exponent, heap, slack):
    """The same for the Euclidean distance; who shares no item is a candidate too."""
    size, kept = 0, 0
    for step in range(2):
        least = heap[0] if size == len(heap) else -np.inf
        for slot in range(len(inv)):
            if inv[slot] > 0 and slot != own:
                scale = 2.0 ** exponent[slot]
                norm2 = scale * scale / (np.float64(inv[slot]) * inv[slot])
                shared = 2 * acc[slot] * scale * 2.0**own_exponent
                key = shared - norm2
                error = slack * (shared + norm2)
                if step == 0 and (size < len(heap) or key - error > heap[0]):
                    size = sift(heap, size, key - error)
                elif step == 1 and key + error >= least - slack * (abs(least) + own_norm2):
                    touched[kept] = slot
                    kept += 1
            if step == 1:
                acc[slot] = 0
    return kept


@compiled
def _add_up(items, values, base, overlay, acc):
    """`accumulate` without a list of the slots: for rows that touch a good part of all."""
    b_start, b_slot, b_value = base
    o_start, o_length, o_slot, o_value = overlay
    for q in range(len(items)):
        item, x = items[q], values[q]
        if item + 1 < len(b_start):
            for at in range(b_start[item], b_start[item + 1]):
                acc[b_slot[at]] += x * b_value[at]
        for at in range(o_start[item], o_start[item] + o_length[item]):
            acc[o_slot[at]] += x * o_value[at]


@compiled
def _select_among_all(acc, touched, own, inv, wanted, slack, keys):
    """`select_cosine` among all slots."""
    for slot in range(len(inv)):
        keys[slot] = acc[slot] * inv[slot]
        acc[slot] = 0
    keys[own] = 0
    least = max(np.float32(reached(keys, wanted) * (1 - 2 * slack)), _TINY)
    kept = 0
    for slot in range(len(inv)):
        if keys[slot] >= least:
            touched[kept], keys[kept] = slot, keys[slot]
            kept += 1
    return _keep_best(wanted, slack, keys, touched, kept)


@compiled
def row_at(slot, rows):
    """The items and raw weights of a slot."""
    base, overlay = rows
    count = len(base[0]) - 1
    if slot < count:
        first, last = base[0][slot], base[0][slot + 1]
        return base[1][first:last], base[2][first:last]
    first = overlay[0][slot - count]
    last = first + overlay[1][slot - count]
    return overlay[2][first:last], overlay[3][first:last]


@compiled
def posted(items, base_start, overlay_length):
    """How many postings some items have."""
    total = 0
    for q in range(len(items)):
        item = items[q]
        if item + 1 < len(base_start):
            total += base_start[item + 1] - base_start[item]
        total += overlay_length[item]
    return total


@compiled
def _rarer(items, values, skipped, postings):
    """Places of a row's items but for the most held ones, up to a share of its squared norm."""
    held, norm2 = np.empty(len(items), dtype=np.int64), 0.0
    for q in range(len(items)):
        held[q] = posted(items[q : q + 1], postings[0][0], postings[1][1])
        norm2 += np.float64(values[q]) * values[q]
    common = np.argsort(-held, kind="mergesort")
    first, left = 0, skipped * norm2
    for q in common:
        left -= np.float64(values[q]) * values[q]
        if left < 0:
            break
        first += 1
    return common[first:]


@compiled
def nearest_cosines(
    own, stages, limit, postings, inv, rows, norm, idf, places, scratch, out, scores
):
    """The nearest by exact cosine, best first, ties by place; all of a search in one call.

    own            the asking slot
    stages         share of the squared norm whose most held items find nobody, and how many are
                   scored exactly at least; both 0: who is found is exact, too
    limit          of postings that are read
    postings       of base and overlay, as `accumulate` takes them; `rows` as `cosines` does
    places         of overlay slots among the base's
    scratch        acc, touched, keys (one a slot), place (one an item)
    out, scores    as long as neighbors are wanted
    Returns        how many were found; -1 where this cannot tell: beyond the limit, or where two of
                   them have one place
    """
    items, weights = row_at(own, rows)
    acc, touched, keys, place = scratch
    values = np.empty(len(items))
    most = 0.0
    for q in range(len(items)):
        values[q] = weights[q] * idf[items[q]]
        most = max(most, values[q])
    scale = 2.0 ** -frexp(most)[1]
    near = np.empty(len(values), dtype=np.float32)
    for q in range(len(values)):
        near[q] = values[q] * scale
        values[q] = values[q] / norm[own]
    asked = items
    if stages[0] > 0:
        rest = _rarer(items, near, stages[0], postings)
        asked, near = items[rest], near[rest]
    many = posted(asked, postings[0][0], postings[1][1])
    if many > limit:
        return -1
    wanted = max(len(out), stages[1])
    slack = relative_error(len(items))
    if _SCAN_ALL * many > len(inv):
        _add_up(asked, near, postings[0], postings[1], acc)
        kept = _select_among_all(acc, touched, own, inv, wanted, slack, keys)
    else:
        found = accumulate(asked, near, postings[0], postings[1], acc, touched)
        kept = select_cosine(acc, touched, found, own, inv, wanted, slack, keys)
    exact = np.empty(kept)
    cosines(touched[:kept], items, values, place, idf, norm, rows[0], rows[1], exact)
    return rank(touched, exact, len(rows[0][0]) - 1, places, out, scores)
