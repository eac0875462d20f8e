"""The definitions in force: a version of all rule segments, each with the version it is from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from worker.rules.language import Rule
from worker.rules.reading import MOST_RULES, RulesError, parse

#: Under this kind the versions are stored beside those of the models, and go live the same way.
KIND: Final = "rules"


class Defined(NamedTuple):
    """A rule, and the version of the definitions in which it last changed."""

    rule: Rule
    since: int


class Definitions(NamedTuple):
    """All rules by id, sorted: the sequence in which insights name them."""

    rules: tuple[Defined, ...] = ()

    def get(self, rule_id: str) -> Defined | None:
        """A rule by its id."""
        return next((one for one in self.rules if one.rule.id == rule_id), None)

    def put(self, added: Sequence[Rule], version: int) -> Definitions:
        """These definitions with rules added or replaced; an unchanged one keeps its version.

        Raises RulesError beyond the most rules.
        """
        held = {one.rule.id: one for one in self.rules}
        for rule in added:
            if rule.id not in held or held[rule.id].rule != rule:
                held[rule.id] = Defined(rule, version)
        if len(held) > MOST_RULES:
            raise RulesError([f"there would be {len(held)} rule segments; at most {MOST_RULES}"])
        return _sorted(held.values())

    def drop(self, rule_id: str) -> Definitions:
        """These definitions without a rule."""
        return _sorted(one for one in self.rules if one.rule.id != rule_id)


def to_meta(definitions: Definitions) -> dict[str, Any]:
    """The definitions as JSON."""
    return {
        "segments": [plain(one.rule) for one in definitions.rules],
        "since": [one.since for one in definitions.rules],
    }


def from_meta(meta: Mapping[str, Any]) -> Definitions:
    """The definitions that `to_meta` described.

    Raises RulesError.
    """
    if not meta["segments"]:
        return Definitions()
    rules = parse({"segments": meta["segments"]})
    return _sorted(map(Defined, rules, meta["since"]))


def plain(rule: Rule) -> dict[str, Any]:
    """A rule as its file spells it.

    >>> given = {"id": "vip", "when": {"count": "orders", "at_least": 5}}
    >>> plain(parse({"segments": [given]})[0]) == given
    True
    """
    return rule.model_dump(mode="json", by_alias=True, exclude_unset=True)


def _sorted(found: Iterable[Defined]) -> Definitions:
    return Definitions(tuple(sorted(found, key=lambda one: one.rule.id)))
