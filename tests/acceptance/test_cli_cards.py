"""`models card`: one for each kind, in Markdown, as data, and with pictures."""

import json
import re

import numpy as np
import pytest

from tests.acceptance.cli import Cli
from tests.builders import order
from worker.bootstrap import Runtime
from worker.card import markdown
from worker.card_plots import pictures
from worker.route import route
from worker.settings import Settings
from worker.store.door import Arrival
from worker.store.models import Artifact
from worker.store.shadows import Shadowed, ShadowStore
from worker.store.verdicts import Verdict
from worker.store.watching import Figure, WatchStore

DAY_S = 86_400
BUYERS = 80
TRIGGER = "season | [begins](http://x) <b>"


@pytest.fixture
def shop(valkey, redis_client, tmp_path):
    settings = {"redis_url": valkey.url, "shards": 4, "reporting_currency": "EUR"}
    active = Runtime(Settings(**settings, data_dir=tmp_path), valkey.url)
    now_s, rng = active.clock.now_s(), np.random.default_rng(3)
    active.door.emit(
        Arrival(
            order(
                f"c-{n}", f"o-{n}-{k}", f"e-{n}-{k}", now_s - (5 + 21 * k + n % 11) * DAY_S,
                revenue=str(5 + n % 40), items={f"i{i}": 1 for i in rng.integers(0, 9, 2)},
            )
        )
        for n in range(BUYERS)
        for k in range(1 + n % 6)
    )  # fmt: skip
    while route(active.intake, active.settings.shards):
        pass
    active.ingest.drain()
    yield active, Cli(tmp_path, **settings, data_dir=tmp_path)
    active.client.close()


def test_cards_of_all_kinds(shop):
    active, cli = shop
    assert "there is no version" in cli.run("models", "card", "segments", code=1).err
    active.retrain.run(reason=TRIGGER)
    now_s = active.clock.now_s()
    figures = [Figure("segments", "psi", 1, 0.31, None, False, now_s)]
    WatchStore(active.client, active.keys).put(figures)
    for kind in ("segments", "recommendations", "forecasts"):
        facts = json.loads(cli.run("models", "card", kind, "--json").out)
        assert (facts["kind"], facts["version"], facts["live"]) == (kind, 1, True)
        assert facts["checksum"] == active.models.read(kind, 1).checksum
        assert facts["data"]["buyers"] == facts["data"]["customers"] == BUYERS
        assert len(facts["data"]["watermarks"]) == 4
        assert facts["trigger"] == facts["history"][0]["why"] == TRIGGER
        assert facts["took"]["memory_peak_bytes"] > 0
        assert facts["limits"]
        assert facts["features"]
        text = cli.run("models", "card", kind, "1").out
        assert text.startswith(f"# Model card: {kind} 1\n")
        assert "http://x" in text
        assert "[begins](" not in text, "what comes from outside is data, not markup"
        for part in ("Limits of use", "Data", "Rows", "Figures", "Gate", "Parameters", "Features"):
            assert f"\n## {part}\n" in text
        rows = [line for line in text.splitlines() if line.startswith("|")]
        blocks = re.split(r"\n(?!\|)", text)
        for block in (one for one in blocks if one.lstrip().startswith("|")):
            widths = {len(re.findall(r"(?<!\\)\|", line)) for line in block.strip().splitlines()}
            assert len(widths) == 1, block
        assert rows
    segments = json.loads(cli.run("models", "card", "segments", "--json").out)
    assert segments["gate"] == {"verdict": "promoted", "reasons": ["the first version"]}
    assert [one["name"] for one in segments["watch"]] == ["psi"]
    assert "psi" in cli.run("models", "card", "segments").out
    shown = cli.run("models", "show", "segments").out
    assert "psi" in shown
    assert (
        json.loads(cli.run("models", "show", "segments", "--json").out)["watch"][0]["value"] == 0.31
    )
    models = json.loads(cli.run("status", "--json").out)["models"]
    assert {one["kind"]: one["figures"] for one in models}["segments"] == {"psi": 0.31}
    assert "psi 0.31" in cli.run("status").out


def test_a_card_in_a_folder_has_pictures_that_the_text_names(shop):
    active, cli = shop
    active.retrain.run(("segments", "recommendations"), reason="check")
    for kind, file_format in (("segments", "svg"), ("recommendations", "png")):
        done = cli.run(
            "models", "card", kind, "--out", "cards/here", "--format", file_format, "--json"
        )
        files = [cli.folder / name for name in json.loads(done.out)["files"]]
        assert files[0].name == f"{kind}-1.md"
        text = files[0].read_text(encoding="utf-8")
        assert len(files) > 1
        assert re.findall(r"!\[[^\]]+\]\(([^)]+)\)", text) == [one.name for one in files[1:]]
        head = b"<?xml" if file_format == "svg" else b"\x89PNG"
        assert all(one.read_bytes().startswith(head) for one in files[1:])
        before = [one.read_bytes() for one in files]
        assert (
            "cards/here"
            in cli.run("models", "card", kind, "--out", "cards/here", "--format", file_format).out
        )
        assert [one.read_bytes() for one in files] == before, "equal versions, equal bytes"
    cli.folder.joinpath("file").write_text("no folder")
    assert "cannot be written" in cli.run("models", "card", "segments", "--out", "file", code=1).err
    cli.run("models", "card", "segments", "7", code=1)


