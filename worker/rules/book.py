"""The definitions of rule segments on the server: each change is a new version, live at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from models.segments.model import SegmentModel
from worker.clock import Clock
from worker.insights.lifecycle import LIFECYCLE
from worker.rules.definitions import KIND, Definitions, from_meta, to_meta
from worker.rules.language import InSegment, Rule, conditions
from worker.rules.reading import RulesError
from worker.store.models import ModelStore
from worker.store.population import Population

#: A change reaches customers without events at this pace, and everybody within an hour.
CUSTOMERS_A_SECOND: Final = 500
LONGEST_SPREAD_S: Final = 3_600


class Edition(NamedTuple):
    """One version of the definitions; 0 before the first."""

    version: int
    definitions: Definitions


class RuleBook:
    """Reads and changes the definitions; of two changes at once, neither is lost."""

    def __init__(self, models: ModelStore, population: Population, clock: Clock) -> None:
        self._models = models
        self._population = population
        self._clock = clock

    def current(self) -> Edition:
        """What is in force."""
        version = self._models.current().versions.get(KIND, 0)
        if not version:
            return Edition(0, Definitions())
        return Edition(version, from_meta(self._models.read(KIND, version).meta["model"]))

    def add(self, rules: Sequence[Rule], live: SegmentModel | None) -> Edition:
        """Add rules, or replace those of the same id; the version that is in force then.

        live    the segments that conditions may name
        Raises  RulesError
        """
        check_segments(rules, live)
        return self._change(lambda held, version: held.put(rules, version), "add")

    def remove(self, rule_id: str) -> Edition:
        """Remove a rule: whoever is in it leaves it.

        Raises RulesError where there is none.
        """

        def drop(held: Definitions, _: int) -> Definitions:
            if held.get(rule_id) is None:
                raise RulesError([f"there is no rule segment {rule_id!r}"])
            return held.drop(rule_id)

        return self._change(drop, "remove")

    def _change(self, change: Callable[[Definitions, int], Definitions], trigger: str) -> Edition:
        while True:
            version = self._models.next_version(KIND)
            held = self.current()
            changed = change(held.definitions, version)
            if changed == held.definitions:
                return held
            now_s = self._clock.now_s()
            meta = {"model": to_meta(changed), "trigger": trigger, "as_of_s": now_s}
            if self._models.publish_as(version, KIND, {}, meta, now_s):
                break  # else somebody else changed them just now
        spread_s = min(LONGEST_SPREAD_S, self._population.count() // CUSTOMERS_A_SECOND)
        self._population.ripen(now_s, spread_s)
        return Edition(version, changed)


def check_segments(rules: Sequence[Rule], live: SegmentModel | None) -> None:
    """Raise RulesError where a condition names a segment that there is not."""
    there = ", ".join(map(str, sorted(_known(live))))
    problems = [
        f"{rule}: there is no segment {', '.join(map(str, gone))}; there are: {there}"
        for rule, gone in gone_segments(rules, live).items()
    ]
    if problems:
        raise RulesError(problems)


def gone_segments(rules: Sequence[Rule], live: SegmentModel | None) -> dict[str, list[int]]:
    """Of each rule that names segments that there are not, or no more: its id, and they."""
    found = {}
    for rule in rules:
        named = {
            segment
            for one in conditions(rule.when)
            if isinstance(one, InSegment)
            for segment in one.segment
        }
        if gone := sorted(named - _known(live)):
            found[rule.id] = gone
    return found


def _known(live: SegmentModel | None) -> set[int]:
    return set(LIFECYCLE) | (set() if live is None else set(live.ids.tolist()))
