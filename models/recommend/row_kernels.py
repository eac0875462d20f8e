"""Compiled loops over the rows and postings of the neighbor index: build, change, copy, add up.

Base and overlay are as in `kernels`. A row's entry says the first and the last day on which the
customer bought the item, 0 = never.

>>> items, values = np.array([3, 5], np.int32), np.array([1.0, 4.0])
>>> where, old, new = np.zeros(4, np.int32), np.zeros(4), np.zeros(4)
>>> difference(items, values, items[:1], 2 * values[:1], where, old, new)
2
>>> where[:2].tolist(), old[:2].tolist(), new[:2].tolist()
([3, 5], [1.0, 4.0], [2.0, 0.0])
"""

from math import frexp, ldexp

import numpy as np

from models.recommend.kernels import compiled


@compiled
def count_sort(row_start, row_item, value, post_start, post_slot, post_value):
    """Turn rows into postings: slots rising within an item. `post_start` (m + 1) is written."""
    items = len(post_start) - 1
    post_start[:] = 0
    for at in range(len(row_item)):
        post_start[row_item[at] + 1] += 1
    for item in range(items):
        post_start[item + 1] += post_start[item]
    place = post_start[:-1].copy()
    for slot in range(len(row_start) - 1):
        for at in range(row_start[slot], row_start[slot + 1]):
            to = place[row_item[at]]
            post_slot[to] = slot
            post_value[to] = value[at]
            place[row_item[at]] = to + 1


@compiled
def put_postings(slot, items, values, kept, postings, room, end):
    """Set the slot's value in the overlay's lists of some items, or take it out of them.

    kept      per item: whether the slot stays in its list
    postings  start (m), length (m), slot, value
    Returns   the new end of the pool; where it may be too small, the end that it needs, negative,
              and nothing was done
    """
    start, length, p_slot, p_value = postings
    need = end
    for q in range(len(items)):  # as if every full list had to move
        if length[items[q]] == room[items[q]]:
            need += max(4, 2 * room[items[q]])
    if need > len(p_slot):
        return -need
    for q in range(len(items)):
        item = items[q]
        first, last = start[item], start[item] + length[item]
        at = first
        while at < last and p_slot[at] != slot:
            at += 1
        if not kept[q]:
            if at < last:
                p_slot[at], p_value[at] = p_slot[last - 1], p_value[last - 1]
                length[item] -= 1
            continue
        if at == last:
            if length[item] == room[item]:
                room[item] = max(4, 2 * room[item])
                for old in range(first, last):
                    p_slot[end + old - first] = p_slot[old]
                    p_value[end + old - first] = p_value[old]
                start[item], at = end, end + last - first
                end += room[item]
            length[item] += 1
        p_slot[at], p_value[at] = slot, values[q]
    return end


@compiled
def spread(slots, scores, base, overlay, place):
    """Add up the rows of some slots, each at unit length and times its score.

    place    int32 zeros, one an item, and so again after
    Returns  distinct items, their sums, and how many of the slots bought each
    """
    b_start, b_item, b_weight, _, b_last = base
    o_start, o_length, o_item, o_weight, _, o_last = overlay
    rows = len(b_start) - 1
    most, seen = 0, 0.0
    for c in range(len(slots)):
        slot = slots[c]
        if slot >= rows:
            most += o_length[slot - rows]
        else:
            most += b_start[slot + 1] - b_start[slot]
            seen += b_last[b_start[slot]]  # so that the waits for memory overlap
    out = np.empty(most + 1, np.int32), np.zeros(most + 1), np.zeros(most + 1, np.int32)
    out[1][0] = seen  # for nothing but to be read: sums begin at 1
    found = 0
    for c in range(len(slots)):
        slot = slots[c]
        if slot < rows:
            first, end = b_start[slot], b_start[slot + 1]
            found = _add_row(first, end, b_item, b_weight, b_last, scores[c], place, out, found)
        else:
            first = o_start[slot - rows]
            end = first + o_length[slot - rows]
            found = _add_row(first, end, o_item, o_weight, o_last, scores[c], place, out, found)
    items, sums, holders = out
    for t in range(1, found + 1):
        place[items[t]] = 0
    return items[1 : found + 1], sums[1 : found + 1], holders[1 : found + 1]


@compiled
def _add_row(first, end, item, weight, last, score, place, out, found):
    items, sums, holders = out
    columns, weights, days = item[first:end], weight[first:end], last[first:end]
    norm2 = 0.0
    for q in range(len(columns)):
        norm2 += weights[q] * weights[q]
    factor = score / np.sqrt(norm2) if norm2 > 0 else 0.0
    for q in range(len(columns)):  # without a branch: whether an item is new cannot be foreseen
        column = columns[q]
        t = place[column]
        found += t == 0
        t = found if t == 0 else t
        place[column], items[t] = t, column
        sums[t] += factor * weights[q]
        holders[t] += days[q] > 0
    return found


