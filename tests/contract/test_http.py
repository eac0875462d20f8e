"""The network code against receivers that misbehave."""

import socket
import ssl
import threading
import time
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from integrations.outbound.contract import MAX_ANSWER, HttpCall
from integrations.outbound.errors import DeadlineError, ForbiddenTargetError, TransportError
from integrations.outbound.http import HttpSender
from tests.contract.crm import running


def call(url, method="POST", **headers):
    return HttpCall(adapter="test", method=method, url=url, headers=headers, body=b"{}")


@pytest.fixture
def hasty():
    sender = HttpSender(trusted_hosts=frozenset({"127.0.0.1"}), deadline_s=0.6, connect_s=0.3)
    yield sender
    sender.close()


def seconds(action):
    started = time.monotonic()
    with pytest.raises(TransportError) as caught:
        action()
    return time.monotonic() - started, caught.value


def test_an_answer_arrives_with_status_lower_case_headers_and_body(crm, sender):
    crm.will_answer(207, headers={"X-Trace": "T1"}, body=b'{"ok":1}')
    response = sender.send(call(crm.url, **{"x-own": "1"}))
    assert (response.status, response.body, response.truncated) == (207, b'{"ok":1}', False)
    assert response.headers["x-trace"] == "T1"
    (request,) = crm.received
    assert request.headers["x-own"] == "1"
    assert request.headers["user-agent"] == "crm-reflex"
    assert request.headers["accept-encoding"] == "identity"


def test_a_connection_is_used_again_but_not_after_an_unread_rest(crm, sender):
    for _ in range(3):
        sender.send(call(crm.url))
    assert len(crm.connections) == 1
    crm.will_answer(200, body=b"x" * 1_000_000)
    assert sender.send(call(crm.url)).truncated
    assert sender.send(call(crm.url)).body == b""
    assert len(crm.connections) == 2


def test_a_huge_body_is_cut_at_64_kib(crm, sender):
    crm.will_answer(200, body=b"x" * 5_000_000)
    response = sender.send(call(crm.url))
    assert (len(response.body), response.truncated) == (MAX_ANSWER, True)


def test_a_compressed_body_is_not_expanded(crm, sender):
    crm.will_answer(200, headers={"Content-Encoding": "gzip"}, body=b"not even gzip")
    assert sender.send(call(crm.url)).body == b"not even gzip"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_answers(crm, sender, status):
    crm.will_answer(status, headers={"Location": "http://169.254.169.254/latest/meta-data"})
    assert sender.send(call(crm.url)).status == status
    assert len(crm.received) == 1


@pytest.mark.parametrize(
    "answer",
    [
        {"drip_s": 0.1},  # status line and headers
        {"drip_s": 0.02, "body": b"x" * 1000},
        {"hang": True},
    ],
)
def test_no_receiver_holds_a_call_beyond_the_total_deadline(crm, hasty, answer):
    crm.will_answer(200, **answer)
    elapsed, error = seconds(lambda: hasty.send(call(crm.url)))
    assert isinstance(error, DeadlineError)
    assert elapsed < 1.5


def test_the_deadline_holds_on_a_kept_connection_too(crm, hasty):
    assert hasty.send(call(crm.url)).status == 200
    crm.will_answer(200, drip_s=0.1, body=b"x" * 100)
    elapsed, error = seconds(lambda: hasty.send(call(crm.url)))
    assert isinstance(error, DeadlineError)
    assert elapsed < 1.5
    assert hasty.send(call(crm.url)).status == 200


def test_the_deadline_holds_in_a_tls_handshake_that_never_ends(hasty):
    with socket.create_server(("127.0.0.1", 0)) as server:

        def drip():
            connection, _ = server.accept()
            with connection:
                try:
                    for byte in b"\x16\x03\x03\x40\x00" + b"\x02" * 200:
                        connection.sendall(bytes([byte]))
                        time.sleep(0.05)
                except OSError:
                    return

        thread = threading.Thread(target=drip)
        thread.start()
        url = f"https://127.0.0.1:{server.getsockname()[1]}/"
        elapsed, _ = seconds(lambda: hasty.send(call(url)))
        thread.join()
    assert elapsed < 1.5


@pytest.mark.parametrize("answer", [{"reset": True}, {"body": b"half", "lie_bytes": 10}])
def test_a_broken_answer_is_a_transport_error_that_names_no_url(crm, sender, answer):
    crm.will_answer(200, **answer)
    with pytest.raises(TransportError) as caught:
        sender.send(call(crm.url + "/token-in-path"))
    assert type(caught.value) is TransportError
    assert "token-in-path" not in repr(caught.value)


def test_a_refused_connection_is_a_transport_error(sender):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(TransportError):
        sender.send(call(f"http://127.0.0.1:{port}/"))


