"""Compiled loops of the search for neighbors. Arrays only; sizes are the caller's business.

Postings and rows come twice: of the base (read-only, mapped from a snapshot) and of the overlay
(rows that changed since). A slot below the base's size is a base row, others are overlay rows.
`inv` of a slot is 1 / norm of its values, 0 where nobody lives.

The first use compiles into a cache beside this file (or in the user's cache folder), which later
processes load; `preparing.prepare` does it ahead and says so where this machine cannot.

>>> heap = np.array([1.0, 2.0, 5.0])
>>> _sift(heap, 3, 4.0), heap.tolist()
(3, [2.0, 4.0, 5.0])
"""

from math import frexp
from typing import Any

import numba
import numpy as np

COSINE, PEARSON, EUCLIDEAN = 0, 1, 2


class KernelError(RuntimeError):
    """This machine cannot compile or load the kernels."""


def compiled(function: Any) -> Any:
    """Compile at the first call; without a folder to keep the result in, for this process only."""
    try:
        return numba.njit(cache=True, error_model="numpy")(function)
    except RuntimeError:  # numba found no folder that it may write to
        return numba.njit(error_model="numpy")(function)


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
def _sift(heap, size, value):
    """Put a value in place of the least of a full min-heap, or behind those of another."""
    if size < len(heap):
        at = size
        while at > 0 and heap[(at - 1) >> 1] > value:
            heap[at] = heap[(at - 1) >> 1]
            at = (at - 1) >> 1
        heap[at] = value
        return size + 1
    at, child = 0, 1
    while child < size:
        if child + 1 < size and heap[child + 1] < heap[child]:
            child += 1
        if heap[child] >= value:
            break
        heap[at] = heap[child]
        at, child = child, 2 * child + 1
    heap[at] = value
    return size


@compiled
def select_cosine(acc, touched, found, own, inv, heap, slack, keys):
    """Keep the touched slots that may be among the len(heap) best; `acc` is zeroed.

    slack    relative error of a key: who is within twice of it may be better
    keys     float32 scratch, one a slot
    Returns  how many of `touched` are candidates, now at its front
    """
    size = 0
    for t in range(found):
        slot = touched[t]
        key = acc[slot] * inv[slot]
        acc[slot] = 0
        if slot == own:
            key = np.float32(0)
        keys[t] = key
        if key > 0 and (size < len(heap) or key > heap[0]):
            size = _sift(heap, size, key)
    least = heap[0] * (1 - 2 * slack) if size == len(heap) else np.float32(0)
    kept = 0
    for t in range(found):
        if keys[t] > 0 and keys[t] >= least:
            touched[kept] = touched[t]
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
                    size = _sift(heap, size, low)
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
                    size = _sift(heap, size, key - error)
                elif step == 1 and key + error >= least - slack * (abs(least) + own_norm2):
                    touched[kept] = slot
                    kept += 1
            if step == 1:
                acc[slot] = 0
    return kept


@compiled
def cosines(slots, items, values, mark, idf, norm, base, overlay, out):
    """Score candidates exactly, from their rows in float64 and their norms.

    items, values  the asking row, idf-weighted, at unit length; `mark` float64 zeros, one an item
    base, overlay  start, length, item, weight, first and last day; a slot is in both in turn
    """
    b_start, b_item, b_weight, _, _ = base
    o_start, o_length, o_item, o_weight, _, _ = overlay
    for q in range(len(items)):
        mark[items[q]] = values[q] * idf[items[q]]
    rows = len(b_start) - 1
    for c in range(len(slots)):
        slot, dot = slots[c], 0.0
        if slot < rows:
            for at in range(b_start[slot], b_start[slot + 1]):
                dot += b_weight[at] * mark[b_item[at]]
        else:
            first = o_start[slot - rows]
            for at in range(first, first + o_length[slot - rows]):
                dot += o_weight[at] * mark[o_item[at]]
        out[c] = dot / norm[slot]
    for q in range(len(items)):
        mark[items[q]] = 0.0


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
def nearest_cosines(own, row, slack, postings, inv, rows, norm, idf, places, scratch, out, scores):
    """The nearest by exact cosine, best first, ties by place; all of a search in one call.

    own            the asking slot
    row            its items and idf-weighted values
    postings       of base and overlay, as `accumulate` takes them; `rows` as `cosines` does
    places         of overlay slots among the base's
    scratch        acc, touched, keys (one a slot), mark (one an item)
    out, scores    as long as neighbors are wanted
    Returns        how many were found; -1 where two of them cannot be told apart by place
    """
    items, values = row
    acc, touched, keys, mark = scratch
    most = 0.0
    for q in range(len(values)):
        most = max(most, values[q])
    scale = 2.0 ** -frexp(most)[1]
    near = np.empty(len(values), dtype=np.float32)
    unit = np.empty(len(values))
    for q in range(len(values)):
        near[q] = values[q] * scale
        unit[q] = values[q] / norm[own]
    found = accumulate(items, near, postings[0], postings[1], acc, touched)
    heap = np.zeros(len(out), dtype=np.float32)
    kept = select_cosine(acc, touched, found, own, inv, heap, slack, keys)
    exact = np.empty(kept)
    cosines(touched[:kept], items, unit, mark, idf, norm, rows[0], rows[1], exact)
    return _rank(touched, exact, len(rows[0][0]) - 1, places, out, scores)


