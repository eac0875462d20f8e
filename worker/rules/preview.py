"""How large a rule segment would be, before it is saved."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from hashlib import blake2b
from typing import Any, Final, NamedTuple

from pydantic_core import from_json

from integrations.insight import Segment
from worker.currencies import Rates
from worker.profile.codec import CodecError
from worker.rules.evaluating import Known, holds
from worker.rules.language import Rule
from worker.store.population import Population
from worker.store.refreshing import RefreshStore
from worker.views import Calendar, priced, view

_CHUNK: Final = 200
_EXAMPLES: Final = 5
_95_PERCENT: Final = 1.96


class Size(NamedTuple):
    """What a rule would hold; estimates where only a sample was looked at.

    customers  who would be in it, between `low` and `high` with 95 % confidence
    entering, leaving   against the insights as they are
    unknown    of whom it can't be told, for what it asks for is not known
    examples   some who would be in it
    """

    id: str
    customers: int
    low: int
    high: int
    share: float
    entering: int
    leaving: int
    unknown: int
    looked_at: int
    of: int
    examples: tuple[str, ...]


class _Tally:
    def __init__(self) -> None:
        self.inside = self.entering = self.leaving = self.unknown = 0
        self.examples: list[str] = []


def preview(
    rules: Sequence[Rule],
    population: Population,
    store: RefreshStore,
    calendar: Calendar,
    now_s: int,
    *,
    rates: Rates,
    sample: int,
    progress: Callable[[float], None] = lambda _: None,
) -> list[Size]:
    """The size of each rule among all customers, or among a sample of about so many."""
    total = population.count()
    part = min(1.0, sample / total) if total else 1.0
    tallies = [_Tally() for _ in rules]
    looked_at = 0
    for customer, fields, known in _customers(
        population, store, calendar, now_s, rates, part, progress
    ):
        looked_at += 1
        held = {one["id"] for one in fields.get("audiences", ())}
        for rule, tally in zip(rules, tallies, strict=True):
            verdict = holds(rule.when, known)
            tally.inside += bool(verdict)
            tally.unknown += verdict is None
            tally.entering += bool(verdict) and rule.id not in held
            tally.leaving += not verdict and rule.id in held
            if verdict and len(tally.examples) < _EXAMPLES:
                tally.examples.append(customer)
    return [
        _size(rule.id, tally, looked_at, total) for rule, tally in zip(rules, tallies, strict=True)
    ]


def _customers(
    population: Population,
    store: RefreshStore,
    calendar: Calendar,
    now_s: int,
    rates: Rates,
    part: float,
    progress: Callable[[float], None],
) -> Iterator[tuple[str, dict[str, Any], Known]]:
    for shard in range(population.shards):
        progress(shard / population.shards)
        ids = [one for one in population.customer_ids(shard) if _draw(one) < part]
        for start in range(0, len(ids), _CHUNK):
            chunk = ids[start : start + _CHUNK]
            for customer, one in zip(chunk, store.load([(shard, c) for c in chunk]), strict=True):
                if one.hot is None:
                    continue
                try:
                    (seen,) = priced([view(customer, one.hot, one.cold)], calendar, rates)
                except CodecError:
                    continue
                fields = from_json(one.held.json) if one.held.json else {}
                told = dict(fields)
                if fields.get("segment"):
                    told["segment"] = Segment.model_validate(fields["segment"])
                yield customer, fields, Known(seen, told, calendar, now_s, rates.currency)


def _draw(customer: str) -> float:
    """A number in [0, 1) that has nothing to do with the customer's shard."""
    return int.from_bytes(blake2b(customer.encode(), digest_size=4).digest(), "big") / 2**32


def _size(rule_id: str, tally: _Tally, looked_at: int, total: int) -> Size:
    share = tally.inside / looked_at if looked_at else 0.0
    up = total / looked_at if looked_at else 0.0
    rest = 1.0 - looked_at / total if total else 0.0
    error = _95_PERCENT * math.sqrt(share * (1 - share) * rest / looked_at) if looked_at else 0.0
    return Size(
        id=rule_id,
        customers=round(tally.inside * up),
        low=round(max(0.0, share - error) * total),
        high=round(min(1.0, share + error) * total),
        share=round(share, 4),
        entering=round(tally.entering * up),
        leaving=round(tally.leaving * up),
        unknown=round(tally.unknown * up),
        looked_at=looked_at,
        of=total,
        examples=tuple(tally.examples),
    )
