"""Requests, and the answers of our vendors, by the vendors' own documents."""

import pytest
from openapi_core.exceptions import OpenAPIError

from integrations.outbound.abilities import FieldSpec, FieldType
from integrations.outbound.contract import Verdict
from integrations.outbound.ensure import ensure_schema
from integrations.outbound.suite.kind import NOW, Pusher
from integrations.outbound.suite.vendor import Exchange, Reply
from tests.contract.kinds import KINDS
from tests.contract.specs import judge, spec

# openapi-core checks keys in headers, and passes over OAuth
pytestmark = pytest.mark.filterwarnings("ignore:Unsupported scheme type:UserWarning")

HUBSPOT = "https://api.hubapi.com"
KLAVIYO = "https://a.klaviyo.com"
ZOHO = "https://zohoapis.com"


@pytest.fixture
def vendor(request):
    with KINDS[request.param].vendor() as vendor:
        yield vendor


def pusher(name, vendor, sender):
    return Pusher(KINDS[name].adapter(vendor.url), sender.send)


@pytest.mark.parametrize("vendor", ["hubspot"], indirect=True)
class TestHubSpot:
    def test_upserts_and_every_kind_of_answer(self, vendor, sender):
        kind, ours = KINDS["hubspot"], pusher("hubspot", vendor, sender)
        vendor.conflicts = {kind.key(2)}
        rows = [*kind.rows(100), kind.row(101, fields=dict.fromkeys(kind.fields))]
        told = ours.push(rows)
        assert [c for c, o in told.items() if o.verdict is not Verdict.OK] == ["c2"]
        ours.push([kind.row(1, fields={"unknown": "x"})])
        ours.push([kind.row(1, fields={"alive": "not a number"})])
        assert {e.reply.status for e in vendor.exchanges} == {200, 207, 400}
        assert judge(spec("hubspot-contacts-v3.clean.json"), HUBSPOT, vendor.exchanges) == 4

    def test_a_dated_version_by_its_own_document(self, vendor, sender):
        from pydantic import SecretStr

        from integrations.outbound.registry import build

        kind = KINDS["hubspot"]
        options = kind.options(vendor.url) | {"version": "2026-03"}
        secrets = {"token": [SecretStr(kind.secrets["token"][0])]}
        ours = Pusher(build("hubspot", options, secrets), sender.send)
        assert {o.verdict for o in ours.push(kind.rows(3)).values()} == {Verdict.OK}
        assert judge(spec("hubspot-contacts-2026-03.json"), HUBSPOT, vendor.exchanges) == 1

    def test_reading_and_creating_properties(self, vendor, sender):
        ours = pusher("hubspot", vendor, sender)
        fields = [FieldSpec(f"new_{kind}", kind, f"New {kind}") for kind in FieldType]
        report = ensure_schema(
            ours.adapter, fields, sender.send,
            credentials=ours.credentials, at_s=NOW, dry_run=False,
        )  # fmt: skip
        assert report.is_ready
        assert judge(spec("hubspot-properties-v3.clean.json"), HUBSPOT, vendor.exchanges) == 3

    def test_the_judge_is_awake(self, vendor, sender):
        pusher("hubspot", vendor, sender).push(KINDS["hubspot"].rows(1))
        (good,) = vendor.exchanges
        document = spec("hubspot-contacts-v3.clean.json")
        number = good.request._replace(body=good.request.body.replace(b'"0.5"', b"0.5"))
        silent = Reply(200, {"status": "COMPLETE"})
        for bad in (Exchange(number, good.reply), Exchange(good.request, silent)):
            with pytest.raises(OpenAPIError):
                judge(document, HUBSPOT, [bad])


@pytest.mark.parametrize("vendor", ["klaviyo"], indirect=True)
class TestKlaviyo:
    def test_jobs_their_standing_and_their_errors(self, vendor, sender):
        kind, ours = KINDS["klaviyo"], pusher("klaviyo", vendor, sender)
        vendor.wrong = {kind.key(n) for n in range(150)}
        rows = [*kind.rows(250), kind.row(251, fields=dict.fromkeys(kind.fields))]
        told = ours.push(rows)
        wrong = {c for c, o in told.items() if o.verdict is Verdict.PERMANENT}
        assert wrong == {f"c{n}" for n in range(150)}
        assert {o.verdict for c, o in told.items() if c not in wrong} == {Verdict.OK}
        ours.push([kind.row(1, key="no email")])
        pages = [e for e in vendor.exchanges if e.request.path.endswith("import-errors")]
        assert len(pages) == 2
        assert judge(spec("klaviyo-profiles.json"), KLAVIYO, vendor.exchanges) == 6

    def test_the_judge_is_awake(self, vendor, sender):
        pusher("klaviyo", vendor, sender).push(KINDS["klaviyo"].rows(1))
        good = vendor.exchanges[0]
        document = spec("klaviyo-profiles.json")
        wrong = good.request.body.replace(b'"profile-bulk-import-job"', b'"profile-import"')
        bad = [
            Exchange(good.request._replace(body=wrong), good.reply),
            Exchange(good.request, Reply(202, {"data": {"id": 7}})),
        ]
        for one in bad:
            with pytest.raises(OpenAPIError):
                judge(document, KLAVIYO, [one])


@pytest.mark.parametrize("vendor", ["zoho"], indirect=True)
class TestZoho:
    def upserts(self, vendor):
        return [e for e in vendor.exchanges if e.request.path.endswith("/upsert")]

    def test_upserts_and_every_kind_of_answer(self, vendor, sender):
        kind, ours = KINDS["zoho"], pusher("zoho", vendor, sender)
        vendor.locked, vendor.invalid = {kind.key(3)}, {kind.key(5)}
        rows = [*kind.rows(100), kind.row(101, fields=dict.fromkeys(kind.fields))]
        told = ours.push(rows)
        assert told["c3"].verdict is Verdict.RETRY
        assert told["c5"].verdict is Verdict.PERMANENT
        assert "$.data[" in told["c5"].detail
        ok = {c for c, o in told.items() if o.verdict is Verdict.OK}
        assert ok == {row.customer_id for row in rows} - {"c3", "c5"}
        assert judge(spec("zoho-record-v8.bundled.json"), ZOHO, self.upserts(vendor)) == 2

    def test_the_judge_is_awake(self, vendor, sender):
        pusher("zoho", vendor, sender).push(KINDS["zoho"].rows(1))
        (good,) = self.upserts(vendor)
        document = spec("zoho-record-v8.bundled.json")
        wrong = good.request.body.replace(b'["Email"]', b'"Email"')
        bad = [
            Exchange(good.request._replace(body=wrong), good.reply),
            Exchange(good.request, Reply(200, {"data": [{"code": "FINE", "status": "success"}]})),
        ]
        for one in bad:
            with pytest.raises(OpenAPIError):
                judge(document, ZOHO, [one])
