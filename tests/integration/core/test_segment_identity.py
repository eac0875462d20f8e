"""Ids and operators' names of segments outlive every version, also those that never went live."""

import pytest

from models.segments.examples import on_a_line
from models.segments.state import to_state
from worker.clock import ManualClock
from worker.live import LiveModels
from worker.rules.book import RuleBook, gone_segments
from worker.rules.reading import parse
from worker.store.keys import Keys
from worker.store.models import ModelStore
from worker.store.population import Population
from worker.store.verdicts import Verdict


@pytest.fixture
def models(redis_client):
    return ModelStore(redis_client, Keys("t", 1))


def publish(models, model, verdict=None):
    arrays, meta = to_state(model)
    return models.publish("segments", arrays, {"model": meta}, 0, verdict=verdict)


def names(models):
    return LiveModels(models, ManualClock(0)).current().segments.names


def test_ids_of_a_version_that_was_kept_back_rolled_back_or_cleared_away_are_used(models):
    assert models.next_segment_id() == 1
    publish(models, on_a_line(0.0, 2.0))
    kept_back = publish(models, on_a_line(0.0, 1.0, 2.0, 3.0), Verdict("refused", ("moves",), 0))
    assert models.next_segment_id() == 5
    models.drop("segments", kept_back)
    assert models.next_segment_id() == 5
    publish(models, on_a_line(0.0, 2.0))
    assert models.next_segment_id() == 5


def test_a_name_belongs_to_the_id_in_every_version(models):
    first = publish(models, on_a_line(0.0, 2.0))
    models.name(2, "茶友")
    assert names(models) == ("Champions", "茶友")
    publish(models, on_a_line(0.0, 2.0, 4.0))
    assert names(models) == ("Champions", "茶友", "Big baskets")
    models.name(2, "Tea regulars")
    models.promote("segments", first, 0)
    assert names(models) == ("Champions", "Tea regulars")
    models.name(2, "")
    assert names(models) == ("Champions", "Loyal")


def test_a_process_that_runs_learns_of_a_new_name_and_keeps_its_models(models):
    publish(models, on_a_line(0.0, 2.0))
    clock = ManualClock(0)
    live = LiveModels(models, clock)
    assert live.current().segments.names == ("Champions", "Loyal")
    models.name(1, "VIP")
    clock.advance(1)
    now = live.current()
    assert now.segments.names == ("VIP", "Loyal")
    assert now.is_complete


def test_a_rule_that_names_a_segment_which_is_gone_is_told(models, redis_client, capsys):
    publish(models, on_a_line(0.0, 2.0))
    population = Population(redis_client, Keys("t", 1))
    book = RuleBook(models, population, ManualClock(0))
    book.add(
        parse({"segments": [{"id": "best", "when": {"segment": [2, -2]}}]}), on_a_line(0.0, 2.0)
    )
    live = LiveModels(models, ManualClock(0)).current()
    assert gone_segments([one.rule for one in live.rules.rules], live.segments) == {}
    publish(models, on_a_line(0.0))
    capsys.readouterr()
    live = LiveModels(models, ManualClock(0)).current()
    assert gone_segments([one.rule for one in live.rules.rules], live.segments) == {"best": [2]}
    assert "rule holds for nobody" in capsys.readouterr().out


def test_a_name_that_a_training_gives_too_stays_the_operators(models):
    publish(models, on_a_line(0.0, 2.0))
    models.name(1, "Big baskets")
    publish(models, on_a_line(0.0, 2.0, 4.0))
    assert names(models) == ("Big baskets", "Loyal", "Big baskets (2)")