def test_the_environment_sends_nothing_through_a_proxy(crm, sender, monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert sender.send(call(crm.url)).status == 200


def test_cookies_of_an_answer_are_not_sent_back(crm, sender):
    crm.will_answer(200, headers={"Set-Cookie": "session=1; Path=/"})
    sender.send(call(crm.url))
    sender.send(call(crm.url))
    assert "cookie" not in crm.received[1].headers


FORBIDDEN = [
    "https://127.0.0.1/",
    "https://127.1/",
    "https://2130706433/",
    "https://0x7f000001/",
    "https://0/",
    "https://localhost/",
    "https://[::1]/",
    "https://[::ffff:127.0.0.1]/",
    "https://[::ffff:10.0.0.1]/",
    "https://[64:ff9b::a00:1]/",
    "https://[2002:7f00:1::]/",
    "https://[fd00::1]/",
    "https://[fe80::1]/",
    "https://10.0.0.1/",
    "https://172.16.0.1/",
    "https://192.168.1.1/",
    "https://100.64.0.1/",
    "https://169.254.169.254/latest/meta-data/",
    "https://198.18.0.1/",
    "https://224.0.0.1/",
    "https://240.0.0.1/",
    "https://255.255.255.255/",
    "http://example.com/",
    "ftp://example.com/",
    "file:///etc/passwd",
    "https://user:pass@example.com/",
    "https:///nowhere",
    "https://127.0.0.1:8080\\@example.com/",
    "https://exa mple.com/",
    "https://example.com/\r\nx: y",
    "https://example.com:port/",
    "",
]


@pytest.mark.parametrize("url", FORBIDDEN)
def test_addresses_that_are_not_public_are_refused_before_a_byte_is_sent(url):
    sender = HttpSender(deadline_s=2.0, connect_s=1.0)
    with pytest.raises(ForbiddenTargetError):
        sender.send(call(url))
    sender.close()


def test_a_name_that_resolves_to_loopback_is_refused_unless_the_operator_trusts_it(crm):
    url = crm.url.replace("127.0.0.1", "localhost")
    strict = HttpSender(trusted_hosts=frozenset({"127.0.0.1"}))
    with pytest.raises(ForbiddenTargetError):
        strict.send(call(url))
    trusting = HttpSender(trusted_hosts=frozenset({"LOCALHOST"}))
    assert trusting.send(call(url)).status == 200
    strict.close()
    trusting.close()


def test_trust_in_a_host_is_not_trust_in_names_that_begin_like_it(crm):
    sender = HttpSender(trusted_hosts=frozenset({"127.0.0.1"}))
    for host in ("127.0.0.1.nip.example", "127.0.0.1@10.0.0.1"):
        with pytest.raises(ForbiddenTargetError):
            sender.send(call(f"http://{host}/"))
    sender.close()


def test_a_name_that_changes_its_address_between_check_and_use_gains_nothing(monkeypatch):
    answers = iter(["93.184.216.34", "127.0.0.1", "127.0.0.1"])
    asked = []

    def rebinding(host, port, *args, **kwargs):
        asked.append(host)
        address = next(answers) if host == "rebind.example" else host
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    connected = []

    class RefusedError(OSError):
        pass

    def connect(self, address):
        connected.append(address[0])
        raise RefusedError

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)
    monkeypatch.setattr(socket.socket, "connect", connect)
    sender = HttpSender()
    with pytest.raises(TransportError):
        sender.send(call("https://rebind.example/"))
    sender.close()
    assert connected == ["93.184.216.34"]


def test_a_header_that_would_start_another_is_refused(crm, sender):
    with pytest.raises(TransportError):
        sender.send(call(crm.url, **{"x-own": "1\r\nx-other: 2"}))
    assert not crm.received


@pytest.mark.parametrize("url", ["https://[fec0::1]/", "https://[::7f00:1]/", "https://[::a00:1]/"])
def test_outdated_kinds_of_private_addresses_are_refused_too(url):
    sender = HttpSender(deadline_s=2.0, connect_s=1.0)
    with pytest.raises(ForbiddenTargetError):
        sender.send(call(url))
    sender.close()


def test_a_call_may_ask_for_more_of_the_answer_and_for_less(crm, sender):
    for most in (10, MAX_ANSWER * 2):
        crm.will_answer(200, body=b"x" * (MAX_ANSWER + 5))
        response = sender.send(HttpCall("test", "GET", crm.url, {}, b"", max_answer=most))
        expected = min(most, MAX_ANSWER + 5)
        assert (len(response.body), response.truncated) == (expected, most == 10)


class TestTls:
    """A server with a certificate of an authority of our own, for the name `localhost`."""

    @pytest.fixture
    def authority(self, tmp_path):
        return certificate(tmp_path)

    @pytest.fixture
    def url(self, authority):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(authority)
        with running() as crm:
            crm._server.socket = context.wrap_socket(crm._server.socket, server_side=True)
            yield crm.url.replace("http://127.0.0.1", "https://localhost")

    def sender(self, **options):
        return HttpSender(
            trusted_hosts=frozenset({"localhost", "127.0.0.1"}), deadline_s=5.0, **options
        )

    def test_an_unknown_authority_is_refused_whatever_the_environment_says(
        self, url, authority, monkeypatch
    ):
        for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
            monkeypatch.setenv(name, str(authority))
        sender = self.sender()
        with pytest.raises(TransportError, match="SSLError"):
            sender.send(call(url))
        sender.close()

    def test_a_known_authority_is_trusted_for_the_names_it_certified(self, url, authority):
        sender = self.sender(ca_file=str(authority))
        assert sender.send(call(url)).status == 200
        with pytest.raises(TransportError, match="SSLError"):
            sender.send(call(url.replace("localhost", "127.0.0.1")))
        sender.close()


def certificate(folder):
    """A self-signed certificate of `localhost` with its key, in one PEM file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    path = folder / "localhost.pem"
    path.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    return path
