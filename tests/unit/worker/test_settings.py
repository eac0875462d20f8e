"""Settings: precedence, refusal of the unknown, and silence about values."""

import base64
import re
from pathlib import Path

import pytest

from worker.settings import Settings, table
from worker.settings_sources import SettingsError

ROOT = Path(__file__).parents[3]
CANARY = "hunter2-canary"
SECRET = "whsec_" + base64.b64encode(b"k" * 32).decode()


@pytest.fixture(autouse=True)
def an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_value_comes_from_argument_then_environment_then_dotenv_then_toml_then_default(
    monkeypatch,
):
    assert Settings().shards == 64
    Path("crm-reflex.toml").write_text("shards = 1\n")
    assert Settings().shards == 1
    Path(".env").write_text("CRM_REFLEX_SHARDS=2\n")
    assert Settings().shards == 2
    monkeypatch.setenv("CRM_REFLEX_SHARDS", "3")
    assert Settings().shards == 3
    assert Settings(shards=4).shards == 4


def test_the_origin_of_every_value_is_told(monkeypatch):
    Path("crm-reflex.toml").write_text('shards = 1\nkey_prefix = "shop"\n')
    Path(".env").write_text("CRM_REFLEX_SHARDS=2\nCRM_REFLEX_LAG_LIMIT=9\n")
    monkeypatch.setenv("CRM_REFLEX_LAG_LIMIT", "10")
    shown = Settings(log_level="debug").masked()
    assert shown["key_prefix"] == ("shop", "toml")
    assert shown["shards"] == ("2", ".env")
    assert shown["lag_limit"] == ("10", "env")
    assert shown["log_level"] == ("DEBUG", "argument")
    assert shown["redis_url"] == ("(not set)", "default")
    assert shown.keys() == Settings.model_fields.keys()


def test_a_named_file_is_read_and_must_exist(monkeypatch, tmp_path):
    monkeypatch.setenv("CRM_REFLEX_CONFIG_FILE", str(tmp_path / "mine.toml"))
    with pytest.raises(SettingsError, match=r"CRM_REFLEX_CONFIG_FILE: .* does not exist"):
        Settings()
    (tmp_path / "mine.toml").write_text("ingest_batch = 7\n")
    assert Settings().ingest_batch == 7


@pytest.mark.parametrize("place", ["argument", "environment", "dotenv", "toml"])
def test_a_misspelled_name_is_refused_wherever_it_stands_with_a_hint(place, monkeypatch):
    arguments = {}
    match place:
        case "argument":
            arguments = {"shard": CANARY}
        case "environment":
            monkeypatch.setenv("CRM_REFLEX_SHARD", CANARY)
        case "dotenv":
            Path(".env").write_text(f"CRM_REFLEX_SHARD={CANARY}\n")
        case "toml":
            Path("crm-reflex.toml").write_text(f'shard = "{CANARY}"\n')
    with pytest.raises(SettingsError, match=r"(?i)shard: no such setting.*did you mean") as caught:
        Settings(**arguments)
    assert CANARY not in str(caught.value)


def test_lines_of_others_in_dotenv_are_none_of_ours():
    Path(".env").write_text("POSTGRES_PASSWORD=x\nSHARDS=3\n")
    assert Settings().shards == 64


def test_an_empty_variable_is_not_set(monkeypatch):
    monkeypatch.setenv("CRM_REFLEX_WEBHOOK_URL", "")
    assert Settings().webhook_url is None
    assert Settings().masked()["webhook_url"].origin == "default"


WRONG = {
    "shards": "0",
    "key_prefix": f"Caps {CANARY}",
    "redis_url": f"http://u:{CANARY}@h",
    "broker_url": f"redis://u:{CANARY}@[::1",
    "time_zone": f"Mars/{CANARY}",
    "reporting_currency": CANARY,
    "currency_rates_file": f"/nowhere/{CANARY}",
    "forecast_horizons_days": "0, 60",
    "traits": f"plan, {CANARY} {CANARY}",
    "ingest_batch": "1001",
    "memory_limit_ratio": "1",
    "webhook_secret": CANARY,
    "webhook_timeout_s": CANARY,
    "log_level": CANARY,
    "redis_ca_file": f"/nowhere/{CANARY}",
    "redis_cluster": CANARY,
}


