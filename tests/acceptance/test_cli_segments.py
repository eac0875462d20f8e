"""Segments and rule segments on the command line, against a shop whose customers bought."""

import json
import time
from dataclasses import replace

import numpy as np
import pytest

from models.segments.examples import on_a_line
from tests.acceptance.cli import Cli, order_event
from tests.acceptance.test_cli import work
from tests.builders import viewed
from tests.servers import Server, eventually
from worker.bootstrap import Runtime
from worker.follow import follow_of
from worker.rules.book import RuleBook
from worker.rules.reading import parse
from worker.settings import Settings
from worker.store.moves import Moves

DAY_S = 86_400
BUYERS = 60
RULES = """
[[segments]]
id = "often"
name = "Often"
name_zh = "常客"
when = { all = [{ count = "orders", at_least = 3 }, { not = { trait = "plan", exists = true } }] }
[[segments]]
id = "lately"
when = { count = "orders", within_days = 20, at_least = 1 }
"""


def told(active):
    """The newest insight of everybody."""
    moves = Moves(active.client, active.keys)
    return {
        customer: json.loads(held.json)
        for shard in range(moves.shards)
        for customer, held in moves.insights(shard)
    }


def settle(active):
    """Refresh until nobody's turn is due."""

    def done():
        active.refresh.drain()
        keys, now_s = active.keys, active.clock.now_s()
        due = (active.client.zcount(keys.due(n), "-inf", now_s) for n in range(keys.shards))
        return not any(due)

    eventually(done)


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    """A shop with segments, and its command line."""
    folder = tmp_path_factory.mktemp("segments")
    with Server(folder / "server") as server:
        values = {"redis_url": server.url, "shards": 4}
        active = Runtime(Settings(**values), server.url)
        now_s = int(time.time())
        work(
            active,
            [
                order_event(f"c-{n}", f"o-{n}-{k}", now_s - (2 + 9 * k + n) * DAY_S, total=5 + n)
                for n in range(BUYERS)
                for k in range(1 + n % 5)
            ],
        )
        active.retrain.run(reason="history")
        settle(active)
        yield active, Cli(folder, **values)
        active.client.close()


@pytest.fixture
def active(opened):
    return opened[0]


@pytest.fixture
def cli(opened):
    return opened[1]


@pytest.fixture
def rules_file(cli):
    path = cli.folder / "rules.toml"
    path.write_text(RULES, encoding="utf-8")
    return str(path)


def test_the_list_counts_everybody_once_and_shows_centers_in_natural_units(active, cli):
    found = cli.json("segments", "list")
    rows = found["segments"]
    ids = [insight["segment"]["id"] for insight in told(active).values()]
    assert {row["id"]: row["customers"] for row in rows} == {
        row["id"]: ids.count(row["id"]) for row in rows
    }
    assert sum(row["share"] for row in rows) == pytest.approx(1, abs=0.001)
    assert len({row["name"] for row in rows}) == len(rows)
    assert all(row["name_zh"] and row["description"] for row in rows)
    assert all(0 <= row["center"]["recency_days"] < 120 for row in rows)
    text = cli.run("segments", "list").out
    assert all(row["name"] in text for row in rows)
    assert "recency_days" in text


def test_the_list_tells_how_many_segments_were_tried_and_what_the_gate_said(cli):
    found = cli.json("segments", "list")
    ways, note = found["choice"]["ways"], found["choice"]["note"]
    assert ways or "nothing to choose by" in note
    assert isinstance(found["gate"]["promote"], bool)
    text = cli.run("segments", "list").out
    assert "stability" in text if ways else "nothing to choose by" in text


def test_one_segment_is_shown_and_an_unknown_one_refused(cli):
    row = cli.json("segments", "list")["segments"][0]
    assert cli.json("segments", "show", str(row["id"]))["center"] == row["center"]
    assert row["description_zh"] in cli.run("segments", "show", str(row["id"])).out
    assert "there is no segment 99" in cli.run("segments", "show", "99", code=1).err


