"""Rule segments: what a file may say, what a mistake costs, and who is in."""

import json
from decimal import Decimal

import pytest

from integrations.insight import Segment
from tests.builders import DAY_S, T0, WEEK_S, facts, folded, identify, order, viewed
from worker.currencies import Rate, Rates
from worker.profile import codec
from worker.rules.definitions import Definitions, from_meta, plain, to_meta
from worker.rules.evaluating import Known, holds
from worker.rules.language import uses_models
from worker.rules.reading import RulesError, load_rules, parse
from worker.views import Calendar, priced, view

NOW_S = T0 + 100 * DAY_S
RATES = Rates("EUR", [Rate(T0 // DAY_S + 95, "USD", Decimal("0.5"))], 7)
EVENTS = [
    order("ann", "o1", "e1", T0 + 2 * DAY_S, revenue="40.10", items={"tea": 2}),
    order("ann", "o2", "e2", T0 + 60 * DAY_S, revenue="60", items={"cup": 1}),
    order("ann", "o3", "e3", T0 + 99 * DAY_S, revenue="5", currency="USD", items={"tea": 1}),
    viewed("ann", "tea", "v1", T0 + 98 * DAY_S),
    viewed("ann", "tea", "v2", T0 + 50 * DAY_S),
    identify("ann", "i1", T0, country="NO", plan="pro"),
]
TOLD = {
    "churn_probability": 0.3,
    "clv_12m": None,
    "segment": Segment.model_validate({"id": 3, "name": "Loyal", "since": "2024-02-01"}),
}


def ann():
    stored = codec.encode(folded(facts(EVENTS)))
    seen = view("ann", stored.hot, stored.cold.data if stored.cold else b"")
    (seen,) = priced([seen], Calendar("UTC"), RATES)
    more = {"trait:age": 41, "trait:score": "3.5", "trait:vip": True}
    registers = {name: [T0, b"", value] for name, value in more.items()}
    seen = seen._replace(registers={**seen.registers, **registers})
    return Known(seen, TOLD, Calendar("UTC"), NOW_S, "EUR")


def rule(when, **more):
    (found,) = parse({"segments": [{"id": "r", "when": when, **more}]})
    return found


@pytest.mark.parametrize(
    ("when", "verdict"),
    [
        ({"count": "orders", "at_least": 3}, True),
        ({"count": "orders", "within_days": 41, "is": 2}, True),
        ({"count": "orders", "within_days": 40, "is": 1}, True),
        ({"count": "orders", "item": "tea", "is": 2}, True),
        ({"count": "Product Viewed", "item": "tea", "at_least": 2}, True),
        ({"count": "Viewed Product", "within_weeks": 1, "is": 1}, True),  # an alias of the name
        ({"count": "Product Viewed", "item": "cup", "above": 0}, False),
        ({"count": "Quiz Finished", "is": 0}, True),
        ({"spend": "total", "is": 102.6}, True),  # a dollar is worth half a euro
        ({"spend": "total", "at_most": 102.6}, True),
        ({"spend": "total", "within_days": 50, "at_least": 60}, True),
        ({"spend": "average", "above": 34.19, "below": 34.21}, True),
        ({"spend": "average", "within_days": 2, "is": 2.5}, True),
        ({"spend": "average", "within_days": 1, "above": 0}, None),
        ({"days_since": "last_order", "is": 1}, True),
        ({"days_since": "first_order", "is": 98}, True),
        ({"days_since": "Product Viewed", "is": 2}, True),
        ({"days_since": "Email Opened", "above": 5}, None),
        ({"days_since": "first_seen", "is": 100}, True),
        ({"trait": "country", "in": ["NO", "SE"]}, True),
        ({"trait": "country", "is": "SE"}, False),
        ({"trait": "city", "is": "Oslo"}, None),
        ({"trait": "city", "exists": False}, True),
        ({"trait": "plan", "exists": True}, True),
        ({"trait": "plan", "above": 3}, None),
        ({"trait": "age", "at_least": 41, "below": 50}, True),
        ({"trait": "score", "is": 3.5}, True),
        ({"trait": "vip", "is": True}, True),
        ({"trait": "vip", "is": 1}, False),
        ({"consent": "email"}, None),
        ({"forecast": "churn_probability", "at_most": 0.3}, True),
        ({"forecast": "clv_12m", "above": 0}, None),
        ({"segment": 3}, True),
        ({"segment": [1, 2]}, False),
        ({"not": {"trait": "city", "is": "Oslo"}}, None),
        ({"not": {"segment": 1}}, True),
        ({"all": [{"segment": 3}, {"trait": "city", "is": "Oslo"}]}, None),
        ({"all": [{"segment": 1}, {"trait": "city", "is": "Oslo"}]}, False),
        ({"any": [{"segment": 3}, {"trait": "city", "is": "Oslo"}]}, True),
        ({"any": [{"segment": 1}, {"trait": "city", "is": "Oslo"}]}, None),
    ],
)
def test_a_condition_holds_or_not_or_is_not_known(when, verdict):
    known = ann()
    if "count" in when or "days_since" in when or "trait" in when:
        assert known.view.orders
    assert holds(rule(when).when, known) is verdict


def test_a_window_moves_with_the_tenants_days_not_with_utc():
    known = ann()
    shanghai = Known(known.view, TOLD, Calendar("Asia/Shanghai"), NOW_S - 8 * 3600 - 1, "EUR")
    assert holds(rule({"days_since": "last_order", "is": 0}).when, shanghai)


def test_what_silence_does_to_a_window():
    known = ann()
    fresh = rule({"count": "orders", "within_days": 30, "at_least": 1}).when
    assert holds(fresh, known)
    later = Known(known.view, TOLD, Calendar("UTC"), NOW_S + 29 * DAY_S, "EUR")
    assert holds(fresh, later) is False
    assert holds(rule({"count": "Product Viewed", "within_weeks": 1, "is": 0}).when,
                 Known(known.view, TOLD, Calendar("UTC"), NOW_S + WEEK_S, "EUR"))  # fmt: skip


@pytest.mark.parametrize(
    ("when", "place", "words"),
    [
        ({}, "segments[0].when", "exactly one of all, any, not, trait"),
        ({"trait": "x", "segment": 1}, "segments[0].when", "exactly one of"),
        ({"all": []}, "segments[0].when.all", "at least 1 item"),
        ({"all": [{"count": "orders"}]}, "segments[0].when.all[0]", "needs `is`, `at_least`"),
        ({"not": {"any": [{"forecast": "p"}]}}, "segments[0].when.not.any[0].forecast", "p_alive"),
        ({"count": "orders", "at_leats": 1}, "segments[0].when.at_leats", "Extra inputs"),
        ({"count": "orders", "at_least": "5"}, "segments[0].when.at_least", "finite number"),
        ({"count": "orders", "above": 3, "below": 3}, "segments[0].when", "no number lies between"),
        ({"count": "orders", "within_weeks": 1, "is": 1}, "segments[0].when", "`within_days`"),
        ({"count": "Signed In", "within_days": 1, "is": 1}, "segments[0].when", "`within_weeks`"),
        ({"trait": "x", "in": [False, "SE"]}, "segments[0].when", "quote them"),
        ({"trait": "x", "is": None}, "segments[0].when", "exists: false"),
        ({"trait": "x", "is": "a", "in": ["b"]}, "segments[0].when", "not both"),
        ({"trait": "x"}, "segments[0].when", "needs `is`"),
        ({"spend": "total", "at_least": float("nan")}, "segments[0].when.at_least", "finite"),
        ({"segment": ["3"]}, "segments[0].when.segment[0]", "integer"),
        ("vip", "segments[0].when", "should be a mapping"),
    ],
)
def test_a_mistake_is_told_with_its_place(when, place, words):
    with pytest.raises(RulesError) as caught:
        rule(when)
    assert any(line.startswith(place + ":") and words in line for line in caught.value.problems), (
        caught.value.problems
    )


def test_a_rule_is_neither_endless_nor_bottomless():
    one = {"segment": 1}
    with pytest.raises(RulesError, match="has 202 conditions"):
        rule({"any": [{"all": [one] * 199}, one]})
    deep = one
    for _ in range(13):
        deep = {"not": deep}
    with pytest.raises(RulesError, match="deep"):
        rule(deep)
    for _ in range(5_000):
        deep = {"not": deep}
    with pytest.raises(RulesError, match="conditions lie too deep"):
        rule(deep)


class TestFiles:
    TOML = '[[segments]]\nid = "vip"\nwhen = { count = "orders", at_least = 5 }\n'
    YAML = "segments:\n- id: vip\n  when: {count: orders, at_least: 5}\n"
    JSON = json.dumps({"segments": [{"id": "vip", "when": {"count": "orders", "at_least": 5}}]})

    def written(self, tmp_path, name, text):
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    def test_three_formats_say_the_same(self, tmp_path):
        found = [
            load_rules(self.written(tmp_path, f"r.{suffix}", getattr(self, suffix.upper())))
            for suffix in ("toml", "yaml", "json")
        ]
        assert found[0] == found[1] == found[2]
        assert found[0][0].title == "vip"

    @pytest.mark.parametrize(
        ("name", "text", "words"),
        [
            ("r.toml", "segments = [", "is not TOML"),
            ("r.yaml", "segments: [", "is not YAML at line 1"),
            ("r.json", "{", "is not JSON"),
            ("r.yaml", "- 1", "valid dictionary"),
            ("r.yaml", "", "valid dictionary"),
            ("r.yaml", "segments: []", "holds none"),
            ("r.yaml", "segments: &a [*a]", "aliases"),
            ("r.yaml", YAML + "- id: vip\n  when: {segment: 1}\n", "used more than once"),
            ("r.yaml", YAML.replace("vip", "VIP 1"), "segments[0].id"),
            ("r.json", "[" * 100_000, "is not JSON"),
            ("r.toml", "#" * 300_000, "larger than 256 KiB"),
        ],
    )
    def test_a_file_that_is_none(self, tmp_path, name, text, words):
        path = self.written(tmp_path, name, text)
        with pytest.raises(RulesError) as caught:
            load_rules(path)
        assert str(path) in str(caught.value)
        assert words in str(caught.value)

    def test_a_missing_file_and_one_that_is_no_text(self, tmp_path):
        with pytest.raises(RulesError, match="no such file"):
            load_rules(tmp_path / "none.toml")
        (tmp_path / "b.toml").write_bytes(b"\xff\xfe")
        with pytest.raises(RulesError, match="can't be read"):
            load_rules(tmp_path / "b.toml")


class TestDefinitions:
    def test_a_rule_keeps_the_version_in_which_it_changed(self):
        vip, lost = rule({"segment": 1}), parse(
            {"segments": [{"id": "lost", "when": {"days_since": "last_order", "above": 90}}]}
        )[0]  # fmt: skip
        first = Definitions().put([vip], 1)
        second = first.put([vip, lost], 2)
        assert [(one.rule.id, one.since) for one in second.rules] == [("lost", 2), ("r", 1)]
        assert second.put([vip], 3) == second
        assert second.put([rule({"segment": 2})], 3).get("r").since == 3
        assert second.drop("r").rules == (second.get("lost"),)
        assert from_meta(json.loads(json.dumps(to_meta(second)))) == second
        assert from_meta(to_meta(Definitions())) == Definitions()

    def test_there_is_a_most(self):
        many = [rule({"segment": 1}).model_copy(update={"id": f"r{n}"}) for n in range(201)]
        with pytest.raises(RulesError, match="at most 200"):
            Definitions().put(many, 1)

    def test_which_rules_a_new_model_can_move(self):
        assert uses_models(rule({"not": {"any": [{"segment": 1}, {"trait": "a", "is": 1}]}}))
        assert uses_models(rule({"forecast": "p_alive", "above": 0.5}))
        assert not uses_models(rule({"all": [{"count": "orders", "is": 1}]}))

    def test_a_rule_is_spelled_as_it_was_written(self):
        when = {"all": [{"not": {"trait": "x", "in": ["a"]}}, {"segment": [1]}]}
        assert plain(rule(when, name="N")) == {"id": "r", "name": "N", "when": when}
