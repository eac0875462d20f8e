"""docs/adapters against the code: every option, every source."""

import re
from pathlib import Path

import pytest

from integrations.outbound.contract import Verdict
from integrations.outbound.registry import ADAPTERS, adapter_class

PAGES = Path(__file__).parents[3] / "docs" / "adapters"


@pytest.mark.parametrize("name", ADAPTERS)
def test_a_page_names_every_option_and_no_other(name):
    page = (PAGES / f"{name}.md").read_text(encoding="utf-8")
    table = page.split("| option | default | |", 1)[1].split("\n\n", 1)[0]
    firsts = [line.split("|")[1] for line in table.splitlines()[2:]]
    named = {option for first in firsts for option in re.findall(r"`(\w+)`", first)}
    model = adapter_class(name).options_type
    unnamed = {"base_url"} if "base_url" not in named else set()
    assert named == set(model.model_fields) - unnamed


@pytest.mark.parametrize("name", ADAPTERS)
def test_a_page_marks_every_secret(name):
    page = (PAGES / f"{name}.md").read_text(encoding="utf-8")
    table = page.split("| option | default | |", 1)[1].split("\n\n", 1)[0]
    for option in adapter_class(name).options_type.secret_names():
        (line,) = [one for one in table.splitlines()[1:] if f"`{option}`" in one.split("|")[1]]
        assert "secret" in line or "key is a secret" in line


@pytest.mark.parametrize("name", ADAPTERS)
def test_a_page_and_its_module_name_their_sources(name):
    page = (PAGES / f"{name}.md").read_text(encoding="utf-8")
    module = Path(__file__).parents[3] / "integrations" / "outbound" / f"{name}.py"
    assert "https://" in page.split("## Set-up")[0] + page.split("Source")[-1]
    text = module.read_text(encoding="utf-8")
    assert re.search(r"^Sources?: https://", text, re.MULTILINE)
    assert f"docs/adapters/{name}.md" in text


def test_the_verdicts_of_the_guide_are_those_of_the_code():
    guide = (PAGES / "adding.md").read_text(encoding="utf-8")
    table = guide.split("| verdict | meaning |", 1)[1].split("\n\n", 1)[0]
    assert re.findall(r"^\| `(\w+)`", table, re.MULTILINE) == [verdict.value for verdict in Verdict]
