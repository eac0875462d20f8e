"""Commands against a shop with history, models, deliveries and refused events."""

import json
import re
import time
from pathlib import Path

import jsonschema
import pytest
import typer.main

from tests.acceptance.cli import Cli, json_lines, order_event
from tests.contract.crm import running
from tests.servers import Server, eventually
from worker.bootstrap import Runtime
from worker.cli import app
from worker.profile.codec import VERSION
from worker.route import route
from worker.settings import Settings
from worker.store.door import Arrival

ROOT = Path(__file__).parents[2]
SECRET = "whsec_" + "QUFB" * 8
DAY_S = 86_400
BUYERS = 40
READING = [
    ("status",),
    ("doctor",),
    ("config",),
    ("customer", "show", "c-1"),
    ("customer", "why", "c-1"),
    ("quarantine", "list"),
    ("deliveries", "list"),
    ("deliveries", "show", "c-1"),
    ("models", "list"),
    ("models", "show", "segments"),
    ("shard", "c-1"),
]


def work(active, events):
    """Bring events through ingest and refresh in this process."""
    active.door.emit(Arrival(json.dumps(event).encode()) for event in events)
    while route(active.intake, active.settings.shards):
        pass
    active.ingest.drain()
    active.refresh.drain()


@pytest.fixture(scope="module")
def crm():
    with running() as crm:
        yield crm


def all_know_the_models(active):
    """After a training a rollout and the clock refresh everybody; whom the CRM knows is told."""
    active.refresh.drain()
    active.deliver.drain()
    keys, now_s = active.keys, active.clock.now_s()
    due = sum(active.client.zcount(keys.due(shard), "-inf", now_s) for shard in range(keys.shards))
    scored = active.rollout_store.progress().finished_s is not None
    return scored and not due and not active.deliver_store.waiting(active.destination_names)


def all_are_told(active):
    """Whom others' events have changed is told a little later."""
    active.deliver.drain()
    return not active.deliver_store.waiting(active.destination_names)


def open_shop(folder, server, crm, prefix):
    """A shop whose customers bought, with models; c-2 was delivered, c-1 refused by the CRM."""
    values = {
        "redis_url": server.url,
        "key_prefix": prefix,
        "shards": 4,
        "webhook_url": crm.url,
        "webhook_secret": SECRET,
        "webhook_allow_private": True,
        "coalesce_s": 0.0,
    }
    active = Runtime(Settings(**values), server.url)
    now_s = int(time.time())
    history = [
        order_event(f"c-{n}", f"o-{n}-{k}", now_s - (5 + 9 * k + n) * DAY_S, total=5 + n)
        for n in range(BUYERS)
        for k in range(1 + n % 4)
    ]
    work(active, history)
    active.deliver.drain()
    active.retrain.run(reason="history")
    eventually(lambda: all_know_the_models(active), within_s=120)
    crm.will_answer(400)
    work(active, [order_event("c-1", "new-1", now_s - 60, items=("p1", "p2"))])
    active.deliver.drain()
    work(active, [order_event("c-2", "new-2", now_s - 50)])
    active.deliver.drain()
    crm.will_answer(400)  # while others are taken: it is the customer's own fault
    waiting = [row for row, _ in active.deliver_store.waiting(["webhook"])]
    active.deliver_store.hasten([row for row in waiting if row.customer_id == "c-1"])
    active.deliver.drain()
    eventually(lambda: all_are_told(active))
    active.client.close()
    return Cli(folder, **values)


@pytest.fixture(scope="module")
def shop(tmp_path_factory, crm):
    """A shop to look at."""
    folder = tmp_path_factory.mktemp("shop")
    with Server(folder / "server", aof=True) as server:
        yield open_shop(folder, server, crm, "shown")


@pytest.fixture(scope="module")
def worn_shop(tmp_path_factory, crm):
    """A shop whose models and deliveries may be changed, each by one test."""
    folder = tmp_path_factory.mktemp("worn")
    with Server(folder / "server") as server:
        yield open_shop(folder, server, crm, "worn")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with Server(tmp_path_factory.mktemp("empty"), aof=True) as server:
        yield server


@pytest.fixture
def cli(server, tmp_path):
    """A command line over an empty server."""
    with server.client() as client:
        client.flushall()
    return Cli(tmp_path, redis_url=server.url, shards=4)


@pytest.mark.parametrize("words", READING, ids=" ".join)
def test_what_prints_data_prints_it_for_people_and_as_json(shop, words):
    text = shop.run(*words)
    assert text.out.strip()
    found = shop.run(*words, "--json", process=True)
    assert json.loads(found.out) is not None
    assert SECRET not in text.out + text.err + found.out + found.err