@compiled
def _rank(slots, exact, base, places, out, scores):
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


@compiled
def rescore(slots, kind, items, values, count, mark, seen, idf, base, overlay, out):
    """The same for Pearson and the Euclidean distance.

    items, values  the asking row, idf-weighted; `seen` int32 zeros, one an item
    count          number of items, for Pearson
    """
    b_start, b_item, b_weight, _, _ = base
    o_start, o_length, o_item, o_weight, _, _ = overlay
    own2, own1 = 0.0, 0.0
    for q in range(len(items)):
        mark[items[q]] = values[q]
        own2 += values[q] * values[q]
        own1 += values[q]
    rows = len(b_start) - 1
    for c in range(len(slots)):
        late = slots[c] >= rows
        number = slots[c] - rows if late else slots[c]
        first = o_start[number] if late else b_start[number]
        last = first + o_length[number] if late else b_start[number + 1]
        dot, norm2, sums, apart = 0.0, 0.0, 0.0, 0.0
        for at in range(first, last):
            item = o_item[at] if late else b_item[at]
            x = (o_weight[at] if late else b_weight[at]) * idf[item]
            dot += x * mark[item]
            norm2 += x * x
            sums += x
            apart += (x - mark[item]) ** 2
            if kind == EUCLIDEAN:
                seen[item] = 1
        if kind == EUCLIDEAN:
            for q in range(len(items)):
                if seen[items[q]] == 0:
                    apart += values[q] * values[q]
            for at in range(first, last):
                seen[o_item[at] if late else b_item[at]] = 0
        out[c] = _score(kind, dot, own2, own1, norm2, sums, apart, count)
    for q in range(len(items)):
        mark[items[q]] = 0.0


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
def moved(change, acc, touched, found, own, norms, inv, threshold, base, overlay, acc2, out):
    """Find the slots whose list the owner of a changed row enters or leaves.

    change         items where the rows differ, and old minus new value
    acc, touched   dots of the new row, and whom it touches
    norms          1 / norm of the new and of the old row
    threshold      float32 of base slots and of the others: the least score of the slot's list,
                   infinite if it has none
    acc2           float32 zeros, one a slot
    Returns        how many slots were written to `out`
    """
    items, values = change
    b_start, b_slot, b_value = base
    o_start, o_length, o_slot, o_value = overlay
    for q in range(len(items)):
        item = items[q]
        if item + 1 < len(b_start):
            for at in range(b_start[item], b_start[item + 1]):
                acc2[b_slot[at]] += values[q] * b_value[at]
        for at in range(o_start[item], o_start[item] + o_length[item]):
            acc2[o_slot[at]] += values[q] * o_value[at]
    kept = 0
    for t in range(found):
        slot = touched[t]
        least = _at(threshold, slot)
        if slot != own and _crosses(acc[slot], acc2[slot], norms, inv[slot], least):
            out[kept] = slot
            kept += 1
    for q in range(len(items)):  # who shared only what is gone; `acc2` is zeroed on the way
        item = items[q]
        if item + 1 < len(b_start):
            for at in range(b_start[item], b_start[item + 1]):
                slot = b_slot[at]
                alone, least = acc[slot] == 0 and slot != own, _at(threshold, slot)
                if alone and _crosses(acc[slot], acc2[slot], norms, inv[slot], least):
                    out[kept] = slot
                    kept += 1
                acc2[slot] = 0
        for at in range(o_start[item], o_start[item] + o_length[item]):
            slot = o_slot[at]
            alone, least = acc[slot] == 0 and slot != own, _at(threshold, slot)
            if alone and _crosses(acc[slot], acc2[slot], norms, inv[slot], least):
                out[kept] = slot
                kept += 1
            acc2[slot] = 0
    return kept


@compiled
def _at(threshold, slot):
    base, late = threshold
    return base[slot] if slot < len(base) else late[slot - len(base)]


@compiled
def _crosses(dot, lost, norms, inv, threshold):
    """Whether a score moves between above, at and below a threshold; who is at it ties by id."""
    now, before = dot * norms[0] * inv, (dot + lost) * norms[1] * inv
    if inv == 0 or max(now, before) < threshold * np.float32(0.999998):
        return False
    low, high = threshold * np.float32(0.999998), threshold * np.float32(1.000002)
    return (now >= low) != (before >= low) or (now > high) != (before > high)
