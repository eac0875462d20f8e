"""Compiled changes of companions: one item's are replaced, and its companions hear of it.

Links and late rows are as in `cooccurrence.Companions.arrays`.

>>> import numpy as np
>>> pool = np.zeros((4, 2), np.int32), np.zeros((4, 2)), np.zeros(4, np.int32)
>>> none = np.zeros(3, np.int64), np.zeros(0, np.int32), np.zeros(0)
>>> place = np.full(2, -1, np.int32)
>>> patch(0, np.array([1], np.int32), np.array([0.5]), none, place, pool, 0)
2
>>> pool[0][place[1]].tolist(), pool[1][place[1]].tolist()
([0, 0], [0.5, 0.0])
"""

from models.recommend.kernels import compiled


@compiled
def most_changed(columns, buyers, counted, share):
    """The item whose buyers differ most from those that were counted; -1 if none by that share."""
    found, most = -1, share
    for column in columns:
        now, then = buyers[column], counted[column]
        apart = abs(now - then) / max(now, then, 1)
        if apart > most:
            found, most = column, apart
    return found


@compiled
def patch(column, others, scores, links, place, pool, late):
    """Set an item's companions, and its score among theirs; how many late rows there are then.

    others, scores  best first, at most as many as a late row is wide
    """
    late = _move(column, links, place, pool, late)
    columns, values, lengths = pool
    at = place[column]
    lengths[at] = len(others)
    for n in range(len(others)):
        columns[at, n], values[at, n] = others[n], scores[n]
        late = _move(others[n], links, place, pool, late)
        _put(place[others[n]], column, scores[n], pool)
    return late


@compiled
def _move(column, links, place, pool, late):
    """Give an item a late row, like the one that it had."""
    if place[column] >= 0:
        return late
    starts, old_columns, old_scores = links
    columns, values, lengths = pool
    place[column] = late
    lengths[late] = 0
    if column < len(starts) - 1:
        first = starts[column]
        lengths[late] = starts[column + 1] - first
        for n in range(lengths[late]):
            columns[late, n], values[late, n] = old_columns[first + n], old_scores[first + n]
    return late + 1


@compiled
def _put(at, column, score, pool):
    """Set the score of one companion; if it is new to a full row, in place of the least."""
    columns, values, lengths = pool
    least = 0
    for n in range(lengths[at]):
        if columns[at, n] == column:
            values[at, n] = score
            return
        if values[at, n] < values[at, least]:
            least = n
    if lengths[at] < columns.shape[1]:
        least = lengths[at]
        lengths[at] += 1
    elif values[at, least] >= score:
        return
    columns[at, least], values[at, least] = column, score
