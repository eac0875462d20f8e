"""Tokens of a Salesforce org: client credentials, or a JWT that our key signs.

Sources: https://help.salesforce.com/s/articleView?id=sf.remoteaccess_oauth_client_credentials_flow.htm,
https://help.salesforce.com/s/articleView?id=sf.remoteaccess_oauth_jwt_flow.htm, RFC 7523
"""

from base64 import urlsafe_b64encode
from typing import Final, Literal, Self
from urllib.parse import urlencode, urlsplit

from pydantic import Field, SecretStr, model_validator

from integrations.outbound.answers import compact, document, mapping, text
from integrations.outbound.contract import Credentials, HttpCall, Outcome, Response, Verdict
from integrations.outbound.options import FIELD_NAME, AdapterOptions, BaseUrl
from integrations.outbound.status import outcome_of_status

_JWT_GRANT: Final = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_JWT_LIFE_S: Final = 180  # Salesforce takes at most 300
_BUSY: Final = frozenset({"login rate exceeded", "api_limit_exceeded"})


class Options(AdapterOptions):
    """Options of a Salesforce org.

    login_url          your My Domain: `https://NAME.my.salesforce.com`
    external_id_field  field of the object, marked External ID and Unique, that holds a row's key
    flow               `client_credentials` needs client_secret; `jwt` needs username, private_key
    private_key        PEM of an RSA key, whose certificate is in the connected app
    audience           who the JWT is for: test.salesforce.com of a sandbox
    permission_set     id of one that the user has: lets it write the fields that are created
    stop_at            share of the day's calls, others' counted too, beyond which we rest
    """

    login_url: BaseUrl
    external_id_field: str = Field(pattern=FIELD_NAME)
    object: str = Field("Contact", pattern=FIELD_NAME)
    version: str = Field("66.0", pattern=r"^[0-9]{2,3}\.0$")
    flow: Literal["client_credentials", "jwt"] = "client_credentials"
    client_id: str
    client_secret: SecretStr | None = None
    username: str | None = None
    private_key: SecretStr | None = None
    audience: BaseUrl = "https://login.salesforce.com"
    permission_set: str | None = Field(None, pattern=r"^0PS[A-Za-z0-9]{12}(?:[A-Za-z0-9]{3})?$")
    stop_at: float = Field(0.8, gt=0, le=1)

    @model_validator(mode="after")
    def _has_what_the_flow_needs(self) -> Self:
        if float(self.version) < 46:
            raise ValueError("version: collections are upserted from 46.0 on")
        if self.flow == "client_credentials" and self.client_secret is None:
            raise ValueError("client_secret: needed by the flow client_credentials")
        if self.flow == "jwt":
            if self.username is None or self.private_key is None:
                raise ValueError("username, private_key: needed by the flow jwt")
            _signed(self.private_key.get_secret_value(), b"")
        return self


def token_call(name: str, options: Options, *, at_s: int) -> HttpCall:
    """The request for a token; equal arguments give equal bytes."""
    if options.flow == "jwt":
        form = {"grant_type": _JWT_GRANT, "assertion": _assertion(options, at_s)}
    else:
        secret = options.client_secret.get_secret_value() if options.client_secret else ""
        form = {
            "grant_type": "client_credentials",
            "client_id": options.client_id,
            "client_secret": secret,
        }
    headers = {"content-type": "application/x-www-form-urlencoded", "accept": "application/json"}
    url = f"{options.login_url}/services/oauth2/token"
    return HttpCall(name, "POST", url, headers, urlencode(form).encode())


def read_token(response: Response, *, at_s: int) -> Credentials | Outcome:
    """The token with the org's own address; it has no end that could be known beforehand."""
    answer = mapping(document(response))
    token, instance = answer.get("access_token"), answer.get("instance_url")
    if response.status == 200 and isinstance(token, str) and isinstance(instance, str):
        parts = urlsplit(instance)
        if parts.scheme in {"https", "http"} and parts.hostname:
            return Credentials(token, instance.rstrip("/"))
    error, detail = text(answer.get("error")), text(answer.get("error_description"))
    plain = outcome_of_status(response, at_s=at_s)
    if detail.casefold() in _BUSY or error in _BUSY:
        return Outcome(Verdict.THROTTLED, error, detail, 60.0)
    verdict = Verdict.AUTH if response.status in {200, 400, 404} else plain.verdict
    return Outcome(verdict, error or plain.code, detail, plain.retry_after_s)


def _assertion(options: Options, at_s: int) -> str:
    claims = {
        "iss": options.client_id,
        "sub": options.username,
        "aud": options.audience,
        "exp": at_s + _JWT_LIFE_S,
    }
    content = b".".join(_base64url(compact(part)) for part in ({"alg": "RS256"}, claims))
    key = options.private_key.get_secret_value() if options.private_key else ""
    return (content + b"." + _base64url(_signed(key, content))).decode()


def _signed(pem: str, content: bytes) -> bytes:
    """RS256 of RFC 7518, section 3.3; raise ValueError for a key that is none."""
    from cryptography.hazmat.primitives import hashes, serialization  # noqa: PLC0415  slow to import
    from cryptography.hazmat.primitives.asymmetric import padding, rsa  # noqa: PLC0415

    try:
        key = serialization.load_pem_private_key(pem.encode(), password=None)
    except (ValueError, TypeError):
        raise ValueError("private_key: should be the PEM of an unencrypted key") from None
    if not isinstance(key, rsa.RSAPrivateKey):
        raise ValueError("private_key: should be an RSA key")  # noqa: TRY004
    return key.sign(content, padding.PKCS1v15(), hashes.SHA256())


def _base64url(content: bytes) -> bytes:
    return urlsafe_b64encode(content).rstrip(b"=")
