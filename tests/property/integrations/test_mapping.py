"""Sending only what changed keeps a destination within its dead-bands of what it should hold."""

from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from integrations.mapping import MappedField, changed, mapped


class Rules(BaseModel):
    fields: tuple[MappedField, ...]


RULES = Rules(
    fields=[
        {"source": "segment.name", "target": "segment"},
        {"source": "p_alive", "target": "alive", "round": 2, "dead_band": 0.05},
        {"source": "clv_12m", "target": "clv", "round": 0, "dead_band": 5},
        {"source": "buy_again.item_id", "target": "items", "max_items": 2},
        {"source": "currency", "target": "currency", "only_if": {"p_alive": {"at_least": 0.5}}},
        {
            "source": "historic_number_of_orders",
            "target": "orders",
            "only_if": {"p_alive": {"at_least": 0.5}},
            "otherwise": "keep",
        },
    ]
)
BANDS = {rule.target: rule.dead_band for rule in RULES.fields}
INSIGHTS = st.fixed_dictionaries(
    {
        "segment": st.none() | st.fixed_dictionaries({"name": st.sampled_from("ab")}),
        "p_alive": st.none() | st.floats(0, 1),
        "clv_12m": st.none() | st.floats(-50, 50),
        "buy_again": st.lists(st.fixed_dictionaries({"item_id": st.sampled_from("xyz")})),
        "currency": st.none() | st.just("USD"),
        "historic_number_of_orders": st.integers(0, 3),
    }
)


@settings(deadline=None)
@given(st.lists(INSIGHTS, min_size=1))
def test_a_destination_that_gets_the_changes_holds_the_newest_state(insights):
    held = {}
    for insight in insights:
        wanted = mapped(insight, RULES)
        sent = changed(held, wanted, RULES)
        held |= sent
        assert changed(held, wanted, RULES) == {}, "sending it again sends nothing"
        for target, value in wanted.items():
            has = held.get(target)
            if isinstance(value, float) and isinstance(has, float):
                assert abs(value - has) < max(BANDS[target], 1e-12)
            else:
                assert has == value


@settings(deadline=None)
@given(INSIGHTS)
def test_equal_insights_send_nothing_and_an_unknown_state_gets_everything(insight):
    wanted = mapped(insight, RULES)
    assert changed(wanted, wanted, RULES) == {}
    assert changed(None, wanted, RULES) == wanted
