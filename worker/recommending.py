"""Recommendations on demand: of a customer, an item or a cart; and how the lists have done."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from models.recommend.evaluate import NONE, top_items
from models.recommend.filters import ServiceItems
from models.recommend.neighbors import NeighborIndex, Similarity
from models.recommend.recommender import Recommendations, Recommender
from models.recommend.seeds import scores_by
from worker.attribution import Tally, Windows, credit, lift, tallies
from worker.catalog import Stock
from worker.failures import RefusedError
from worker.feedback import Holdout, in_holdout, resting
from worker.insights.lists import lists_of, stand_in
from worker.insights.previous import previous
from worker.insights.shelf import Shelf
from worker.list_rules import list_rules
from worker.live import Live, LiveModels
from worker.profile.codec import CodecError
from worker.views import Calendar, View, interacted, view

if TYPE_CHECKING:
    from worker.bootstrap import Runtime

_SIMILAR_HELD: Final = 5  # items of the most similar customer that are told


class Desk(NamedTuple):
    """Everything that a question is answered with."""

    live: Live
    recommender: Recommender
    neighbors: NeighborIndex
    shelf: Shelf
    calendar: Calendar
    today: int
    version: int


def desk(active: Runtime) -> Desk:
    """Load the live model and an index of everybody.

    Raises RefusedError while there is no model.
    """
    clock = active.clock
    holder = active.index()
    live = holder.settle(LiveModels(active.models, clock).current(), clock.monotonic())
    if live.recommendations is None:
        raise RefusedError("no recommendations model is live yet: `crm-reflex retrain`")
    shelf = Stock(active.catalog, list_rules(active.settings)).look(clock.monotonic())
    calendar = Calendar(active.settings.time_zone)
    return Desk(
        live,
        live.recommendations,
        holder.use(live.recommendations),
        shelf,
        calendar,
        calendar.day(clock.now_s()),
        live.version("recommendations") or 0,
    )


def customer_view(active: Runtime, customer_id: str) -> View:
    """The customer as the models see one; raises RefusedError for who is not known."""
    found = active.population.read(active.keys.shard(customer_id), [customer_id])
    if not found:
        raise RefusedError(f"no customer {customer_id!r} is known")
    return view(customer_id, found[0].hot, found[0].cold)


def recommended(active: Runtime, customer_id: str, count: int) -> dict[str, Any]:
    """Both lists of a customer as they are now, with what each member says."""
    one, at = customer_view(active, customer_id), desk(active)
    (near,) = at.neighbors.near([customer_id], at.recommender.k_neighbors)
    services = ServiceItems(active.settings.service_items)
    (known,) = active.refresh_store.load([(active.keys.shard(customer_id), customer_id)])
    told = previous(known.held)
    segment = told.segment_id
    lists = lists_of(
        one, near, at.recommender, at.neighbors, at.shelf,
        interacted(one, at.calendar, at.neighbors.items, services), at.today,
        count=count,
        stand_in=None if segment is None
        else stand_in(at.live, at.neighbors, segment, told.segment_name or ""),
    )  # fmt: skip
    settings = active.settings
    holdout = Holdout(settings.holdout_share, settings.holdout_salt)
    return {
        "customer_id": customer_id,
        "model_version": at.version,
        "similar_customers_asked": len(near.slots),
        "in_holdout": in_holdout(customer_id, holdout),
        "resting": resting(one.signals, at.today),
        **_listed(lists),
    }


def recommended_by(
    active: Runtime, method: str, customer_id: str, count: int
) -> list[dict[str, Any]]:
    """What a plain method names for a customer, for comparison: `seeds.METHODS`.

    Raises RefusedError for who has no interactions.
    """
    one, at = customer_view(active, customer_id), desk(active)
    names = at.neighbors.customers()
    if one.customer_id not in at.neighbors:
        raise RefusedError(f"{customer_id!r} has bought and seen nothing yet")
    rows = at.neighbors.rows(names)
    asked = np.array([names.index(customer_id)])
    scores = scores_by(method, rows, asked, at.recommender.k_neighbors)
    usable = at.shelf.collector(at.recommender, at.neighbors).usable(np.arange(scores.shape[1]))
    (best,) = top_items(np.where(usable & (scores > 0), scores, -np.inf), count)
    own = set(rows[asked].indices.tolist())
    return [
        {
            "item_id": at.neighbors.items.ids[column],
            "score": round(float(scores[0, column]), 4),
            "known": column in own,
        }
        for column in best[best != NONE].tolist()
    ]


def _listed(lists: Recommendations) -> dict[str, Any]:
    return {
        name: [
            {
                "item_id": one.item_id,
                "score": round(one.score, 4),
                "reason": one.reason,
                "members": dict(one.parts),
            }
            for one in found
        ]
        for name, found in zip(Recommendations._fields, lists, strict=True)
    }


def goes_well(active: Runtime, item_ids: Sequence[str], count: int) -> list[dict[str, Any]]:
    """What goes well with some items: the cosine of their holders, from the same index.

    Raises RefusedError where none of the items is known.
    """
    at = desk(active)
    known = [item for item in item_ids if at.neighbors.items.column(item) is not None]
    if not known:
        raise RefusedError(f"nobody has bought or seen {', '.join(map(repr, item_ids))} yet")
    collector = at.shelf.collector(at.recommender, at.neighbors)
    found = at.neighbors.together(known, 10 * count + 100)
    usable = collector.usable(found.columns.astype("int64"))
    rows = zip(found.columns[usable], found.scores[usable], found.holders[usable], strict=True)
    return [
        {
            "item_id": at.neighbors.items.ids[int(column)],
            "score": round(float(score), 4),
            "reason": f"bought together by {int(holders)} customer{'s' if holders > 1 else ''}",
        }
        for column, score, holders in list(rows)[:count]
    ]


def similar_to(
    active: Runtime, customer_id: str, count: int, by: Similarity | None = None
) -> list[dict[str, Any]]:
    """The most similar customers, and what they share with the customer.

    by  None = as lists are made
    """
    one, at = customer_view(active, customer_id), desk(active)
    near = at.neighbors.similar([one.customer_id], count, by)[0]
    own = set(at.neighbors.rows([customer_id]).indices.tolist())
    told = []
    for other, score in near:
        row = at.neighbors.rows([other])
        shared = sorted(
            (
                (column, weight)
                for column, weight in zip(row.indices.tolist(), row.data.tolist(), strict=True)
                if column in own
            ),
            key=lambda pair: -pair[1],
        )
        told.append(
            {
                "customer_id": other,
                "score": round(score, 4),
                "items_in_common": len(shared),
                "such_as": [at.neighbors.items.ids[column] for column, _ in shared[:_SIMILAR_HELD]],
            }
        )
    return told


def report(active: Runtime, since_s: int, windows: Windows) -> dict[str, Any]:
    """What was shown, clicked and bought since an instant, and how the holdout did."""
    settings, now_s = active.settings, active.clock.now_s()
    holdout = Holdout(settings.holdout_share, settings.holdout_salt)
    credited = []
    held, others = Tally(), Tally()
    for shard in range(active.population.shards):
        bought: dict[tuple[str, str], list[int]] = {}
        for one in _views(active, shard):
            lately = _note(one, bought, since_s)
            if one.orders and one.orders[0].at_s < since_s:
                group = held if in_holdout(one.customer_id, holdout) else others
                group.shown += 1
                group.bought += lately
        touches = [one for one in active.feedback.read(shard) if since_s <= one.at_s <= now_s]
        credited += credit(touches, bought, windows)
    sums = tallies(credited)
    return {
        "since_s": since_s,
        "until_s": now_s,
        "all": sums.get("all", {}).get("all", Tally()).told(),
        **{
            f"{kind}s": {name: tally.told() for name, tally in sorted(sums.get(kind, {}).items())}
            for kind in ("list", "member", "position", "version")
        },
        "customers": {"holdout": held.shown, "others": others.shown},
        "bought_since": lift(held, others),
    }


def _views(active: Runtime, shard: int) -> list[View]:
    found = []
    for resident in active.population.residents(shard):
        try:
            found.append(view(resident.customer_id, resident.hot, resident.cold))
        except CodecError:  # refresh tells of it; a report counts who can be read
            continue
    return found


def _note(one: View, bought: dict[tuple[str, str], list[int]], since_s: int) -> bool:
    """Note the purchases since an instant; whether there was one."""
    lately = [order for order in one.orders if order.at_s >= since_s]
    for order in lately:
        for item, _ in order.lines:
            bought.setdefault((one.customer_id, item), []).append(order.at_s)
    return bool(lately)
