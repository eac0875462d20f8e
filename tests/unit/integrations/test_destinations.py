"""The file of destinations: what it may say, and what is told about a mistake."""

import re
from pathlib import Path

import pytest

from integrations.destinations import Destination, DestinationsError, load_destinations
from integrations.mapping import MappedField
from integrations.outbound.registry import names

GOOD = """
[destinations.hubspot]
adapter = "hubspot"
options = { token = { env = "HUBSPOT_TOKEN" }, version = "v3" }
coalesce_s = 10
coalesce_max_s = 60
requests_per = [{ requests = 190, window_s = 10 }]

[[destinations.hubspot.fields]]
source = "segment.name"
target = "reflex_segment"

[[destinations.hubspot.fields]]
source = "p_alive"
target = "reflex_p_alive"
round = 2
dead_band = 0.02
only_if = { forecast_reliability = ["normal", "low"] }

[destinations.hook]
adapter = "standard_webhook"
options.secret = [{ file = "new" }, { file = "old" }]
"""
ENVIRON = {"HUBSPOT_TOKEN": "pat-123"}


@pytest.fixture
def write(tmp_path):
    (tmp_path / "new").write_text("whsec_new\n")
    (tmp_path / "old").write_text("whsec_old")

    def written(text, name="destinations.toml"):
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return written


def test_a_file_says_where_to_which_fields_how_fast(write):
    hubspot, hook = load_destinations(write(GOOD), ENVIRON)
    assert (hubspot.name, hubspot.adapter, hubspot.key) == ("hubspot", "hubspot", "customer_id")
    assert hubspot.options == {"version": "v3"}
    assert [one.get_secret_value() for one in hubspot.secrets["token"]] == ["pat-123"]
    assert (hubspot.requests_per[0].requests, hubspot.requests_per[0].window_s) == (190, 10.0)
    assert [rule.type for rule in hubspot.fields] == ["text", "number"]
    assert hook.fields == ()
    assert [one.get_secret_value() for one in hook.secrets["secret"]] == ["whsec_new", "whsec_old"]
    assert "pat-123" not in repr(hubspot)
    assert "whsec_new" not in repr(hook)
    path = hook.model_copy(update={"options": {"url": "https://hooks.example.com/T0/secret-path"}})
    assert "secret-path" not in f"{path!r} {path}", "some receivers have a secret in their URL"


def test_yaml_says_the_same(write):
    text = """
destinations:
  hubspot:
    adapter: hubspot
    options: {token: {env: HUBSPOT_TOKEN}}
    fields:
      - {source: p_alive, target: reflex_p_alive, round: 2}
"""
    (hubspot,) = load_destinations(write(text, "d.yaml"), ENVIRON)
    assert hubspot.fields[0].round == 2


@pytest.mark.parametrize(
    ("find", "put", "line"),
    [
        (
            '"segment.name"',
            '"segmnt.name"',
            (
                "fields, number 1 (reflex_segment): an insight has no 'segmnt.name'; did you mean"
                " 'segment.name'?"
            ),
        ),
        (
            "round = 2",
            "rounding = 2",
            "fields, number 2 (reflex_p_alive), rounding: no such key; did you mean round?",
        ),
        (
            "round = 2",
            'round = "two"',
            (
                "fields, number 2 (reflex_p_alive), round: should be a valid integer, unable to"
                " parse string as an integer"
            ),
        ),
        (
            '"reflex_p_alive"',
            '"reflex_segment"',
            "more than one field has the target reflex_segment",
        ),
        ("coalesce_s = 10", "coalesce = 10", "coalesce: no such key; did you mean coalesce_s?"),
        (
            "coalesce_max_s = 60",
            "coalesce_max_s = 1",
            "coalesce_max_s should not be less than coalesce_s",
        ),
        (
            "coalesce_s = 10",
            'reasons = ["model"]',
            'reasons are those of events: they need the option send = "events"',
        ),
        (
            "window_s = 10",
            "window_s = 0",
            "requests_per, number 1, window_s: should be greater than 0",
        ),
        (
            "HUBSPOT_TOKEN",
            "NO_TOKEN",
            "options.token: the environment variable NO_TOKEN is not set",
        ),
        ('adapter = "hubspot"', "", "adapter: Field required"),
        (
            'adapter = "hubspot"',
            'adapter = "hubspot"\nkey = "buy_again.item_id"',
            "key: 'buy_again.item_id' is a list",
        ),
        (
            'adapter = "hubspot"',
            'adapter = "hubspot"\nsecrets = {}',
            "name and secrets are not keys of a destination",
        ),
    ],
)
def test_a_mistake_is_told_by_file_table_and_field(write, find, put, line):
    assert find in GOOD
    path = write(GOOD.replace(find, put))
    with pytest.raises(DestinationsError) as caught:
        load_destinations(path, ENVIRON)
    assert f"{path}: destinations.hubspot: {line}" in caught.value.problems
    assert "pat-123" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("d.toml", "[destinations", "is not TOML (at "),
        ("d.toml", "", "should hold tables [destinations.NAME]"),
        ("d.toml", "x = 1", "should hold tables [destinations.NAME], not x"),
        ("d.toml", "destinations = 3", "should hold tables [destinations.NAME]"),
        ("d.toml", "[destinations]\na = 3", "destinations.a: should be a table"),
        ("d.toml", "[destinations.a]\nadapter = 'x'\nfields = 3", "destinations.a: fields: should"),
        ("d.toml", "[destinations.a]\nadapter = 'x'\nfields = [3]", "a: fields, number 1: "),
        ("d.toml", "[destinations.a]\nadapter = 'x'\noptions = 3", "destinations.a: options: "),
        ("d.toml", "[destinations.Hook]\nadapter = 'x'", "Hook: name: String should match pattern"),
        (
            "d.toml",
            "[destinations.a]\nadapter = 'x'\noptions.secret = { file = 'gone' }",
            "gone can't be read: FileNotFoundError",
        ),
        ("d.yaml", "a: [", "is not YAML (at line 1, column 5)"),
        ("d.yaml", "- 1", "should hold tables [destinations.NAME]"),
    ],
)
def test_a_file_that_is_no_such_file_is_refused(write, name, text, words):
    with pytest.raises(DestinationsError) as caught:
        load_destinations(write(text, name), {})
    assert words in str(caught.value)


def test_a_file_that_is_not_there_or_not_text_is_refused(tmp_path):
    with pytest.raises(DestinationsError, match="there is no such file"):
        load_destinations(tmp_path / "none.toml", {})
    (tmp_path / "bad.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(DestinationsError, match="can't be read: UnicodeDecodeError"):
        load_destinations(tmp_path / "bad.toml", {})


def test_every_mistake_is_told_at_once(write):
    path = write(GOOD.replace("round = 2", "rounding = 2").replace('"old"', '"gone"'))
    with pytest.raises(DestinationsError) as caught:
        load_destinations(path, {})
    assert len(caught.value.problems) == 3


DOCS = Path(__file__).parents[3] / "docs" / "destinations.md"


def test_the_page_names_every_key_and_its_example_works(write):
    text = DOCS.read_text(encoding="utf-8")
    (example,) = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    (destination,) = load_destinations(write(example), ENVIRON)
    assert [rule.target for rule in destination.fields][:2] == ["reflex_segment", "reflex_p_alive"]
    keys = {*Destination.model_fields, *MappedField.model_fields} - {"name", "secrets"}
    for name in keys:
        assert re.search(rf"^\| [^|]*`{name}`", text, re.MULTILINE), name
    for name in names():
        assert f"`{name}`](adapters/" in text, name