def test_rules_are_previewed_added_evaluated_listed_and_removed(active, cli, rules_file):
    orders = {one: insight["historic_number_of_orders"] for one, insight in told(active).items()}
    often = {customer for customer, count in orders.items() if count >= 3}
    assert {f"c-{n}" for n in range(BUYERS) if n % 5 >= 2} <= often
    sizes = {one["id"]: one for one in cli.json("segments", "rules", "preview", rules_file)}
    assert sizes["often"]["customers"] == sizes["often"]["entering"] == len(often)
    assert sizes["often"]["low"] == sizes["often"]["high"] == len(often)
    assert set(sizes["often"]["examples"]) < often
    few = cli.json("segments", "rules", "preview", rules_file, "--sample", "30")[0]
    assert few["looked_at"] < BUYERS
    assert few["low"] <= few["customers"] <= few["high"]
    assert "exact" in cli.run("segments", "rules", "preview", rules_file).out
    assert cli.json("segments", "rules", "list")["segments"] == []

    added = cli.json("segments", "rules", "add", rules_file)
    assert [one["id"] for one in added["segments"]] == ["often", "lately"]
    assert cli.json("segments", "rules", "add", rules_file)["version"] == added["version"]
    settle(active)
    inside = {
        customer
        for customer, insight in told(active).items()
        if "often" in [one["id"] for one in insight["audiences"]]
    }
    assert inside == often
    listed = {one["id"]: one for one in cli.json("segments", "rules", "list")["segments"]}
    assert listed["often"]["customers"] == len(often)
    assert "at_least: 3" in cli.run("segments", "rules", "show", "often").out
    assert cli.json("segments", "rules", "show", "often")["name_zh"] == "常客"
    again = cli.json("segments", "rules", "preview", rules_file)[0]
    assert (again["entering"], again["leaving"]) == (0, 0)
    assert "Often" in cli.run("customer", "why", "c-4").out
    assert "Often" in cli.run("customer", "show", "c-4").out
    assert cli.json("customer", "why", "c-4")["audiences"][0]["id"] == "lately"

    cli.run("segments", "rules", "remove", "often")
    settle(active)
    assert not any(
        one["id"] == "often" for insight in told(active).values() for one in insight["audiences"]
    )
    assert (
        "there is no rule segment 'often'"
        in cli.run("segments", "rules", "remove", "often", code=1).err
    )
    cli.run("models", "promote", "rules", str(added["version"]))
    back = cli.json("segments", "rules", "list")
    assert back["version"] == added["version"]
    assert [one["id"] for one in back["segments"]] == ["lately", "often"]
    assert cli.json("segments", "moves")["rule_segments"]["often"] == {
        "entered": len(often), "left": len(often),
    }  # fmt: skip


def test_doctor_and_status_tell_of_a_rule_whose_segment_is_gone(active, cli):
    book = RuleBook(active.models, active.population, active.clock)
    rules = parse({"segments": [{"id": "gone", "when": {"segment": 99}}]})
    book.add(rules, replace(on_a_line(0.0), ids=np.array([99]), next_id=100))
    try:
        assert cli.json("status")["rules_without_segment"] == {"gone": [99]}
        assert "gone names segments that are gone: 99" in cli.run("status").out
        assert "names segments that are gone: 99" in cli.run("doctor", code=1).out
    finally:
        cli.run("segments", "rules", "remove", "gone")


def test_mistakes_cost_a_line_each_and_change_nothing(cli):
    path = cli.folder / "wrong.yaml"
    path.write_text(
        "segments:\n- id: a\n  when: {segment: 99}\n- id: b\n  when: {count: orders}\n",
        encoding="utf-8",
    )
    failed = cli.run("segments", "rules", "add", str(path), code=1)
    assert "segments[1].when: needs `is`" in failed.err
    path.write_text("segments:\n- id: a\n  when: {segment: 99}\n", encoding="utf-8")
    for command in ("add", "preview"):
        refused = cli.run("segments", "rules", command, str(path), code=1)
        assert "a: there is no segment 99; there are: -4, -3, -2, 1, 2" in refused.err
    assert "no such file" in cli.run("segments", "rules", "add", "none.toml", code=1).err
    assert "there is no rule segment" in cli.run("segments", "rules", "show", "a", code=1).err


def test_moves_are_a_matrix_between_two_days(active, cli):
    before = told(active)
    once = [one for one in before.values() if one["historic_number_of_orders"] == 1]
    oldest = max(once, key=lambda insight: insight["churn_probability"])["customer_id"]
    now_s = int(time.time())
    work(
        active,
        [order_event(oldest, f"back-{k}", now_s - 60 - k * DAY_S, total=400) for k in range(3)],
    )
    after = told(active)
    pair = [before[oldest]["segment"]["id"], after[oldest]["segment"]["id"]]
    assert pair[0] != pair[1]
    found = cli.json("segments", "moves")
    assert sum(one["customers"] for one in found["customers"]) == BUYERS
    ends = {}
    for one in found["customers"]:
        ends[one["to"]] = ends.get(one["to"], 0) + one["customers"]
    now = [insight["segment"]["id"] for insight in after.values()]
    assert ends == {one: now.count(one) for one in set(now)}
    assert found["moves_by_reason"]["event"] >= 1
    text = cli.run("segments", "moves").out
    assert "from \\ to" in text
    assert after[oldest]["segment"]["name"] in text
    late = cli.run("segments", "moves", "--since", "2030-01-02", "--until", "2030-01-01", code=1)
    assert "--since should be before --until" in late.err


def test_why_tells_features_runner_up_and_margin(cli):
    why = cli.json("customer", "why", "c-3")["features"]["segment"]
    near = cli.json("customer", "why", "c-3")["features"]["nearest_segments"]
    assert why["id"] != why["runner_up"]["id"]
    assert {why["id"], why["runner_up"]["id"]} == {one["id"] for one in near}
    assert 0 <= why["margin"] <= 1
    assert why["because"][0]["share"] >= why["because"][-1]["share"]
    assert sum(one["share"] for one in why["because"]) == pytest.approx(1, abs=0.01)
    text = cli.run("customer", "why", "c-3").out
    assert "runner-up" in text
    assert "outlier score" in text
    assert why["name_zh"] in text


