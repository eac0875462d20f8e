"""Compiled search for the customers whose list somebody else enters or leaves.

Postings and slots are as in `search_kernels`.

>>> norms = np.array([1.0, 0.5])
>>> _crosses(np.float32(0.5), np.float32(0.0), norms, np.float32(1.0), np.float32(0.3))
True
>>> _crosses(np.float32(0.5), np.float32(0.0), norms, np.float32(1.0), np.float32(0.2))
False
"""

import numpy as np

from models.recommend.kernels import compiled


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
