"""The only code that talks to a network: one call, one answer or one TransportError.

The transport adapters of requests are used without its Session, so there are no redirects,
cookies, proxies or netrc, whatever the environment says.
"""

from functools import lru_cache
from http.client import HTTPException
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any, Final
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from requests_hardened.ip_filter import InvalidIPAddress
from requests_hardened.ip_filter_adapter import IPFilterAdapter
from urllib3.exceptions import HTTPError

from integrations.outbound.contract import HttpCall, Response
from integrations.outbound.deadline import Deadline, WatchedHTTPPool, WatchedHTTPSPool
from integrations.outbound.errors import DeadlineError, ForbiddenTargetError, TransportError

USER_AGENT: Final = "crm-reflex"
_POOLS: Final = {"http": WatchedHTTPPool, "https": WatchedHTTPSPool}


class _Guarded(IPFilterAdapter):  # type: ignore[misc]  # it ships no types
    """Resolves once, refuses addresses that are not public, connects to the address it checked."""

    def build_connection_pool_key_attributes(self, *args: Any, **kwargs: Any) -> Any:
        host, pool = super().build_connection_pool_key_attributes(*args, **kwargs)
        if not _is_public(ip_address(host["host"].strip("[]"))):
            raise InvalidIPAddress(host["host"])
        return host, pool

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = _POOLS


def _is_public(address: IPv4Address | IPv6Address) -> bool:
    """Stricter than the filter: neither site-local nor IPv4-compatible addresses of IPv6."""
    if not address.is_global:
        return False
    return address.version == 4 or not (address.is_site_local or int(address) >> 32 == 0)


class _Open(HTTPAdapter):
    """For hosts that the operator vouches for."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = _POOLS


class HttpSender:
    """Sends calls over kept connections; safe for use by several threads.

    trusted_hosts  host names or addresses that may be private or loopback, and may speak plain
                   http; operators set them, never whoever chooses an endpoint's URL
    deadline_s     for the whole call after the name is resolved: connect, TLS, send, answer
    connect_s      for the connection alone
    ca_file        bundle of authorities to trust instead of the public ones
    """

    def __init__(
        self,
        *,
        trusted_hosts: frozenset[str] = frozenset(),
        deadline_s: float = 15.0,
        connect_s: float = 5.0,
        ca_file: str | None = None,
    ) -> None:
        self._trusted = frozenset(host.lower() for host in trusted_hosts)
        self._deadline_s = deadline_s
        self._timeout = (min(connect_s, deadline_s), deadline_s)
        self._verify: bool | str = ca_file or True
        self._guarded = _Guarded(is_https_proto=True)
        self._open = _Open()

    def send(self, call: HttpCall) -> Response:
        """Make the call once; raise TransportError if no complete answer came.

        Raises  ForbiddenTargetError (nothing was sent), DeadlineError, TransportError
        """
        request = _prepared(call)
        adapter = self._adapter(str(request.url))
        with Deadline(self._deadline_s) as deadline:
            try:
                answer = adapter.send(
                    request, stream=True, timeout=self._timeout, verify=self._verify, proxies={}
                )
                response = _read(answer, call.max_answer)
            except InvalidIPAddress:
                raise ForbiddenTargetError("the host resolves to a private address") from None
            except (requests.RequestException, HTTPError, HTTPException, OSError, ValueError) as e:
                if deadline.passed:
                    raise self._late() from None
                raise TransportError(type(e).__name__) from None
            if deadline.passed:
                raise self._late()
            return response

    def close(self) -> None:
        """Close the kept connections."""
        self._guarded.close()
        self._open.close()

    def _late(self) -> DeadlineError:
        return DeadlineError(f"no complete answer within {self._deadline_s:g} s")

    def _adapter(self, url: str) -> HTTPAdapter:
        parts = urlsplit(url)
        if (parts.hostname or "").lower() in self._trusted:
            return self._open
        if parts.scheme != "https":
            raise ForbiddenTargetError("plain http goes to trusted hosts only")
        return self._guarded


def _prepared(call: HttpCall) -> requests.PreparedRequest:
    """The request as it will be sent: the URL that is checked is the one that is used."""
    headers = {"user-agent": USER_AGENT, "accept-encoding": "identity", **call.headers}
    request = requests.PreparedRequest()
    try:
        request.url = _checked(call.url)
        request.prepare_method(call.method)
        request.prepare_headers(headers)
        request.prepare_body(call.body, None)
        request.prepare_hooks(None)
    except (requests.RequestException, ValueError) as error:
        raise ForbiddenTargetError(f"the call can't be made: {type(error).__name__}") from None
    return request


@lru_cache(maxsize=1024)
def _checked(url: str) -> str:
    """The URL as it will be called; the same one is called again and again.

    Raises  ForbiddenTargetError, RequestException, ValueError
    """
    if any(sign <= " " or sign in "\\\x7f" for sign in url):
        raise ForbiddenTargetError("the URL holds a space, a control character or a backslash")
    request = requests.PreparedRequest()
    request.prepare_url(url, None)
    parts = urlsplit(str(request.url))
    forbidden = "@" in parts.netloc or parts.scheme not in {"http", "https"}
    if forbidden or "@" in urlsplit(url).netloc or not parts.hostname:
        raise ForbiddenTargetError("the URL has another scheme than http(s), a user, or no host")
    return str(request.url)


def _read(answer: requests.Response, most: int) -> Response:
    """The answer with at most so many bytes of body, not decompressed."""
    body: bytes = b""
    truncated = True
    try:
        while len(body) <= most:
            more = answer.raw.read(most + 1 - len(body), decode_content=False)
            if not more:  # only the read at the end tells whether bytes that were promised lack
                truncated = False
                break
            body += more
    finally:
        if truncated:
            answer.close()  # an unread rest would be taken for the next answer
        else:
            answer.raw.release_conn()
    headers = {name.lower(): value for name, value in answer.headers.items()}
    return Response(answer.status_code, headers, body[:most], truncated)