def test_a_name_of_ones_own_survives_following_and_training(active, cli):
    row = cli.json("segments", "list")["segments"][0]
    done = cli.json("segments", "rename", str(row["id"]), "茶友 Regulars")
    assert done["name"] == "茶友 Regulars"
    settle(active)
    names = {i["segment"]["name"] for i in told(active).values() if i["segment"]["id"] == row["id"]}
    assert names == {"茶友 Regulars"}
    assert cli.json("segments", "follow")["version"]

    def rename_meanwhile(stage, _):
        if stage == "publish":
            cli.run("segments", "rename", str(row["id"]), "While it trained")

    active.retrain.run(("segments",), reason="again", progress=rename_meanwhile)
    rows = {one["id"]: one["name"] for one in cli.json("segments", "list")["segments"]}
    assert rows[row["id"]] == "While it trained"
    cli.run("segments", "rename", str(row["id"]), "")
    rows = {one["id"]: one["name"] for one in cli.json("segments", "list")["segments"]}
    assert rows[row["id"]] == row["name"]
    assert "can't be renamed" in cli.run("segments", "rename", str(row["id"]), "Lead", code=1).err
    other = next(name for segment, name in rows.items() if segment != row["id"])
    assert "can't be renamed" in cli.run("segments", "rename", str(row["id"]), other, code=1).err
    assert "can't be renamed" in cli.run("segments", "rename", "99", "x", code=1).err


def test_centers_follow_by_small_steps_and_refresh_only_reads(active, cli):
    before = {r["id"]: r for r in cli.json("segments", "list")["segments"]}
    dues = [active.client.zrange(active.keys.due(n), 0, -1, withscores=True) for n in range(4)]
    assert follow_of(active).run().version is not None
    after = {r["id"]: r for r in cli.json("segments", "list")["segments"]}
    assert before.keys() == after.keys()
    assert {i: r["name"] for i, r in before.items()} == {i: r["name"] for i, r in after.items()}
    now = [active.client.zrange(active.keys.due(n), 0, -1, withscores=True) for n in range(4)]
    assert dues == now, "nobody is refreshed for a minor version"


def test_the_help_tells_what_to_install(cli):
    text = "".join(cli.run("segments", "plot", "--help").out.split())
    assert "pipinstall'crm-reflex[plots]'" in text


@pytest.mark.parametrize("kind", ["scatter", "bars"])
@pytest.mark.parametrize("suffix", [".svg", ".png"])
def test_plots_are_drawn_as_svg_and_png(cli, kind, suffix):
    pytest.importorskip("matplotlib")
    path = cli.folder / f"{kind}{suffix}"
    told = cli.json("segments", "plot", str(path), "--kind", kind)
    assert (told["file"], told["kind"]) == (str(path), kind)
    data = path.read_bytes()
    assert data.startswith(b"\x89PNG" if suffix == ".png" else b"<?xml")
    if suffix == ".svg":
        cli.run("segments", "plot", str(path), "--kind", kind)
        assert path.read_bytes() == data, "an equal picture of equal customers"


def test_where_a_plot_cannot_go(cli):
    assert "should end with .png or .svg" in cli.run("segments", "plot", "a.gif", code=1).err
    assert "no such folder" in cli.run("segments", "plot", "none/a.svg", code=1).err


def test_before_the_first_training_there_is_nothing_to_show(tmp_path):
    with Server(tmp_path / "server") as server:
        cli = Cli(tmp_path, redis_url=server.url, shards=4)
        Runtime(Settings(redis_url=server.url, shards=4), server.url).client.close()
        for words in (["list"], ["show", "1"], ["moves"], ["plot", "a.svg"], ["rename", "1", "x"]):
            assert "no segments yet" in cli.run("segments", *words, code=1).err
        assert cli.json("segments", "follow")["version"] is None
        assert "no rule segments yet" in cli.run("segments", "rules", "list").out


def test_who_has_not_bought_has_a_segment_and_a_reason_before_the_first_training(tmp_path):
    with Server(tmp_path / "server") as server:
        active = Runtime(Settings(redis_url=server.url, shards=4), server.url)
        now_s = int(time.time())
        days_ago = {"looks": 3, "looked": 90}
        seen = [viewed(who, "tea", who, now_s - n * DAY_S) for who, n in days_ago.items()]
        work(active, [json.loads(one) for one in seen])
        active.client.close()
        cli = Cli(tmp_path, redis_url=server.url, shards=4)
        why = cli.json("customer", "why", "looks")["features"]["segment"]
        assert why["name"] == "Browsing"
        assert why["because"][0] == {
            "feature": "days since a look at a product", "value": 3, "at_most": 30, "holds": True,
        }  # fmt: skip
        lead = cli.json("customer", "why", "looked")["features"]["segment"]
        assert lead["name"] == "Lead"
        assert not any(one["holds"] for one in lead["because"])
        text = cli.run("customer", "why", "looked").out
        assert "days since the first event" in text
        assert lead["description"] in text
