"""Requests, and the answers of our vendors, by the vendors' own documents."""

import pytest
from openapi_core import Config, OpenAPI
from openapi_core.exceptions import OpenAPIError

from integrations.outbound.abilities import FieldSpec, FieldType
from integrations.outbound.contract import Credentials, Response, Verdict
from integrations.outbound.ensure import ensure_schema
from integrations.outbound.suite.kind import NOW, Pusher
from integrations.outbound.suite.vendor import Exchange, Reply, Request
from tests.contract.kinds import KINDS
from tests.contract.specs import document_of, judge, mend, spec
from tests.vendors import dialects, hubspot

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
        self.refuse(vendor, ours)
        assert {e.reply.status for e in vendor.exchanges} == {200, 207, 400, 401, 429}
        assert judge(spec("hubspot-contacts-v3.clean.json"), HUBSPOT, vendor.exchanges) == 6

    def refuse(self, vendor, ours):
        """Answers to calls that come too often, and with a token that is not known."""
        for reply, verdict in (
            (hubspot.throttled("TEN_SECONDLY_ROLLING"), Verdict.THROTTLED),
            (hubspot.error(401, "EXPIRED_AUTHENTICATION", "it expired"), Verdict.AUTH),
        ):
            vendor._scripted.append(reply)
            (outcome,) = ours.push([KINDS["hubspot"].row(1)]).values()
            assert outcome.verdict is verdict

    def test_a_dated_version_by_its_own_document(self, vendor, sender):
        kind = KINDS["hubspot"]
        ours = Pusher(kind.adapter(vendor.url, version="2026-03"), sender.send)
        vendor.conflicts = {kind.key(2)}
        told = ours.push([*kind.rows(100), kind.row(101, fields=dict.fromkeys(kind.fields))])
        assert [c for c, o in told.items() if o.verdict is not Verdict.OK] == ["c2"]
        ours.push([kind.row(1, fields={"unknown": "x"})])
        self.refuse(vendor, ours)
        assert {e.reply.status for e in vendor.exchanges} == {200, 207, 400, 401, 429}
        assert judge(spec("hubspot-contacts-2026-03.json"), HUBSPOT, vendor.exchanges) == 5
        paths = {e.request.path for e in vendor.exchanges}
        assert paths == {"/crm/objects/2026-03/contacts/batch/upsert"}

    def test_properties_of_a_dated_version_are_asked_for_under_it_too(self, vendor, sender):
        ours = Pusher(KINDS["hubspot"].adapter(vendor.url, version="2026-03"), sender.send)
        fields = [FieldSpec("new", FieldType.TEXT, "New")]
        report = ensure_schema(
            ours.adapter, fields, sender.send,
            credentials=ours.credentials, at_s=NOW, dry_run=False,
        )  # fmt: skip
        assert report.is_ready
        paths = [e.request.path for e in vendor.exchanges]
        assert paths == [
            f"/crm/properties/2026-03/contacts/batch/{what}" for what in ("read", "create", "read")
        ]
        moved = [  # there is a document of v3 only; the members are the same
            exchange._replace(
                request=exchange.request._replace(
                    path=exchange.request.path.replace("/properties/2026-03", "/v3/properties")
                )
            )
            for exchange in vendor.exchanges
        ]
        assert judge(spec("hubspot-properties-v3.clean.json"), HUBSPOT, moved) == 3

    def test_the_vendor_that_does_harm_speaks_by_the_document_too(self, vendor):
        adapter, rows = KINDS["hubspot"].adapter(HUBSPOT), KINDS["hubspot"].rows(3)
        call = adapter.encode(rows, credentials=Credentials(), at_s=NOW)
        path = call.url.removeprefix(HUBSPOT)
        request = Request("POST", path, {}, call.headers, call.body)
        harm = dialects.HubSpot()
        items = harm.items(path, call.headers, call.body)
        answers = [
            harm.answer(items, [True] * 3), harm.answer(items, [True, False, True]),
            harm.throttled(),
        ]  # fmt: skip
        said = [Exchange(request, Reply(*answer)) for answer in answers]
        assert judge(spec("hubspot-contacts-v3.clean.json"), HUBSPOT, said) == 3
        heard = [
            [o.verdict for o in adapter.classify(rows, Response(a.status, {}, a.body), at_s=NOW)]
            for a in answers
        ]
        ok, busy = Verdict.OK, Verdict.THROTTLED
        assert heard == [[ok] * 3, [ok, Verdict.RETRY, ok], [busy] * 3]

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

    def test_only_the_statuses_of_the_document_are_mended(self, vendor):
        """Requests, and what an answer may hold, are the vendor's own."""
        raw = document_of("zoho-record-v8.bundled.json")
        mended = document_of("zoho-record-v8.bundled.json")
        mend(mended)
        assert mended["components"] == raw["components"]
        for path, operations in raw["paths"].items():
            for method, operation in operations.items():
                ours = mended["paths"][path][method]
                if method != "parameters":
                    assert ours | {"responses": 0} == operation | {"responses": 0}
        upsert = "/crm/v8/{module_api_name}/upsert"
        known = raw["paths"][upsert]["post"]["responses"]["200"]["content"]["application/json"]
        branches = known["schema"]["oneOf"]
        for answer in mended["paths"][upsert]["post"]["responses"].values():
            assert answer["content"]["application/json"]["schema"] in branches

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

    def test_fields_are_read_and_created_by_their_document(self, vendor, sender):
        """https://github.com/zoho/crm-oas, v8.0/fields.json, as it is there."""
        raw = document_of("zoho-fields-v8.json")
        document = OpenAPI.from_dict(mended_fields(raw), config=Config(spec_validator_cls=None))
        ours = pusher("zoho", vendor, sender)
        ours.authorize()
        wanted = [FieldSpec(f"New_{kind}", kind, f"New {kind}") for kind in FieldType]
        report = ensure_schema(
            ours.adapter, wanted, sender.send,
            credentials=ours.credentials, at_s=NOW, dry_run=False,
        )  # fmt: skip
        assert [one.field.type for one in report.left] == [FieldType.LIST]
        fields = [e for e in vendor.exchanges if e.request.path.endswith("/settings/fields")]
        assert [e.request.method for e in fields] == ["GET", "POST", "POST", "GET"]
        assert judge(document, ZOHO, fields) == 4
        read, made = fields[:2]
        bad = [
            Exchange(made.request._replace(body=b'{"fields":[{"data_type":7}]}'), made.reply),
            Exchange(made.request, Reply(201, {"fields": [{"code": "FINE"}]})),
            Exchange(read.request, Reply(200, {"fields": [{"api_name": 7}]})),
        ]
        for one in bad:
            with pytest.raises(OpenAPIError):
                judge(document, ZOHO, [one])


def mended_fields(document):
    """Zoho's document of fields, read alone: it points into its others, and wants all members
    of a field that exists even of one that is to be made; what they hold remains as it says.
    """
    document["components"]["schemas"]["fields"]["required"] = []

    def alone(node):
        if isinstance(node, dict):
            is_elsewhere = not str(node.get("$ref", "#")).startswith("#")
            return {} if is_elsewhere else {name: alone(value) for name, value in node.items()}
        return [alone(value) for value in node] if isinstance(node, list) else node

    document["components"].pop("securitySchemes", None)
    return alone(document)
