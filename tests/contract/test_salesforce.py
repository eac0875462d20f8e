"""Salesforce: our vendor is driven by an independent client, our tokens are read by another one."""

import jwt
import pytest
import requests
from pydantic import SecretStr
from requests.adapters import HTTPAdapter
from simple_salesforce import Salesforce as Client
from simple_salesforce import exceptions

from integrations.outbound.abilities import FieldSpec, FieldType
from integrations.outbound.contract import Credentials, Outcome, Verdict
from integrations.outbound.ensure import ensure_schema
from integrations.outbound.errors import OptionsError
from integrations.outbound.registry import build
from integrations.outbound.suite.kind import NOW, Pusher
from tests.contract.kinds import KINDS, rsa_key
from tests.vendors import faults, salesforce

KIND = KINDS["salesforce"]


class _ToLoopback(HTTPAdapter):
    """The client knows https and salesforce.com alone: its calls go to the vendor on loopback."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self._url = url

    def send(self, request, **options):
        request.url = self._url + "/" + request.url.split("/", 3)[3]
        return super().send(request, **options)


@pytest.fixture
def org():
    with salesforce.Salesforce(public_key=rsa_key()[1]) as vendor:
        yield vendor


@pytest.fixture
def client(org):
    session = requests.Session()
    session.trust_env = False
    session.mount("https://", _ToLoopback(org.url))
    private, _ = rsa_key()
    yield Client(
        username=salesforce.USERNAME,
        consumer_key=salesforce.CLIENT_ID,
        privatekey=private,
        session=session,
        version="66.0",
    )
    session.close()


@pytest.fixture
def pusher(org, sender):
    return Pusher(KIND.adapter(org.url), sender.send)


def records(*keys, **fields):
    return [
        {"attributes": {"type": "Contact"}, "ExtId__c": key, "LastName": "Li", **fields}
        for key in keys
    ]


def upsert(client, rows):
    body = {"allOrNone": False, "records": rows}
    return client.restful("composite/sobjects/Contact/ExtId__c", method="PATCH", json=body)


class TestOurVendorByAnIndependentClient:
    def test_collections_answer_in_order_with_an_error_per_record(self, org, client):
        org.locked = {"b"}
        told = upsert(client, records("a", "b", "c", Vip__c=True))
        assert [one["success"] for one in told] == [True, False, True]
        assert told[1]["errors"][0]["statusCode"] == "UNABLE_TO_LOCK_ROW"
        assert org.contacts["c"] == {"LastName": "Li", "Vip__c": True}
        assert client.api_usage["api-usage"].used == 1

    def test_describe_tells_fields(self, client):
        fields = {one["name"]: one for one in client.Contact.describe()["fields"]}
        assert fields["ExtId__c"]["externalId"]
        assert fields["ExtId__c"]["unique"]

    def test_refusals_are_the_ones_that_the_client_knows(self, org, client):
        with pytest.raises(exceptions.SalesforceMalformedRequest):
            upsert(client, records("a", Unknown__c=1))
        with pytest.raises(exceptions.SalesforceResourceNotFound):
            client.restful("composite/sobjects/Contact/Other__c", method="PATCH", json={})
        org.quota = org.used
        with pytest.raises(exceptions.SalesforceRefusedRequest, match="REQUEST_LIMIT_EXCEEDED"):
            upsert(client, records("a"))
        org.quota += 10
        org.expire()
        assert upsert(client, records("a"))[0]["success"], "the client takes a 401 for a new login"
        assert len(org.tokens) == 2

    def test_the_client_reads_what_we_wrote_and_we_what_it_wrote(self, org, client, pusher):
        assert {o.verdict for o in pusher.push(KIND.rows(2)).values()} == {Verdict.OK}
        told = upsert(client, records("c0", Segment__c="Lost"))
        assert told[0]["created"] is False
        assert org.contacts["c0"]["Segment__c"] == "Lost"
        assert pusher.push(KIND.rows(2))["c0"].vendor_id == told[0]["id"]


class TestTheVendorThatDoesHarmByAnIndependentClient:
    """The one of the fault tests is as the client expects Salesforce to be, in harm too."""

    @pytest.fixture
    def harmful(self):
        with faults.running("salesforce") as vendor:
            yield vendor

    @pytest.fixture
    def org(self, harmful):
        return harmful

    def upsert(self, client, *keys):
        rows = [{"attributes": {"type": "Contact"}, "ExtId__c": key, "V__c": 1} for key in keys]
        return upsert(client, rows)

    def test_results_are_in_order_and_a_lock_is_an_error_of_its_record(self, org, client):
        org.faults, org.share = (faults.Fault.MIX,), 1.0
        told = self.upsert(client, *"abcdefgh")
        assert {one["success"] for one in told} == {True, False}
        stored = [key for key, one in zip("abcdefgh", told, strict=True) if one["success"]]
        assert sorted(org.contacts) == stored
        errors = [one["errors"][0]["statusCode"] for one in told if not one["success"]]
        assert set(errors) == {"UNABLE_TO_LOCK_ROW"}

    def test_a_throttle_is_the_refusal_that_the_client_knows(self, org, client):
        org.limits = [(1, 60.0)]
        self.upsert(client, "a")
        with pytest.raises(exceptions.SalesforceRefusedRequest, match="REQUEST_LIMIT_EXCEEDED"):
            self.upsert(client, "b")

    def test_a_session_that_ended_is_begun_anew_by_the_client(self, org, client):
        org.dialect.expire()
        assert self.upsert(client, "a")[0]["success"]
        assert org.dialect.issued == 2


class TestTokens:
    def jwt_adapter(self, org, **more):
        options = {
            "login_url": org.url,
            "external_id_field": "ExtId__c",
            "client_id": salesforce.CLIENT_ID,
            "flow": "jwt",
            "username": salesforce.USERNAME,
            **more,
        }
        return build("salesforce", options, {"private_key": [SecretStr(rsa_key()[0])]})

    def test_a_jwt_of_ours_is_accepted_by_an_independent_verifier(self, org, sender):
        adapter = self.jwt_adapter(org)
        told = Pusher(adapter, sender.send).push(KIND.rows(2))
        assert {outcome.verdict for outcome in told.values()} == {Verdict.OK}
        first, again = (adapter.token_call(at_s=NOW).body for _ in range(2))
        assert first == again, "RS256 has no randomness"
        (assertion,) = (
            part.partition(b"=")[2] for part in first.split(b"&") if part.startswith(b"assertion=")
        )
        claims = jwt.decode(
            assertion,
            rsa_key()[1],
            algorithms=["RS256"],
            audience="https://login.salesforce.com",
            leeway=3_600,  # the tests' clock stands still
        )
        assert claims["exp"] - NOW <= 300
        assert rsa_key()[0] not in repr(adapter)

    def test_a_sandbox_has_its_own_audience(self, org, sender):
        adapter = self.jwt_adapter(org, audience="https://test.salesforce.com")
        refused = adapter.read_token(sender.send(adapter.token_call(at_s=NOW)), at_s=NOW)
        assert isinstance(refused, Outcome)
        assert (refused.verdict, refused.code) == (Verdict.AUTH, "invalid_client")

    def test_a_refused_session_is_renewed_and_the_rows_go(self, org, pusher):
        pusher.push(KIND.rows(1))
        org.expire()
        (outcome,) = pusher.push(KIND.rows(1)).values()
        assert (outcome.verdict, outcome.code) == (Verdict.AUTH, "INVALID_SESSION_ID")
        pusher.credentials = Credentials()
        (outcome,) = pusher.push(KIND.rows(1)).values()
        assert outcome.verdict is Verdict.OK
        assert len(org.tokens) == 2

    @pytest.mark.parametrize(
        ("changes", "problem"),
        [
            ({"flow": "jwt"}, "username, private_key"),
            ({"version": "45.0"}, "from 46.0 on"),
            ({"login_url": "login.salesforce.com"}, "login_url: should be an http"),
            ({"login_url": "https://user@x.my.salesforce.com"}, "neither user"),
            ({"external_id_field": "A__c/../x"}, "external_id_field"),
        ],
    )
    def test_options_that_cannot_work_are_told(self, changes, problem):
        options = KIND.options("https://x.my.salesforce.com") | changes
        with pytest.raises(OptionsError, match=problem):
            build("salesforce", options, {"client_secret": [SecretStr("s")]})

    @pytest.mark.parametrize("key", ["no key", "-----BEGIN PRIVATE KEY-----\nx\n"])
    def test_a_key_that_is_none_is_told_without_showing_it(self, key):
        options = KIND.options("https://x.my.salesforce.com") | {"flow": "jwt", "username": "u"}
        with pytest.raises(OptionsError, match="private_key: should be") as caught:
            build("salesforce", options, {"private_key": [SecretStr(key)]})
        assert key not in str(caught.value)


class TestWhatItHears:
    def test_one_outcome_per_record(self, org, pusher):
        org.locked, org.duplicates = {"c1"}, {"c2"}
        rows = [*KIND.rows(4), KIND.row(9, fields={"Vip__c": True})]
        told = pusher.push(rows)
        assert [(o.verdict, o.code) for o in told.values()] == [
            (Verdict.OK, "written"),
            (Verdict.RETRY, "UNABLE_TO_LOCK_ROW"),
            (Verdict.PERMANENT, "DUPLICATES_DETECTED"),
            (Verdict.OK, "written"),
            (Verdict.PERMANENT, "REQUIRED_FIELD_MISSING"),
        ]

    def test_a_spent_quota_throttles_and_uses_up_no_attempt(self, org, pusher):
        org.quota = 0
        (outcome,) = pusher.push(KIND.rows(1)).values()
        assert (outcome.verdict, outcome.retry_after_s) == (Verdict.THROTTLED, 900.0)

    @pytest.mark.parametrize(("used", "rest_s"), [(78, None), (79, 900.0), (90, 900.0)])
    def test_it_rests_before_the_quota_is_spent(self, org, pusher, used, rest_s):
        org.quota, org.used = 100, used
        (outcome,) = pusher.push(KIND.rows(1)).values()
        assert (outcome.verdict, outcome.retry_after_s) == (Verdict.OK, rest_s)

    def test_a_list_goes_as_a_multi_select_picklist_wants(self, org, pusher):
        org.fields["Buy__c"] = salesforce.described("Buy__c", "multipicklist")
        pusher.push([kind_row := KIND.row(0, fields={"LastName": "Li", "Buy__c": ["a", "b"]})])
        assert org.contacts[kind_row.key]["Buy__c"] == "a;b"

    def test_an_unknown_field_pauses_instead_of_filling_the_dead_letters(self, pusher):
        rows = [KIND.row(n, fields={"Unknown__c": "x"}) for n in range(3)]
        assert {o.verdict for o in pusher.push(rows).values()} == {Verdict.AUTH}

    def ensure(self, pusher, sender, fields, *, dry_run):
        pusher.authorize()
        return ensure_schema(
            pusher.adapter, fields, sender.send,
            credentials=pusher.credentials, at_s=NOW, dry_run=dry_run,
        )  # fmt: skip

    def with_permissions(self, org, sender, **more):
        options = KIND.options(org.url) | {"permission_set": salesforce.PERMISSION_SET, **more}
        secret = {"client_secret": [SecretStr(salesforce.CLIENT_SECRET)]}
        return Pusher(build("salesforce", options, secret), sender.send)

    def test_fields_are_created_with_the_right_to_write_them_and_the_key_is_unique(
        self, org, client, sender
    ):
        pusher = self.with_permissions(org, sender, external_id_field="CrmReflexId__c")
        fields = [FieldSpec(f"R_{one}__c", one, f"R {one} " + "x" * 40) for one in FieldType]
        dry = self.ensure(pusher, sender, fields, dry_run=True)
        assert [one.can_create for one in dry.differences] == [True] * (1 + len(fields))
        assert not dry.is_ready
        assert org.hidden == {}
        report = self.ensure(pusher, sender, fields, dry_run=False)
        assert report.is_ready
        assert {one.verdict for one in report.outcomes} == {Verdict.OK}
        told = {one["name"]: one for one in client.Contact.describe()["fields"]}
        assert told["CrmReflexId__c"]["unique"]
        assert told["CrmReflexId__c"]["externalId"]
        assert told["R_number__c"]["type"] == "double"
        again = self.ensure(pusher, sender, fields, dry_run=False)
        assert (again.differences, again.outcomes) == ((), ())

    def test_what_was_created_and_nobody_may_see_is_not_told_as_ready(self, org, pusher, sender):
        fields = [FieldSpec("R__c", FieldType.TEXT, "R")]
        report = self.ensure(pusher, sender, fields, dry_run=False)
        assert "R__c" in org.hidden
        assert [one.field.name for one in report.left] == ["R__c"]
        again = self.ensure(pusher, sender, fields, dry_run=False)
        assert [one.code for one in again.outcomes] == ["DUPLICATE_DEVELOPER_NAME"]

    def test_an_independent_client_creates_fields_the_same_way(self, org, client):
        made = {"label": "R", "type": "Text", "length": 255}
        body = {"FullName": "Contact.R__c", "Metadata": made}
        assert client.toolingexecute("sobjects/CustomField", method="POST", data=body)["success"]
        assert "R__c" in org.hidden

    def test_what_the_schema_lacks_and_can_not_be_mended_is_told(self, org, pusher, sender):
        pusher.authorize()
        fields = [
            FieldSpec("Segment__c", FieldType.TEXT, "Segment"),
            FieldSpec("alive__C", FieldType.NUMBER, "names are the same in any case"),
            FieldSpec("Vip__c", FieldType.NUMBER, "of another type"),
            FieldSpec("Missing", FieldType.DATE, "no custom field"),
            FieldSpec("pkg__Missing__c", FieldType.DATE, "another package's"),
        ]
        org.fields["ExtId__c"]["unique"] = False
        report = self.ensure(pusher, sender, fields, dry_run=False)
        lacking = [one.field.name for one in report.differences]
        assert lacking == ["ExtId__c", "Vip__c", "Missing", "pkg__Missing__c"]
        assert not report.is_ready
        assert [r.method for r in org.requests] == ["POST", "GET"]
