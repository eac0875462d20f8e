"""A mapping: which value goes where, and which change is worth a call."""

import pytest
from pydantic import BaseModel, ValidationError

from integrations.insight_fields import NoSuchPathError, kind_of, paths
from integrations.mapping import MappedField, changed, mapped

INSIGHT = {
    "customer_id": "c1",
    "segment": {"id": 3, "name": "Champions", "since": "2026-05-01", "previous_id": None},
    "buy_again": [{"item_id": "tea", "score": 0.5}, {"item_id": "milk", "score": 0.4}],
    "as_of": "2026-05-01T10:00:00Z",
    "p_alive": 0.8264,
    "churn_probability": None,
    "historic_number_of_orders": 4,
    "forecast_reliability": "low",
    "abstained": {"clv_12m": "too few"},
}


class Rules(BaseModel):
    fields: tuple[MappedField, ...]


def rules(*given):
    return Rules(fields=[{"target": "t", **one} for one in given])


@pytest.mark.parametrize(
    ("rule", "value"),
    [
        ({"source": "segment.name"}, "Champions"),
        ({"source": "segment.since"}, "2026-05-01"),
        ({"source": "segment.previous_id"}, None),
        ({"source": "as_of", "type": "date"}, "2026-05-01"),
        ({"source": "p_alive"}, 0.8264),
        ({"source": "p_alive", "round": 2}, 0.83),
        ({"source": "p_alive", "type": "integer"}, 1),
        ({"source": "p_alive", "type": "text"}, "0.8264"),
        ({"source": "churn_probability"}, None),
        ({"source": "clv_12m"}, None),
        ({"source": "historic_number_of_orders"}, 4),
        ({"source": "historic_number_of_orders", "type": "number"}, 4.0),
        ({"source": "buy_again.item_id"}, "tea, milk"),
        ({"source": "buy_again.item_id", "join": ";", "max_items": 1}, "tea"),
        ({"source": "buy_again.item_id", "type": "list"}, ["tea", "milk"]),
        ({"source": "buy_again.1.item_id"}, "milk"),
        ({"source": "buy_again.2.item_id"}, None),
        ({"source": "new_for_you.item_id"}, None),
        ({"source": "abstained.clv_12m"}, "too few"),
        ({"source": "p_alive", "only_if": {"forecast_reliability": "normal"}}, None),
        ({"source": "p_alive", "only_if": {"forecast_reliability": ["normal", "low"]}}, 0.8264),
        ({"source": "p_alive", "only_if": {"p_alive": {"at_least": 0.9}}}, None),
        ({"source": "p_alive", "only_if": {"p_alive": {"at_least": 0.5, "at_most": 0.9}}}, 0.8264),
        ({"source": "p_alive", "only_if": {"churn_probability": {"at_most": 0.9}}}, None),
        ({"source": "segment.name", "only_if": {"buy_again.item_id": "milk"}}, "Champions"),
    ],
)
def test_a_value_arrives_as_its_rule_says(rule, value):
    (made,) = mapped(INSIGHT, rules(rule)).values()
    assert made == value
    assert type(made) is type(value)


def test_a_rule_can_keep_what_the_destination_has():
    kept = rules(
        {"source": "p_alive", "only_if": {"p_alive": {"at_least": 1}}, "otherwise": "keep"}
    )
    assert mapped(INSIGHT, kept) == {}
    assert changed({"t": 0.4}, {}, kept) == {}


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ({"source": "segmnt.name"}, "did you mean 'segment.name'"),
        ({"source": "segment"}, "choose one, such as 'segment.id'"),
        ({"source": "p_alive.x"}, "an insight has no"),
        ({"source": "segment.name", "type": "number"}, "is a text, which cannot become a number"),
        ({"source": "buy_again.item_id", "type": "date"}, "is a list"),
        ({"source": "p_alive", "type": "list"}, "is a number, which cannot become a list"),
        ({"source": "segment.name", "dead_band": 1}, "dead_band is for numbers"),
        ({"source": "segment.name", "round": 1}, "round is for numbers"),
        ({"source": "segment.name", "max_items": 1}, "max_items is for lists"),
        ({"source": "p_alive", "only_if": {"p_aliv": 1}}, "did you mean 'p_alive'"),
        ({"source": "p_alive", "only_if": {"p_alive": {}}}, "should say among"),
        ({"source": "p_alive", "dead_band": -1}, "greater than or equal to 0"),
        ({"source": 4}, "valid string"),
    ],
)
def test_a_rule_that_cannot_work_is_refused_in_words(rule, words):
    with pytest.raises(ValidationError, match=words):
        rules(rule)


def test_a_change_below_the_dead_band_is_not_sent_and_one_of_its_size_is():
    rule = rules({"source": "p_alive", "dead_band": 0.02})
    assert changed({"t": 0.5}, {"t": 0.51}, rule) == {}
    assert changed({"t": 0.5}, {"t": 0.52}, rule) == {"t": 0.52}
    assert changed({"t": 0.52}, {"t": 0.5}, rule) == {"t": 0.5}
    assert changed({"t": None}, {"t": 0.001}, rule) == {"t": 0.001}
    assert changed({"t": 0.001}, {"t": None}, rule) == {"t": None}


def test_nothing_is_cleared_where_nothing_was_unless_that_is_unknown():
    rule = rules({"source": "p_alive"})
    assert changed({}, {"t": None}, rule) == {}
    assert changed(None, {"t": None}, rule) == {"t": None}


def test_a_field_that_left_the_mapping_stays_as_it_is():
    assert changed({"other": 1, "t": 1.0}, {"t": 1.0}, rules({"source": "p_alive"})) == {}


def test_every_path_of_the_contract_has_a_kind_and_can_be_mapped():
    assert len(paths()) > 30
    for path in paths():
        assert MappedField(source=path, target="t").type == (
            "text" if kind_of(path).is_list else kind_of(path).scalar
        )


def test_a_path_that_leads_nowhere_is_no_kind():
    for path in ("", ".", "segment.", "segment.name.x", "buy_again.0", "x.0"):
        with pytest.raises(NoSuchPathError):
            kind_of(path)
