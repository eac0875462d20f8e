"""URLs of a server that Sentinels watch over: sentinel://[user:password@]host:port,host:port/service.

The service is the name under which the Sentinels know the primary; `/service/2` is its database 2.
"""

from __future__ import annotations

from typing import Final, NamedTuple
from urllib.parse import unquote, urlsplit

SCHEME: Final = "sentinel"
PORT: Final = 26379


class SentinelUrl(NamedTuple):
    """The Sentinels, and what they are asked for; the credentials are those of the servers."""

    hosts: tuple[tuple[str, int], ...]
    service: str
    database: int
    username: str | None
    password: str | None


def is_sentinel(url: str) -> bool:
    """Does the URL name Sentinels?"""
    return url.startswith(f"{SCHEME}://")


def read(url: str) -> SentinelUrl:
    """Take a URL apart.

    Raises ValueError, without the value, when it is none of this form.

    >>> read("sentinel://a:26380,b/reflex").hosts
    (('a', 26380), ('b', 26379))
    """
    parts = urlsplit(url)
    service, _, database = parts.path.strip("/").partition("/")
    credentials, _, hosts = parts.netloc.rpartition("@")
    username, _, password = credentials.partition(":")
    named = [host.rpartition(":") if ":" in host else (host, "", "") for host in hosts.split(",")]
    try:
        found = tuple((host, int(port or PORT)) for host, _, port in named)
        number = int(database or 0)
    except ValueError:
        raise ValueError("should be sentinel://host:port,host:port/service") from None
    if not (parts.scheme == SCHEME and service and all(host for host, _ in found)) or parts.query:
        raise ValueError("should be sentinel://host:port,host:port/service")
    return SentinelUrl(found, service, number, unquote(username) or None, unquote(password) or None)


def broker_urls(url: str) -> str:
    """The same as kombu writes it; the service goes into its transport options.

    >>> broker_urls("sentinel://:secret@a:26380,b/reflex")
    'sentinel://:secret@a:26380/0;sentinel://:secret@b:26379/0'
    """
    told = read(url)
    credentials, at, _ = urlsplit(url).netloc.rpartition("@")
    return ";".join(
        f"{SCHEME}://{credentials}{at}{host}:{port}/{told.database}" for host, port in told.hosts
    )