@compiled
def difference(old_items, old_values, new_items, new_values, out_items, out_old, out_new):
    """Write where two rows (items rising) differ, 0 for an item that one lacks; how many items."""
    a, b, found = 0, 0, 0
    while a < len(old_items) or b < len(new_items):
        if b == len(new_items) or (a < len(old_items) and old_items[a] < new_items[b]):
            out_items[found], out_old[found], out_new[found] = old_items[a], old_values[a], 0.0
            a += 1
        elif a == len(old_items) or new_items[b] < old_items[a]:
            out_items[found], out_old[found], out_new[found] = new_items[b], 0.0, new_values[b]
            b += 1
        else:
            out_items[found] = old_items[a]
            out_old[found], out_new[found] = old_values[a], new_values[b]
            a, b = a + 1, b + 1
            if old_values[a - 1] == new_values[b - 1]:
                continue
        found += 1
    return found


@compiled
def weigh(items, weights, idf, old_items, old_weights, held, far):
    """Weigh a row for its postings, and find where they change.

    held     exponent of the postings that there are; it stays while values are within 2 ** far
    Returns  the exponent; norm and sum of the values, which are weight * idf / 2 ** exponent; items
             whose posting changes, to which value, and whether they stay in the row. Where the
             exponent is another one than `held`, those are all of the row's
    """
    most = 0.0
    for q in range(len(items)):
        most = max(most, weights[q] * idf[items[q]])
    exponent = frexp(most)[1]
    same = len(old_items) > 0 and abs(held - exponent) <= far
    exponent = held if same else exponent
    norm2, total = 0.0, 0.0
    for q in range(len(items)):
        value = ldexp(weights[q] * idf[items[q]], -exponent)
        norm2 += value * value
        total += value
    room = len(items) + len(old_items)
    changed, before = np.empty(room, dtype=np.int32), np.empty(room)
    after = np.empty(room)
    kept_items, kept_weights = old_items, old_weights
    if not same:
        kept_items, kept_weights = old_items[:0], old_weights[:0]
    found = difference(kept_items, kept_weights, items, weights, changed, before, after)
    posted, stays = np.empty(found, dtype=np.float32), np.empty(found, dtype=np.bool_)
    for q in range(found):
        posted[q] = ldexp(after[q] * idf[changed[q]], -exponent)
        stays[q] = after[q] > 0
    return exponent, np.sqrt(norm2), total, changed[:found], posted, stays


@compiled
def row_ends(slots, base, overlay, ends):
    """Write where each slot's row ends if they are put behind one another; ends[0] is 0."""
    b_start = base[0]
    o_length = overlay[1]
    rows = len(b_start) - 1
    for c in range(len(slots)):
        slot, length = slots[c], 0
        if slot >= rows:
            length = o_length[slot - rows]
        elif slot >= 0:
            length = b_start[slot + 1] - b_start[slot]
        ends[c + 1] = ends[c] + length


@compiled
def copy_rows(slots, base, overlay, ends, copied):
    """Copy the rows of slots behind one another: items, weights, first and last days."""
    b_start, b_item, b_weight, b_first, b_last = base
    o_start, _, o_item, o_weight, o_first, o_last = overlay
    items, weights, first_day, last_day = copied
    rows = len(b_start) - 1
    for c in range(len(slots)):
        slot = slots[c]
        if slot < 0:
            continue
        first = o_start[slot - rows] if slot >= rows else b_start[slot]
        for n in range(ends[c + 1] - ends[c]):
            to, at = ends[c] + n, first + n
            if slot >= rows:
                items[to], weights[to] = o_item[at], o_weight[at]
                first_day[to], last_day[to] = o_first[at], o_last[at]
            else:
                items[to], weights[to] = b_item[at], b_weight[at]
                first_day[to], last_day[to] = b_first[at], b_last[at]


@compiled
def sum_rows(owner, column, day, weight, t0, half_life, most, out):
    """Sum the decayed interactions of each owner and item.

    owner, column, day, weight  (e,) rising by owner, column and day; weight >= 1 = bought that day
    most     half-lives beside t0 beyond which days count as there
    out      owner, column, weight, first and last day of a purchase, as long as the events
    Returns  how many cells were written; one of weight 0 is none
    """
    out_owner, out_column, out_weight, first, last = out
    found = -1
    for q in range(len(column)):
        new = q == 0 or owner[q] != owner[q - 1] or column[q] != column[q - 1]
        if new and (found < 0 or out_weight[found] > 0.0):
            found += 1
        if new:
            out_owner[found], out_column[found] = owner[q], column[q]
            out_weight[found], first[found], last[found] = 0.0, 0, 0
        halves = min(max((day[q] - t0) / half_life, -most), most)
        out_weight[found] += weight[q] * 2.0**halves
        if weight[q] >= 1:
            last[found] = min(max(day[q], 1), 32767)
            if first[found] == 0:
                first[found] = last[found]
    return found + 1 if found >= 0 and out_weight[found] > 0.0 else max(found, 0)
