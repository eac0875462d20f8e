"""The types of settings that need more than a range: each raises the rule, never the value."""

import base64
import binascii
import re
from typing import Annotated, Literal
from urllib.parse import parse_qs, urlsplit
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr
from pydantic_settings import NoDecode

from worker.store import sentinel

SCHEMES = ("redis", "rediss", "unix", "sentinel")
_MOST_HORIZONS = 4  # each costs a training and a refresh as much again
_LONGEST_DAYS = 365


def check_server_url(value: SecretStr) -> SecretStr:
    """`value` if it names a server, and verifies it where it speaks TLS; else ValueError."""
    if sentinel.is_sentinel(value.get_secret_value()):
        sentinel.read(value.get_secret_value())
        return value
    try:
        parts = urlsplit(value.get_secret_value())
        named = parts.path if parts.scheme == "unix" else parts.hostname and parts.port != 0
    except ValueError:  # its text quotes the URL, password and all
        raise ValueError("should be a URL") from None
    if parts.scheme not in SCHEMES:
        raise ValueError(f"should begin with {', '.join(f'{name}://' for name in SCHEMES)}")
    if not named:
        raise ValueError("should name a server")
    options = {name.lower(): values[-1].lower() for name, values in parse_qs(parts.query).items()}
    unverified = (
        options.get("ssl_cert_reqs", "required") not in {"required", "cert_required"}
        or options.get("ssl_check_hostname", "true") != "true"
    )
    if unverified:
        raise ValueError("should verify the server: ssl_cert_reqs=required, no less")
    return value


def check_time_zone(value: str) -> str:
    """`value` if it is in the IANA database; else ValueError."""
    try:
        ZoneInfo(value)
    except (KeyError, ValueError, OSError):
        raise ValueError("should be an IANA time zone such as Europe/Berlin") from None
    return value


def check_signing_secret(value: SecretStr) -> SecretStr:
    """`value` if it is a secret of Standard Webhooks; else ValueError.

    Source     Standard Webhooks 1.0, "Signature scheme": 24 to 64 bytes, base64, prefix whsec_
    """
    head, prefix, tail = value.get_secret_value().partition("whsec_")
    try:
        key = base64.b64decode(tail, validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if head or not prefix or not 24 <= len(key) <= 64:
        raise ValueError("should be whsec_ and the base64 of 24 to 64 random bytes")
    return value


def split_names(value: object) -> object:
    """A comma-separated text as a tuple of names; anything else as it is.

    >>> split_names("country, plan")
    ('country', 'plan')
    """
    if isinstance(value, str):
        return tuple(name.strip() for name in value.split(",") if name.strip())
    return value


def check_names(value: tuple[str, ...]) -> tuple[str, ...]:
    """The names, sorted, each once; ValueError when one could not be a trait."""
    if not all(re.fullmatch(r"[A-Za-z0-9_.$-]{1,64}", name) for name in value):
        raise ValueError("should be names of up to 64 letters, digits or _.$- with commas between")
    return tuple(sorted(set(value)))


def check_texts(value: tuple[str, ...]) -> tuple[str, ...]:
    """The texts, sorted, each once; ValueError when one could be neither item nor category."""
    if not all(0 < len(text) <= 256 and text.isprintable() for text in value):
        raise ValueError("should be printable texts of up to 256 characters with commas between")
    return tuple(sorted(set(value)))


def split_days(value: object) -> object:
    """A comma-separated text as a tuple of numbers of days; a number as a tuple of one.

    >>> split_days("60, 180")
    ('60', '180')
    """
    return (value,) if isinstance(value, int) else split_names(value)


def check_horizons(value: tuple[int, ...]) -> tuple[int, ...]:
    """The horizons, rising, each once, without 30 and 90; ValueError when one is out of range."""
    further = sorted(set(value) - {30, 90})
    if len(further) > _MOST_HORIZONS or not all(1 <= days <= _LONGEST_DAYS for days in further):
        raise ValueError(f"should be up to {_MOST_HORIZONS} numbers from 1 to {_LONGEST_DAYS}")
    return tuple(further)


def upper(value: object) -> object:
    """Text in capitals; anything else as it is."""
    return value.upper() if isinstance(value, str) else value


ServerUrl = Annotated[SecretStr, AfterValidator(check_server_url)]
TimeZone = Annotated[str, AfterValidator(check_time_zone)]
SigningSecret = Annotated[SecretStr, AfterValidator(check_signing_secret)]
Names = Annotated[
    tuple[str, ...], NoDecode, BeforeValidator(split_names), AfterValidator(check_names)
]
Texts = Annotated[
    tuple[str, ...], NoDecode, BeforeValidator(split_names), AfterValidator(check_texts)
]
Horizons = Annotated[
    tuple[int, ...], NoDecode, BeforeValidator(split_days), AfterValidator(check_horizons)
]
Currency = Annotated[str, BeforeValidator(upper), Field(pattern=r"^[A-Z]{3}$")]
Level = Annotated[Literal["DEBUG", "INFO", "WARNING", "ERROR"], BeforeValidator(upper)]
