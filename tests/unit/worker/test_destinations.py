"""All destinations of an installation: settings, file, secrets, and what they mean for events."""

import re
from pathlib import Path

import pytest

from integrations.destinations import DestinationsError
from integrations.outbound.errors import OptionsError
from worker.bootstrap import Runtime
from worker.delivery.channel import channel_of
from worker.destinations import configured, is_stream
from worker.scaffold import table
from worker.settings import Settings
from worker.settings_sources import SettingsError

SECRET = "whsec_" + "QUFB" * 8
PAGES = Path(__file__).parents[3] / "docs" / "adapters"
FILE = """
[destinations.hub]
adapter = "hubspot"
options = { id_property = "email", token = { env = "HUB_TOKEN" } }
fields = [
  { source = "segment.name", target = "plan" },
  { source = "p_alive", target = "reflex_p_alive" },
]

[destinations.events]
adapter = "standard_webhook"
options = { url = "https://crm.example.com", secrets = { env = "HOOK" }, send = "events" }
"""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("crm.toml").write_text(FILE)


def settings(**more):
    return Settings(destinations_file="crm.toml", **more)


def test_secrets_come_from_the_environment_then_from_dotenv(monkeypatch):
    Path(".env").write_text("HUB_TOKEN=from-dotenv\nHOOK=hook\n")
    monkeypatch.setenv("HOOK", "from-environment")
    hub, events = configured(settings())
    assert hub.secrets["token"][0].get_secret_value() == "from-dotenv"
    assert events.secrets["secrets"][0].get_secret_value() == "from-environment"


def test_only_what_sends_needs_the_secrets():
    with pytest.raises(DestinationsError, match="HUB_TOKEN is not set") as caught:
        configured(settings())
    assert len(caught.value.problems) == 2
    hub, events = configured(settings(), with_secrets=False)
    assert (hub.secrets, hub.options) == ({}, {"id_property": "email"})
    assert (is_stream(hub), is_stream(events)) == (False, True)


@pytest.mark.parametrize("page", sorted(PAGES.glob("*.md")), ids=lambda page: page.stem)
def test_the_recipes_of_the_docs_can_be_used_as_they_are(page, monkeypatch):
    blocks = re.findall(r"```toml\n(.*?)```", page.read_text(), re.DOTALL)
    recipes = "".join(block for block in blocks if "[destinations." in block)
    assert bool(recipes) == (page.stem != "adding")
    for name in re.findall(r'env = "(\w+)"', recipes):
        monkeypatch.setenv(name, SECRET)
    Path("crm.toml").write_text(recipes or "[destinations]")
    channels = [channel_of(one) for one in configured(settings())]
    assert {one.adapter.name for one in channels} == ({page.stem} if recipes else set())


def test_a_mapping_without_fields_is_refused_where_fields_are_what_is_sent():
    Path("crm.toml").write_text(
        re.sub(r"fields = \[.*?^\]", "", FILE, flags=re.DOTALL | re.MULTILINE)
    )
    Path(".env").write_text(f"HUB_TOKEN=t\nHOOK={SECRET}\n")
    hub, events = configured(settings())
    with pytest.raises(OptionsError, match=r"fields: .* at least one"):
        channel_of(hub)
    assert channel_of(events).is_stream


def test_the_webhook_of_the_settings_is_one_more_under_a_name_of_its_own():
    webhook = {"webhook_url": "https://crm.example.com/hook", "webhook_secret": SECRET}
    names = [one.name for one in configured(settings(**webhook), with_secrets=False)]
    assert names == ["webhook", "hub", "events"]
    (alone,) = configured(Settings(**webhook))
    assert alone.options["url"] == "https://crm.example.com/hook"
    Path("crm.toml").write_text(FILE.replace("destinations.hub", "destinations.webhook"))
    with pytest.raises(DestinationsError, match=r"webhook: this name is taken"):
        configured(settings(**webhook), with_secrets=False)


def test_what_a_mapping_writes_is_no_trait_and_what_destinations_say_is_known():
    reading = Runtime(settings(traits=("plan", "country")), "redis://localhost").reading
    assert reading.traits == {"country"}
    assert reading.own_fields == {"plan", "reflex_p_alive"}
    assert reading.destinations == {"hub", "events"}


def test_a_file_that_is_not_there_is_a_mistake_in_the_settings():
    with pytest.raises(SettingsError, match="CRM_REFLEX_DESTINATIONS_FILE"):
        Settings(destinations_file="none.toml")


def test_a_scaffold_is_a_table_that_can_be_read():
    text = table("new", "hubspot", {"id_property": 'a"b', "requests_per_10s": "190"},
                 {"token": "env:T"}, targets=["a", "b"])  # fmt: skip
    Path("crm.toml").write_text(text)
    (made,) = configured(settings(), with_secrets=False)
    assert made.options == {"id_property": 'a"b', "requests_per_10s": 190}
    assert [rule.target for rule in made.fields] == ["a", "b"]
