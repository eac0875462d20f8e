"""Our adapters with their vendors: what the contract suite needs to know of each."""

from functools import cache

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from integrations.outbound.contract import Verdict
from integrations.outbound.suite.kind import Kind
from tests.vendors import bottle, hubspot, klaviyo, robots, salesforce, segment, webhook, zoho


@cache
def rsa_key() -> tuple[str, str]:
    """(private, public) PEM of a key that is made once for all tests."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return private.decode(), public.decode()


def _email(n: int) -> str:
    return f"c{n}@example.com"


def _hubspot_with_properties() -> hubspot.HubSpot:
    vendor = hubspot.HubSpot()
    kinds = {"segment": "string", "alive": "number", "vip": "bool", "next": "date"}
    for name, kind in kinds.items():
        vendor.properties[name] = hubspot.definition(name, kind, "text")
    return vendor


CONFIGURATION = {404: Verdict.AUTH}
BATCH = {400: Verdict.SPLIT, 409: Verdict.SPLIT, 413: Verdict.SPLIT, 422: Verdict.SPLIT}
ROBOT_SECRETS = {"secret": [robots.SECRET]}
DIGEST = {"segment": "VIP", "alive": 0.5}

KINDS: dict[str, Kind] = {
    "standard_webhook": Kind(
        name="standard_webhook",
        options=lambda url: {"url": f"{url}/hook"},
        secrets={"secrets": webhook.SECRETS},
        vendor=webhook.Endpoint,
        says_nothing=True,
    ),
    "bottlecrm": Kind(
        name="bottlecrm",
        options=lambda url: {"base_url": url},
        secrets={"token": [bottle.TOKEN]},
        vendor=bottle.Bottle,
        fields={"segment": "VIP", "alive": 0.5, "vip": True, "next": "2026-12-01"},
        key=_email,
        meaning=CONFIGURATION,
    ),
    "hubspot": Kind(
        name="hubspot",
        options=lambda url: {"base_url": url, "id_property": "email"},
        secrets={"token": [hubspot.TOKEN]},
        vendor=_hubspot_with_properties,
        fields={"segment": "VIP", "alive": 0.5, "vip": True, "next": "2026-12-01"},
        stored={"segment": "VIP", "alive": "0.5", "vip": "true", "next": "2026-12-01"},
        key=_email,
        meaning=CONFIGURATION | BATCH,
    ),
    "salesforce": Kind(
        name="salesforce",
        options=lambda url: {
            "login_url": url,
            "external_id_field": "ExtId__c",
            "client_id": salesforce.CLIENT_ID,
        },
        secrets={"client_secret": [salesforce.CLIENT_SECRET]},
        vendor=salesforce.Salesforce,
        fields={
            "LastName": "Li",
            "Segment__c": "VIP",
            "Alive__c": 0.5,
            "Vip__c": True,
            "Next__c": "2026-12-01",
        },
        meaning=CONFIGURATION | BATCH,
    ),
    "klaviyo": Kind(
        name="klaviyo",
        options=lambda url: {"base_url": url, "max_rows": 300, "match": "email"},
        secrets={"api_key": [klaviyo.KEY]},
        vendor=klaviyo.Klaviyo,
        fields={"segment": "VIP", "alive": 0.5, "vip": True, "next": "2026-12-01", "buy": ["a"]},
        key=_email,
        meaning=CONFIGURATION | BATCH,
    ),
    "segment": Kind(
        name="segment",
        options=lambda url: {"base_url": f"{url}/v1"},
        secrets={"write_key": [segment.WRITE_KEY]},
        vendor=segment.Segment,
        fields={"segment": "VIP", "alive": 0.5, "vip": True, "next": "2026-12-01", "buy": ["a"]},
        meaning=BATCH,
        says_nothing=True,
    ),
    "zoho": Kind(
        name="zoho",
        options=lambda url: {
            "accounts_url": url,
            "client_id": zoho.CLIENT_ID,
            "key_field": "Email",
        },
        secrets={"client_secret": [zoho.CLIENT_SECRET], "refresh_token": [zoho.REFRESH_TOKEN]},
        vendor=zoho.Zoho,
        fields={
            "Last_Name": "Li",
            "Segment": "VIP",
            "Alive": 0.5,
            "Vip": True,
            "Next": "2026-12-01",
        },
        key=_email,
        meaning=CONFIGURATION | BATCH,
    ),
    "wecom": Kind(
        name="wecom",
        options=lambda url: {"base_url": url},
        secrets={"key": [robots.KEY]},
        vendor=robots.WeCom,
        fields=DIGEST,
    ),
    "dingtalk": Kind(
        name="dingtalk",
        options=lambda url: {"base_url": url},
        secrets={"access_token": [robots.KEY], **ROBOT_SECRETS},
        vendor=robots.DingTalk,
        fields=DIGEST,
    ),
    "feishu": Kind(
        name="feishu",
        options=lambda url: {"base_url": url},
        secrets={"hook": [robots.KEY], **ROBOT_SECRETS},
        vendor=robots.Feishu,
        fields=DIGEST,
    ),
}