def test_a_customer_is_shown_with_profile_insight_and_delivery(shop):
    found = shop.json("customer", "show", "c-2")
    assert found["profile"]["orders"] == 4
    assert found["profile"]["recent_orders"][0]["order_id"] == "new-2"
    assert found["profile"]["recent_orders"][0]["amount"] == 20.0
    assert found["insight"]["segment"]["name"]
    assert found["insight"]["through_event_id"] == "m-new-2"
    assert found["delivery"]["state"] == "delivered"


def test_why_names_event_features_models_reasons_and_delivery(shop):
    told = shop.json("customer", "why", "c-2")
    assert told["event"]["event_id"] == "m-new-2"
    assert told["event"]["name"] == "Order Completed"
    assert told["event"]["in_stream"]
    assert told["features"]["frequency_days"] == 4
    near, far = told["features"]["nearest_segments"]
    assert near["distance"] <= far["distance"]
    assert [model["trigger"] for model in told["models"]] == ["history"] * 3
    assert all(model["buyers"] == BUYERS for model in told["models"])
    assert told["reasons"]["buy_again"] == [], "what was just bought is not to be bought again yet"
    (other,) = told["reasons"]["new_for_you"]
    assert (other["item_id"], other["reason"]) == ("p2", "popular this month")
    assert told["delivery"]["state"] == "delivered"
    assert told["delivery"]["delivery_id"].startswith("msg_")
    assert told["delivery"]["attempts"] == 1
    assert told["delivery"]["delivered_at"]


def test_what_the_crm_refused_is_told_and_can_be_sent_again(worn_shop):
    (letter,) = worn_shop.json("deliveries", "list", "--state", "dead")
    assert letter["customer_id"] == "c-1"
    told = worn_shop.json("customer", "why", "c-1")["delivery"]
    assert told["state"] == "dead"
    assert "replay" in told["why"]
    again = worn_shop.json("deliveries", "replay", "--dead", "--dry-run")
    assert again == {"replayed": 0, "customers": ["c-1"], "dry_run": True}
    assert worn_shop.json("deliveries", "replay", "c-1")["replayed"] == 1
    assert worn_shop.json("deliveries", "list", "--state", "dead") == []
    assert worn_shop.json("deliveries", "show", "c-1")["state"] == "waiting"


def test_status_counts_what_there_is(shop):
    look = shop.json("status")
    assert look["stages"]["ingest"]["waiting"] == 0
    assert look["stages"]["refresh"]["waiting"] == 0
    assert look["stages"]["ingest"]["applied"] == 102
    assert look["memory"]["customers"] == BUYERS
    assert 300 < look["memory"]["bytes_per_customer"] < 20_000
    assert look["memory"]["sampled_customers"] == BUYERS
    assert [model["trigger"] for model in look["models"]] == ["history"] * 3
    # the first, the models', and c-2's; and of those for whom c-1's new item is news by now
    assert 2 * BUYERS + 1 <= look["deliveries"]["ok"] <= 3 * BUYERS + 1
    assert look["deliveries"]["dead"] == look["stages"]["deliver"]["dead_letters"] == 1


def test_models_are_listed_promoted_and_trained_here(worn_shop):
    trained = worn_shop.json("retrain", "segments", "--reason", "spring", "--here")
    assert [(one["kind"], one["version"]) for one in trained] == [("segments", 2)]
    versions = [one for one in worn_shop.json("models", "list") if one["kind"] == "segments"]
    assert [(one["version"], one["live"], one["trigger"]) for one in versions] == [
        (2, True, "spring"),
        (1, False, "history"),
    ]
    assert worn_shop.json("models", "promote", "segments", "1") == {"kind": "segments", "live": 1}
    assert worn_shop.json("models", "show", "segments")["version"] == 1
    refused = worn_shop.run("models", "promote", "segments", "9", code=1)
    assert "no version 9 of segments" in refused.err


def test_a_training_is_ordered_from_the_worker(worn_shop):
    found = worn_shop.json("retrain", "forecasts", "--reason", "check")
    assert (found["requested"], found["joined"]) == (["forecasts"], [])
    again = worn_shop.json("retrain", "--reason", "again")
    assert again["joined"] == ["forecasts"]
    waiting = worn_shop.json("models", "training")
    assert ["check", "again"] in [one["reasons"] for one in waiting]
    assert len(worn_shop.json("models", "cancel")["cancelled"]) == 3


def test_doctor_finds_the_endpoint_and_no_failure(shop):
    found = {one["check"]: one for one in shop.json("doctor")["findings"]}
    assert found["persistence"]["level"] == "ok"
    assert found["installation"]["level"] == "ok"
    assert found["epochs"]["level"] == "ok"
    assert found["endpoint"]["found"].startswith("answers HTTP")
    assert found["signing secret"]["level"] == "ok"
    assert found["model segments"]["level"] == "ok"
    assert found["ingest worker"]["level"] == "warn"
    assert found["beat"]["level"] == "warn"
    assert all(one["advice"] for one in found.values() if one["level"] != "ok")