def test_a_report_tells_why_forecasts_were_chosen_and_draws_their_reliability(shop):
    active, cli = shop
    assert "no version of forecasts" in cli.run("forecasts", "report", code=1).err
    for _ in range(2):
        active.retrain.run(("forecasts",), reason="test")
    first = cli.run("forecasts", "report", "--version", "1").out
    assert "the next training tries the candidates" in first
    assert "made coherent between horizons" in first
    assert "days since the last purchase" in first
    told = json.loads(cli.run("forecasts", "report", "--version", "2", "--json").out)
    assert 0 <= told["projected"] <= 1
    heads = {(head["target"], head["horizon_days"]): head for head in told["heads"]}
    assert {row["name"] for row in heads["buy", 30]["candidates"]} == {"mbg_nbd"}
    chart = cli.folder / "reliability.svg"
    drawn = ["forecasts", "report", "--version", "2", "--plot"]
    cli.run(*drawn, str(chart))
    assert chart.read_text().startswith("<?xml")
    assert "should end with .png or .svg" in cli.run(*drawn, "chart.gif", code=1).err
    nothing = cli.run("forecasts", "report", "--version", "1", "--plot", str(chart), code=1)
    assert "nothing to draw" in nothing.err


def test_forecasts_show_candidates_reliability_and_intervals(shop):
    active, _ = shop
    from worker.card import facts_of

    row = {"name": "mbg_nbd", "chosen": True, "loss": 0.4, "loss_se": 0.01, "gain": 0.0, "se": 0.0}
    better = {**row, "name": "logistic", "chosen": False, "loss": 0.39, "gain": 0.01, "se": 0.02}
    report = [
        {
            "target": "buy", "horizon_days": 30, "chosen": "mbg_nbd",
            "reason": "no candidate passed",
            "windows": [1, 2], "candidates": [row, better],
            "reliability": [[0.1, 0.5], [0.2, 0.4]],
        }
    ]  # fmt: skip
    metric = {"name": "buy, 30 d: loss", "value": 0.4, "error": 0.01, "low": 0.38, "high": 0.42}
    meta = {
        "model": {"features": ["age"], "report": report},
        "metrics": [{**metric, "rows": 90, "on": "2 closed windows"}],
    }
    artifact = Artifact("forecasts", 4, {}, meta)
    facts = facts_of(active, artifact)
    text = markdown(facts, pictures(artifact, facts, "svg"))
    assert "| buy, 30 d: loss | 0.4 | 0.38 to 0.42 | 90 | 2 closed windows |" in text
    assert text.index("logistic") < text.index("| mbg\\_nbd"), "the least loss first"
    assert "forecasts-4-reliability.svg" in text
    assert "forecasts-4-gain-buy-30-days.svg" in text


def test_what_the_gate_kept_back_is_shown_with_the_reason_and_promoted_by_force(shop):
    active, cli = shop
    active.retrain.run(("segments",), reason="first")
    held, now_s = active.models.read("segments", 1), active.clock.now_s()
    for state in ("refused", "waiting"):
        verdict = Verdict(state, ("buy, 30 d: loses 0.02",), now_s)
        active.models.publish("segments", held.arrays, held.meta, now_s, verdict=verdict)
    rows = json.loads(cli.run("models", "list", "--json").out)
    assert [(one["version"], one["verdict"], one["live"]) for one in rows] == [
        (3, "waiting", False),
        (2, "refused", False),
        (1, "promoted", True),
    ]
    assert rows[1]["reasons"] == ["buy, 30 d: loses 0.02"]
    refused = "refused: buy, 30 d: loses 0.02"
    assert f"segments 2: {refused}" in cli.run("models", "list").out
    assert refused in cli.run("models", "card", "segments", "2").out
    assert json.loads(cli.run("models", "show", "segments", "2", "--json").out)["verdict"] == {
        "state": "refused",
        "reasons": ["buy, 30 d: loses 0.02"],
        "at_s": now_s,
    }
    compared = json.loads(cli.run("models", "compare", "segments", "1", "2", "--json").out)
    assert compared["verdict"][1] == refused
    shown = Shadowed("segments", 3, 1, now_s, 7, customers=9, figures={"moved": 0.25})
    ShadowStore(active.client, active.keys).put(shown)
    assert "moved 0.25" in cli.run("models", "list").out
    compared = json.loads(cli.run("models", "compare", "segments", "1", "3", "--json").out)
    assert compared["shadow.moved"] == [None, 0.25]
    log = json.loads(cli.run("models", "log", "--json").out)
    assert {(one["version"], one["verdict"]) for one in log} == {
        (1, "promoted"), (2, "refused"), (3, "waiting")
    }  # fmt: skip
    look = json.loads(cli.run("doctor", "--json", code=1).out)["findings"]
    (warned,) = [one for one in look if one["check"] == "newest segments"]
    assert (warned["level"], warned["found"][:12]) == ("warn", "3 is waiting")
    assert "--force promotes it" in cli.run("models", "promote", "segments", "2", code=1).err
    cli.run("models", "promote", "segments", "3")
    cli.run("models", "promote", "segments", "2", "--force")
    assert active.models.current().versions["segments"] == 2
    assert [one.version for one in active.models.log("segments")] == [2, 3, 1]
