"""An adapter of another package, registered by entry point, is under the same suite as ours."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOUND = '''
from integrations.outbound.contract import (
    Capabilities, Credentials, HttpCall, Matching, Outcome, Response, Row, Verdict
)
from integrations.outbound.answers import UNMENTIONED, compact, document, mapping
from integrations.outbound.options import AdapterOptions, BaseUrl
from integrations.outbound.status import outcome_of_status
from pydantic import SecretStr


class Options(AdapterOptions):
    base_url: BaseUrl
    token: SecretStr


class MyCrm:
    name = "mycrm"
    options_type = Options

    def __init__(self, options):
        self.options = options

    def __repr__(self):
        return "MyCrm()"

    @classmethod
    def build(cls, options):
        return cls(options)

    @property
    def capabilities(self):
        return Capabilities(10, 100_000, Matching.KEY)

    def encode(self, rows, *, credentials, at_s):
        headers = {"authorization": self.options.token.get_secret_value()}
        body = compact([[row.key, dict(row.fields)] for row in rows])
        return HttpCall(self.name, "POST", self.options.base_url, headers, body)

    def classify(self, rows, response, *, at_s):
        plain = outcome_of_status(response, at_s=at_s, rows=len(rows))
        if plain.verdict is not Verdict.OK:
            return (plain,) * len(rows)
        stored = document(response)
        stored = stored if isinstance(stored, list) else []
        ok = Outcome(Verdict.OK, "written")
        return tuple(ok if row.key in stored else UNMENTIONED for row in rows)


class Careless(MyCrm):
    """It takes any 2xx for a success, shows its token and follows no status."""

    name = "careless"

    def __repr__(self):
        return f"Careless({self.options.token.get_secret_value()})"

    def classify(self, rows, response, *, at_s):
        return (Outcome(Verdict.OK, "written"),) * len(rows)
'''
KIND = """
from integrations.outbound.contract import Verdict
from integrations.outbound.suite.kind import Kind
from integrations.outbound.suite.vendor import Reply, Vendor


class Shelf(Vendor):
    def answer(self, request):
        for key, fields in request.json:
            self.write(key, fields)
        return Reply(200, [key for key, _ in request.json if key not in self.silent])


def kind(name):
    split = dict.fromkeys((400, 409, 413, 422), Verdict.SPLIT)
    return Kind(
        name, lambda url: {"base_url": url}, {"token": ["token-0123456789"]}, Shelf,
        {"segment": "VIP", "alive": 0.5}, meaning=split,
    )


mycrm, careless = kind("mycrm"), kind("careless")
"""


@pytest.fixture
def package(tmp_path):
    """Two adapters of another package, installed: one is sound."""
    (tmp_path / "mycrm_adapter.py").write_text(SOUND)
    (tmp_path / "mycrm_tests.py").write_text(KIND)
    info = tmp_path / "mycrm-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: mycrm\nVersion: 1.0\n")
    points = {
        "crm_reflex.adapters": {
            "mycrm": "mycrm_adapter:MyCrm", "careless": "mycrm_adapter:Careless",
            "untested": "mycrm_adapter:MyCrm",
        },
        "crm_reflex.adapter_kinds": {
            "mycrm": "mycrm_tests:mycrm", "careless": "mycrm_tests:careless"
        },
    }  # fmt: skip
    lines = [
        line
        for group, members in points.items()
        for line in (f"[{group}]", *(f"{name} = {place}" for name, place in members.items()))
    ]
    (info / "entry_points.txt").write_text("\n".join(lines))
    return tmp_path


def test_a_registered_adapter_of_another_package_passes_and_a_careless_one_is_found_out(package):
    path = os.pathsep.join([str(package), str(ROOT)])
    run = subprocess.run(
        [
            sys.executable, "-m", "pytest", "-q", "-rA", "-p", "no:cacheprovider", "-p",
            "no:randomly", "--tb=no", "-k", "mycrm or careless or untested",
            "tests/contract/test_adapters.py",
        ],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    lines = run.stdout.splitlines()
    passed = [line for line in lines if line.startswith("PASSED") and "mycrm" in line]
    unpassed = {line.split(" - ")[0] for line in lines if line.startswith(("FAILED", "ERROR"))}
    assert len(passed) > 60, run.stdout[-2000:]
    assert not [line for line in unpassed if "mycrm" in line]
    for found in ("passes_over_is_not_ok", "no_repr_shows_a_secret", "names_no_row_is_none",
                  "without_words_means_the_same"):  # fmt: skip
        assert [line for line in unpassed if found in line and "careless" in line], found
    assert [line for line in unpassed if "untested" in line], "registered, and without a Kind"