def test_doctor_fails_and_says_what_to_change(cli, server):
    with server.client() as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
    try:
        found = {one["check"]: one for one in cli.json("doctor", code=1)["findings"]}
    finally:
        with server.client() as client:
            client.config_set("maxmemory-policy", "noeviction")
    assert found["eviction"]["level"] == "fail"
    assert "noeviction" in found["eviction"]["advice"]
    assert found["installation"]["level"] == "warn"  # and it made none by looking
    with server.client() as client:
        assert client.dbsize() == 0


def test_doctor_tells_when_no_server_answers(cli):
    told = cli.run("doctor", code=1, redis_url="redis://127.0.0.1:1/0")
    assert "FAIL server: the server does not answer" in told.out


def test_events_are_emitted_from_stdin_and_from_a_file(cli):
    events = json_lines(*(order_event("c", f"o{n}", 1_700_000_000) for n in range(3)), "", "  ")
    assert cli.json("emit", "-", stdin=events, process=True) == {"taken": 3}
    (cli.folder / "events.jsonl").write_bytes(events)
    assert cli.run("emit", "events.jsonl", "--quiet-events").out == "3 events taken\n"
    assert cli.json("status")["stages"]["ingest"]["waiting"] == 6
    assert cli.run("emit", "nowhere.jsonl", code=2).out == ""


def test_a_dry_run_names_line_reason_and_path_and_appends_nothing(cli, server):
    good = order_event("c", "o", 1_700_000_000)
    events = json_lines(good, "", "no json", {"type": "track", "event": "X"}, good | {"type": "x"})
    told = cli.json("emit", "-", "--dry-run", code=1, stdin=events)
    assert (told["events"], told["accepted"]) == (4, 1)
    reasons = [(one["line"], one["reason"]) for one in told["refused"]]
    assert reasons == [(3, "not_json"), (4, "missing_customer"), (5, "unknown_type")]
    with server.client() as client:
        assert client.dbsize() == 0


def test_a_full_installation_refuses_events_for_now(cli, server):
    events = json_lines(order_event("c", "o", 1_700_000_000))
    with server.client() as client:
        client.config_set("maxmemory", client.info("memory")["used_memory"] + 100_000)
    try:
        told = cli.run("emit", "-", code=75, stdin=events, memory_limit_ratio=0.1)
    finally:
        with server.client() as client:
            client.config_set("maxmemory", 0)
    assert "busy" in told.err


def test_refused_events_are_listed_shown_replayed_and_dropped(cli, server):
    active = Runtime(Settings(redis_url=server.url, shards=4), server.url)
    bad = json_lines("\x1b[2Jbroken", {"type": "track", "event": "X"}, {"type": "page"})
    cli.run("emit", "-", stdin=bad)
    route(active.intake, 4)
    listed = cli.json("quarantine", "list")
    assert sorted(one["reason"] for one in listed) == ["missing_customer"] * 2 + ["not_json"]
    (broken,) = [one for one in listed if one["reason"] == "not_json"]
    assert r"\x1b[2Jbroken" in cli.run("quarantine", "show", broken["name"]).out
    assert cli.json("quarantine", "show", broken["name"])["event"] == "\x1b[2Jbroken"
    assert cli.json("quarantine", "replay", "--all", "--dry-run")["replayed"] == 0
    assert cli.json("quarantine", "replay", "--reason", "missing_customer")["replayed"] == 2
    assert [one["name"] for one in cli.json("quarantine", "list")] == [broken["name"]]
    assert "--yes" in cli.run("quarantine", "drop", broken["name"], code=1).err
    assert cli.json("quarantine", "drop", broken["name"], "--yes")["dropped"] == 1
    assert cli.json("quarantine", "list") == []
    assert "0:0-0" in cli.run("quarantine", "show", "0:0-0", code=1).err
    cli.run("quarantine", "drop", code=2)
    active.client.close()


def test_profiles_are_migrated_by_the_ingest_worker(cli, server):
    active = Runtime(Settings(redis_url=server.url, shards=4), server.url)
    cli.run(
        "emit", "-", stdin=json_lines(*(order_event(f"c{n}", "o", 1_700_000_000) for n in range(3)))
    )
    route(active.intake, 4)
    active.ingest.drain()
    before = list(active.population.residents(0))
    assert cli.json("profiles", "migrate") == {
        "current": VERSION, "customers": {str(VERSION): 3}, "appended": 0,
    }  # fmt: skip
    assert cli.json("profiles", "migrate", "--all", "--dry-run")["appended"] == 0
    assert (
        f"3 profiles will be written in format {VERSION}"
        in cli.run("profiles", "migrate", "--all").out
    )
    assert active.ingest.drain() == 3
    assert list(active.population.residents(0)) == before
    assert active.quarantine.count() == 0
    active.client.close()