@pytest.mark.parametrize("name", WRONG)
def test_an_error_names_the_variable_and_the_rule_but_never_the_value(name, monkeypatch):
    monkeypatch.setenv(f"CRM_REFLEX_{name.upper()}", WRONG[name])
    with pytest.raises(SettingsError) as caught:
        Settings()
    assert len(caught.value.problems) == 1
    assert re.match(rf"CRM_REFLEX_{name.upper()}: \S", str(caught.value))
    assert CANARY not in str(caught.value)
    assert CANARY not in repr(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


@pytest.mark.parametrize(
    ("text", "days"), [("", ()), ("180", (180,)), (" 180, 7,30,90 ,180", (7, 180)), ("[60]", None)]
)
def test_horizons_are_further_ones_rising_and_each_once(text, days, monkeypatch):
    monkeypatch.setenv("CRM_REFLEX_FORECAST_HORIZONS_DAYS", text)
    if days is None:
        with pytest.raises(SettingsError):
            Settings()
    else:
        assert Settings().forecast_horizons_days == days
    assert Settings(forecast_horizons_days=60).forecast_horizons_days == (60,)
    with pytest.raises(SettingsError, match="up to 4"):
        Settings(forecast_horizons_days=(1, 2, 3, 4, 5))


def test_every_wrong_value_is_told_at_once():
    with pytest.raises(SettingsError) as caught:
        Settings(shards=0, lag_limit=0)
    assert len(caught.value.problems) == 2


def test_a_broken_toml_file_is_named_with_the_place():
    Path("crm-reflex.toml").write_text(f"shards = {CANARY} !")
    with pytest.raises(SettingsError, match=r"crm-reflex.toml: is not TOML \(at line 1") as caught:
        Settings()
    assert CANARY not in str(caught.value)


def test_secrets_and_passwords_do_not_print():
    settings = Settings(
        redis_url=f"redis://me:{CANARY}@h:1/0?password={CANARY}",
        broker_url=f"rediss://:{CANARY}@h:1",
        webhook_url=f"https://h/in?token={CANARY}",
        webhook_secret=SECRET,
    )
    watched = Settings(redis_url=f"sentinel://me:{CANARY}@a:1,b/shop").masked()["redis_url"]
    assert watched.value == "sentinel://me:***@a:1,b/shop"
    shown = settings.masked()
    for text in (repr(settings), str(settings.redis_url), str(shown)):
        assert CANARY not in text.replace(f"https://h/in?token={CANARY}", "")
        assert SECRET not in text
    assert CANARY not in str(shown)
    assert shown["redis_url"].value == "redis://me:***@h:1/0?***"
    assert shown["broker_url"].value == "rediss://:***@h:1"
    assert shown["webhook_url"].value == "https://h/in?***"


def test_settings_are_frozen():
    with pytest.raises(ValueError, match="frozen"):
        Settings().shards = 3


@pytest.mark.parametrize(
    ("arguments", "rule"),
    [
        ({"redis_cluster": True}, "no Cluster transport"),
        ({"redis_cluster": True, "redis_url": "redis://h"}, "no Cluster transport"),
        ({"webhook_url": "https://h/in"}, "needs CRM_REFLEX_WEBHOOK_SECRET"),
        ({"webhook_url": "http://h/in", "webhook_secret": SECRET}, "should be https://"),
        ({"webhook_url": "https://u:p@h/in", "webhook_secret": SECRET}, "no user name"),
        ({"redis_url": "rediss://h?ssl_cert_reqs=none"}, "should verify the server"),
        ({"redis_url": "rediss://h?ssl_cert_reqs=CERT_OPTIONAL"}, "should verify the server"),
        ({"broker_url": "rediss://h?ssl_check_hostname=false"}, "should verify the server"),
        ({"redis_url": "sentinel://a,b"}, "host:port/service"),
        ({"redis_url": "sentinel://a:x/shop"}, "host:port/service"),
        ({"redis_url": "sentinel://a,,b/shop"}, "host:port/service"),
        ({"redis_url": "sentinel://a/shop?password=p"}, "host:port/service"),
        ({"webhook_secret": "whsec_" + base64.b64encode(b"k" * 23).decode()}, "24 to 64"),
    ],
)
def test_what_cannot_work_together_is_refused(arguments, rule):
    with pytest.raises(SettingsError, match=rule):
        Settings(**arguments)


def test_a_ca_file_needs_a_url_that_uses_it(tmp_path):
    ca = tmp_path / "ca.pem"
    ca.write_text("")
    with pytest.raises(SettingsError, match="TLS is off"):
        Settings(redis_url="redis://h", redis_ca_file=ca)
    settings = Settings(redis_url="rediss://h", redis_ca_file=ca)
    options = settings.tls("rediss://h")
    assert options["ssl_cert_reqs"].name == "CERT_REQUIRED"
    assert options["ssl_ca_certs"] == str(ca)
    assert settings.tls("redis://h") == {}


def test_plain_http_and_traits_by_comma_are_for_those_who_ask():
    settings = Settings(
        webhook_url="http://127.0.0.1:1/in",
        webhook_secret=SECRET,
        webhook_allow_private=True,
        traits="plan, country,plan",
    )
    assert settings.traits == ("country", "plan")


def test_the_table_of_the_readme_is_the_class():
    assert table() in (ROOT / "README.md").read_text(encoding="utf-8")
