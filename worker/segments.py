"""What the segments are and who is in them, as plain data for people and for JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from pydantic_core import from_json

from models.checks import DomainError
from models.segments.explaining import natural_centers
from models.segments.lifecycle import lifecycle_label
from models.segments.model import NOBODY, SegmentModel, check_name, with_names
from worker.failures import RefusedError
from worker.insights.lifecycle import LIFECYCLE
from worker.live import LiveModels
from worker.rules.book import CUSTOMERS_A_SECOND, LONGEST_SPREAD_S
from worker.store.moves import Moved, Moves

if TYPE_CHECKING:
    from worker.bootstrap import Runtime
    from worker.live import Live

Progress = Callable[[float], None]

#: What "in no segment" is called in a table of moves.
NONE: Final = "-"


@dataclass(slots=True)
class Members:
    """The customers of a segment: how many, and what is known of their value."""

    customers: int = 0
    historic: float = 0.0
    forecast: float = 0.0
    foretold: int = 0

    def count(self, fields: dict[str, Any]) -> None:
        """Add a customer's insight."""
        self.customers += 1
        self.historic += fields.get("historic_clv") or 0.0
        if fields.get("clv_12m") is not None:
            self.forecast += fields["clv_12m"]
            self.foretold += 1

    def told(self, total: int) -> dict[str, Any]:
        """Size and mean value."""
        return {
            "customers": self.customers,
            "share": round(self.customers / total, 4) if total else 0.0,
            "mean_historic_clv": round(self.historic / self.customers, 2)
            if self.customers
            else None,
            "mean_clv_12m": round(self.forecast / self.foretold, 2) if self.foretold else None,
        }


class Census(NamedTuple):
    """Members by segment id (None: in no segment) and by rule segment."""

    segments: dict[int | None, Members]
    audiences: dict[str, Members]
    customers: int


def living(active: Runtime) -> tuple[Live, SegmentModel]:
    """The models that are live.

    Raises RefusedError before the first segments.
    """
    live = LiveModels(active.models, active.clock).current()
    if live.segments is None:
        raise RefusedError("there are no segments yet: `crm-reflex retrain segments` fits them")
    return live, live.segments


def rename(active: Runtime, segment: int, name: str) -> str:
    """Give a segment the operator's name in all versions, "" takes it back; what it is called then.

    Raises RefusedError: no such segment, or another one has the name.
    """
    own = name.strip()
    _, model = living(active)
    try:
        model.label(segment)
        if own:
            check_name(model, segment, own)
    except DomainError as error:
        raise RefusedError(f"the segment can't be renamed: {error}") from None
    active.models.name(segment, own)
    count = active.population.count()
    active.population.ripen(
        active.clock.now_s(), min(LONGEST_SPREAD_S, count // CUSTOMERS_A_SECOND)
    )
    return with_names(model, active.models.names()).label(segment).name()


def census(moves: Moves, progress: Progress = lambda _: None) -> Census:
    """Count every customer where the newest insight puts them."""
    segments: dict[int | None, Members] = {}
    audiences: dict[str, Members] = {}
    customers = 0
    for fields in _insights(moves, progress):
        customers += 1
        segment = (fields["segment"] or {}).get("id")
        segments.setdefault(segment, Members()).count(fields)
        for one in fields.get("audiences", ()):
            audiences.setdefault(one["id"], Members()).count(fields)
    return Census(segments, audiences, customers)


def _insights(moves: Moves, progress: Progress) -> Iterator[dict[str, Any]]:
    for shard in range(moves.shards):
        progress(shard / moves.shards)
        for _, held in moves.insights(shard):
            yield from_json(held.json)


def described(model: SegmentModel, found: Census) -> list[dict[str, Any]]:
    """Each segment: names, sentence, size, value, and its center in natural units."""
    rows = []
    for at, segment in enumerate(model.ids.tolist()):
        label = model.labels[at]
        members = found.segments.get(segment, Members())
        rows.append(
            {
                "id": segment,
                "name": label.name(),
                "name_zh": label.name("zh"),
                "description": label.description(),
                "description_zh": label.description("zh"),
                "renamed": bool(label.own),
                **members.told(found.customers),
                "center": centers(model)[at],
            }
        )
    return rows + [_of_lifecycle(one, found) for one in LIFECYCLE if one in found.segments]


def _of_lifecycle(segment: int, found: Census) -> dict[str, Any]:
    """A segment of customers who have not bought: it has no center."""
    label = lifecycle_label(segment)
    return {
        "id": segment,
        "name": label.name(),
        "name_zh": label.name("zh"),
        "description": label.description(),
        "description_zh": label.description("zh"),
        "renamed": False,
        **found.segments[segment].told(found.customers),
        "center": None,
    }


def centers(model: SegmentModel) -> list[dict[str, float]]:
    """The center of each segment in natural units: days, orders, minor units, percent."""
    return [
        {
            name: round(float(value), 2)
            for name, value in zip(model.features.columns, row, strict=True)
        }
        for row in natural_centers(model)
    ]


class Flow(NamedTuple):
    """Where the customers were at one instant and at another.

    matrix     (from, to) -> customers, by segment; those who stayed are on the diagonal
    reasons    reason -> recorded moves between the two
    audiences  rule segment -> (entered, left)
    """

    matrix: Counter[tuple[int | None, int | None]]
    reasons: Counter[str]
    audiences: dict[str, tuple[int, int]]


def flow(moves: Moves, since_s: int, until_s: int, progress: Progress = lambda _: None) -> Flow:
    """Follow every customer back from today through what was recorded.

    since_s, until_s  Unix seconds; at the first the day's moves have not happened yet
    """
    matrix: Counter[tuple[int | None, int | None]] = Counter()
    reasons: Counter[str] = Counter()
    entered: Counter[str] = Counter()
    left: Counter[str] = Counter()
    for shard in range(moves.shards):
        progress(shard / moves.shards)
        steps: dict[str, list[Moved]] = {}
        for one in moves.transitions(shard, since_s):
            is_within = one.at_s < until_s
            if one.fields.get("kind", "segment") == "segment":
                steps.setdefault(one.fields["customer_id"], []).append(one)
                reasons[one.fields["reason"]] += is_within
            elif is_within and one.fields["to"] is not None:
                entered[one.fields["to"]] += 1
            elif is_within:
                left[one.fields["from"]] += 1
        for customer, held in moves.insights(shard):
            now = (from_json(held.json)["segment"] or {}).get("id")
            matrix[_ends(steps.get(customer, ()), now, until_s)] += 1
    audiences = {name: (entered[name], left[name]) for name in sorted(entered | left)}
    return Flow(matrix, +reasons, audiences)


def _ends(
    steps: list[Moved] | tuple[()], now: int | None, until_s: int
) -> tuple[int | None, int | None]:
    """Where a customer was when the first step came, and before the first one that is too late."""
    late = [one for one in steps if one.at_s >= until_s]
    end = late[0].fields["from"] if late else now
    within = [one for one in steps if one.at_s < until_s]
    return (within[0].fields["from"] if within else end), end


def name_of(model: SegmentModel, segment: int | None) -> str:
    """What a segment is called; its number if it is none of the model's."""
    if segment is None or segment == NOBODY:
        return NONE
    if segment in LIFECYCLE:
        return lifecycle_label(segment).name()
    if segment not in model.ids.tolist():
        return f"({segment})"
    return model.label(segment).name()