def test_a_disabled_destination_goes_on(cli, server):
    active = Runtime(Settings(redis_url=server.url, shards=4), server.url)
    active.destination_store.pause("webhook", "gone")
    to = {"webhook_url": "https://x.example", "webhook_secret": f"whsec_{'A' * 43}="}
    assert cli.json("destinations", "resume", "webhook", **to)["resumed"]
    assert cli.run("destinations", "resume", "webhook", **to).out == "webhook was not paused\n"
    active.client.close()


@pytest.mark.parametrize(
    ("words", "settings", "code", "said"),
    [
        (["status"], {"shard": 4}, 1, "did you mean CRM_REFLEX_SHARDS?"),
        (["status"], {"redis_url": "redis://127.0.0.1:1/0"}, 75, "the server does not answer"),
        (["status"], {"redis_url": ""}, 1, "there is no data in"),
        (["customer", "show", "nobody"], {}, 1, "no customer 'nobody' is known"),
        (["retrain", "--here"], {}, 1, "models need 30"),
        (["models", "show", "segments"], {}, 1, "no version of segments yet"),
        (["worker", "--queue", "none"], {}, 2, "none"),
        (["nonsense"], {}, 2, "nonsense"),
        (["deliveries", "replay"], {}, 2, "--dead"),
    ],
)
def test_a_mistake_costs_one_clear_line(cli, words, settings, code, said):
    told = cli.run(*words, code=code, **settings)
    assert said in told.err
    assert told.out == ""


def test_another_number_of_shards_is_refused(cli):
    cli.run("status")
    told = cli.run("status", code=1, shards=8)
    assert "CRM_REFLEX_SHARDS=4" in told.err
    assert cli.run("doctor", code=1, shards=8).out.count("FAIL installation") == 1


def test_settings_are_shown_with_origin_and_without_secrets(cli):
    (cli.folder / "crm-reflex.toml").write_text("refresh_batch = 50\n")
    shown = cli.json("config", webhook_url="https://crm.example/", webhook_secret=SECRET)
    assert shown["CRM_REFLEX_REFRESH_BATCH"] == {"value": "50", "origin": "toml"}
    assert shown["CRM_REFLEX_SHARDS"] == {"value": "4", "origin": "env"}
    assert shown["CRM_REFLEX_WEBHOOK_SECRET"] == {"value": "********", "origin": "env"}


def test_the_contracts_are_printed_as_json_schema(cli):
    for contract in ("event", "insight"):
        schema = json.loads(cli.run("schema", contract).out)
        jsonschema.Draft202012Validator.check_schema(schema)


def test_a_shard_is_printed_for_producers(cli):
    assert cli.run("shard", "customer-1", shards=64).out == "61\treflex:{s61}:events\n"


def commands():
    """Every command with its path: ("customer", "show") -> command."""

    def walk(command, path):
        children = getattr(command, "commands", {})
        if not children:
            yield path, command
        for name, child in children.items():
            yield from walk(child, (*path, name))

    return dict(walk(typer.main.get_command(app), ()))


def test_every_command_explains_itself():
    for path, command in commands().items():
        assert command.help, path


def test_the_page_about_the_command_line_names_every_command_and_no_other():
    text = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    named = set()
    for cell in re.findall(r"^\| `([^`]+)` \|", text, re.MULTILINE):
        words = cell.replace("\\|", "|").split()
        named |= next(
            (found for depth in (3, 2) if (found := at_depth(words, depth)) <= set(commands())),
            {(words[0],)},
        )
    assert named == set(commands())


def at_depth(words, depth):
    """The commands that `group sub|other ARGUMENT` names, if its groups are so deep."""
    last = words[depth - 1].split("|") if len(words) >= depth else [""]
    return {(*words[: depth - 1], sub) for sub in last}


@pytest.mark.parametrize("page", ["cli.md", "operations.md"])
def test_commands_in_the_documents_exist(page):
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    for words in re.findall(r"crm-reflex ([a-z][a-z -]*)", text):
        first, *rest = words.split()
        assert (first,) in commands() or (first, rest[0]) in commands(), words


def test_the_program_prints_its_version_and_completes(cli):
    assert cli.run("--version").out.startswith("crm-reflex 0.")
    typed = {"COMP_WORDS": "crm-reflex st", "COMP_CWORD": "1"}
    cli.env |= {"_CRM_REFLEX_COMPLETE": "complete_bash", **typed}
    assert "status" in cli.run(process=True).out
