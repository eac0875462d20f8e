"""docs/events.md and docs/adapters against the code."""

import json
import os
import re
import zlib
from pathlib import Path

import pytest

from integrations.facts import DEFAULT_TRAITS, EventFact, read_events
from integrations.inbound.names import CANONICAL
from integrations.inbound.reading import TRANSPORT_FIELDS
from integrations.money import MINOR_DIGITS
from integrations.outbound.registry import ADAPTERS
from integrations.rejection import REASONS

ROOT = Path(__file__).parents[3]
SHARED = Path(os.environ.get("SHARED_DATA_DIR") or ROOT.parent / "shared")
EVENTS = (ROOT / "docs" / "events.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```json\n(.*?)^```", EVENTS, re.DOTALL | re.MULTILINE)
NOW = 1_795_341_672


def table(first_header):
    """Rows of the table whose first header is this."""
    after = EVENTS.split(f"| {first_header} |", 1)[1]
    rows = []
    for line in after.splitlines()[2:]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows


@pytest.mark.parametrize("example", EXAMPLES)
def test_every_example_is_a_fact(example):
    (result,) = read_events([example.encode()], [NOW])
    assert isinstance(result, EventFact), result


def test_there_is_an_example_of_every_form():
    found = [json.loads(example) for example in EXAMPLES]
    assert {each["type"] for each in found} >= {"track", "identify", "alias", "group"}
    assert any("specversion" in each for each in found)


def test_the_example_of_the_command_line_is_a_fact():
    (event,) = re.findall(r"event '(\{.*\})'", EVENTS)
    assert isinstance(read_events([event.encode()], [NOW])[0], EventFact)


def test_the_money_rule_gives_the_example_its_value():
    order = next(example for example in EXAMPLES if "Order Completed" in example)
    assert read_events([order.encode()], [NOW])[0].amount_minor == 2250


def test_the_table_of_names_is_the_one_in_the_code():
    documented = dict(table("name"))
    assert documented == {name: ", ".join(also) or "-" for name, also in CANONICAL.items()}


def test_the_table_of_reasons_is_the_one_in_the_code():
    assert {reason.strip("`"): text for reason, text in table("reason")} == REASONS


def test_the_kept_traits_and_the_transport_fields_are_the_ones_in_the_code():
    traits = EVENTS.split("keeps these traits and no other:", 1)[1].split("(a setting)", 1)[0]
    assert set(re.findall(r"`(\w+)`", traits)) == DEFAULT_TRAITS
    transport = EVENTS.split("never count as content:", 1)[1].split("\n\n", 1)[0]
    assert set(re.findall(r"`(\w+)`", transport)) == TRANSPORT_FIELDS


def test_the_currencies_with_other_digits_are_the_ones_in_the_code():
    money = EVENTS.split("to the minor units of its currency:", 1)[1].split("Negative", 1)[0]
    none, rest = money.split("three for")
    three, four = rest.split("four for")
    for text, digits in ((none, 0), (three, 3), (four, 4)):
        named = set(re.findall(r"\b[A-Z]{3}\b", text))
        assert named == {code for code, found in MINOR_DIGITS.items() if found == digits}


def test_the_shards_of_the_documented_ids():
    rows = table("customer id")
    assert len(rows) >= 5
    for customer_id, shard in rows:
        assert zlib.crc32(customer_id.strip("`").encode()) % 64 == int(shard)


def test_every_adapter_has_its_page():
    for name in ADAPTERS:
        page = (ROOT / "docs" / "adapters" / f"{name}.md").read_text(encoding="utf-8")
        assert f"`{name}`" in page


def test_recorded_segment_deliveries_are_facts():
    vectors = SHARED / "vectors" / "segment.json"
    if not vectors.exists():
        pytest.skip(f"NOT CHECKED against recorded deliveries: {vectors} is absent")
    for vector in json.loads(vectors.read_text())["vectors"]:
        body = json.loads(vector["body"])
        events = body if isinstance(body, list) else [body]
        results = read_events([json.dumps(each).encode() for each in events], [NOW] * len(events))
        assert all(isinstance(result, EventFact) for result in results)
        assert (results[0].signal, results[0].amount_minor) == ("Order Completed", 2750)
