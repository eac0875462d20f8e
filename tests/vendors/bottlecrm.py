"""BottleCRM on this machine: a real CRM, from the package index, in an environment of its own.

`django-crm` needs Python 3.12, and installs packages named `common` and `contacts`: it never shares
an environment with ours. SQLite, one process, on loopback; webhooks may go to one loopback port.
"""

import os
import secrets
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import requests

from integrations.inbound.bottlecrm import verify
from integrations.outbound.errors import SignatureError
from tests.servers import free_port

PACKAGES = ("django-crm==1.35.0", "packaging")  # the latter is needed and not declared
FIELD_TYPES = {
    "text": "text",
    "number": "number",
    "integer": "number",
    "date": "date",
}
READY_S = 120.0

SETTINGS = '''
import ipaddress
import os

from crm.settings import *

DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.environ["CRM_DATABASE"],
        "OPTIONS": {"timeout": 20},
    }
}


class _NoMigrations(dict):
    """The tables are made from the models: the migrations speak PostgreSQL."""

    def __contains__(self, app):
        return True

    def __getitem__(self, app):
        return None


MIGRATION_MODULES = _NoMigrations()
CELERY_TASK_ALWAYS_EAGER = True
CELERY_BROKER_URL = "memory://"
CELERY_RESULT_BACKEND = "cache+memory://"

from webhooks import ssrf  # its guard refuses loopback: here it lets one port through

_is_blocked = ssrf.is_blocked
ssrf.is_blocked = lambda ip: ip != ipaddress.ip_address("127.0.0.1") and _is_blocked(ip)
ssrf._allowed_ports = lambda: {80, 443, int(os.environ["CRM_HOOK_PORT"])}
'''


def python312() -> str | None:
    """An interpreter that runs BottleCRM, or None."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    for name in ("python3.12", *map(str, sorted(pyenv.glob("3.12*/bin/python")))):
        found = shutil.which(name)
        check = "import sys, venv; sys.exit(sys.version_info[:2] != (3, 12))"
        if (
            found
            and not subprocess.run(
                [found, "-c", check], capture_output=True, check=False
            ).returncode
        ):
            return found
    return None


class Hooks:
    """Receives the CRM's webhooks, verifies their signatures as a receiver does, keeps them."""

    def __init__(self) -> None:
        self.secret = ""
        self.received: list[bytes] = []
        self.refused = 0
        hooks = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                """Quiet."""

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                if hooks.verify(self.headers.get("x-bottlecrm-signature", ""), body):
                    hooks.received.append(body)
                    self.send_response(204)
                else:
                    hooks.refused += 1
                    self.send_response(401)
                self.send_header("content-length", "0")
                self.end_headers()

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def verify(self, signature: str, body: bytes) -> bool:
        """Is the body signed with our secret, within five minutes of now?"""
        try:
            verify([self.secret], signature, body, now_s=int(time.time()))
        except SignatureError:
            return False
        return True

    def close(self) -> None:
        """Stop answering."""
        self._server.shutdown()
        self._server.server_close()


class BottleCrm:
    """A running CRM with one organization; `token` may read and write contacts.

    folder  keeps the environment and the empty database from one run to the next
    """

    def __init__(self, folder: Path, run: Path, hooks: Hooks) -> None:
        self._folder = folder
        self._log = run / "log"
        self._port = free_port()
        self.url = f"http://127.0.0.1:{self._port}"
        (run / "crm_settings.py").write_text(SETTINGS, encoding="utf-8")
        self._environment = {
            "PATH": f"{folder / 'venv' / 'bin'}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(run),
            "PYTHONPATH": str(run),
            "DJANGO_SETTINGS_MODULE": "crm_settings",
            "CRM_DATABASE": str(run / "crm.sqlite3"),
            "CRM_HOOK_PORT": str(hooks.port),
            "ENV_TYPE": "dev",
            "DEBUG": "True",
            "SECRET_KEY": secrets.token_hex(32),
            "ALLOWED_HOSTS": "localhost,127.0.0.1",
        }
        self._run = run
        self._session = requests.Session()
        self._session.trust_env = False
        self.token = ""
        self._make_database()
        self._process = self._start()
        self._sign_in()
        self._register(hooks)

    def call(self, method: str, path: str, **options: Any) -> Any:
        """One call as an administrator; its JSON."""
        answer = self._session.request(method, self.url + path, timeout=60, **options)
        assert answer.ok, f"{method} {path}: {answer.status_code} {answer.text[:300]}"
        return answer.json()

    def add_field(self, name: str, kind: str, label: str) -> None:
        """Declare a custom field of contacts."""
        field = {"target_model": "Contact", "key": name, "label": label}
        self.call("POST", "/api/custom-fields/", json=field | {"field_type": FIELD_TYPES[kind]})

    def contacts(self) -> dict[str, list[dict[str, Any]]]:
        """Every contact, by email address."""
        found: dict[str, list[dict[str, Any]]] = {}
        offset, size = 0, 100
        while True:
            page = self.call("GET", "/api/contacts/", params={"limit": size, "offset": offset})
            for contact in page["results"]:
                found.setdefault(contact["email"], []).append(contact)
            offset += size
            if offset >= page["contacts_count"]:
                return found

    def close(self) -> None:
        """End the process."""
        self._process.terminate()
        self._process.wait(20)

    def _make_database(self) -> None:
        empty = self._folder / "empty.sqlite3"
        if not empty.exists():
            self._django("migrate", "--run-syncdb")
            shutil.copy(self._environment["CRM_DATABASE"], empty)
        else:
            shutil.copy(empty, self._environment["CRM_DATABASE"])

    def _start(self) -> subprocess.Popen[bytes]:
        command = [
            str(self._folder / "venv/bin/gunicorn"), "crm.wsgi:application",
            "--bind", f"127.0.0.1:{self._port}", "--workers", "1", "--threads", "4",
        ]  # fmt: skip
        with self._log.open("ab") as log:
            return subprocess.Popen(
                command, cwd=self._run, env=self._environment, stdout=log, stderr=log
            )

    def _sign_in(self) -> None:
        told = self._django("devlogin", "--create", "admin@localhost.test")
        lines = [line.split() for line in told.splitlines()]
        (access,) = [words[1] for words in lines if words and words[0] == "access_token:"]
        deadline = time.monotonic() + READY_S
        while not self._answers():
            assert self._process.poll() is None, self._log.read_text()[-3000:]
            assert time.monotonic() < deadline, "the CRM did not start"
            time.sleep(0.2)
        self._bear(access)
        organization = self.call("POST", "/api/org/", json={"name": "crm-reflex"})["org"]["id"]
        switched = self.call("POST", "/api/auth/switch-org/", json={"org_id": organization})
        self._bear(switched["access_token"])
        scopes = ["contacts:read", "contacts:write"]
        made = self.call("POST", "/api/profile/tokens/", json={"name": "crm", "scopes": scopes})
        self.token = made["token"]

    def _register(self, hooks: Hooks) -> None:
        endpoint = {
            "name": "crm-reflex",
            "url": f"http://127.0.0.1:{hooks.port}/hook",
            "events": ["contact.created", "contact.updated"],
        }
        hooks.secret = self.call("POST", "/api/webhooks/", json=endpoint)["secret"]

    def _bear(self, token: str) -> None:
        self._session.headers["Authorization"] = f"Bearer {token}"

    def _answers(self) -> bool:
        try:
            return self._session.get(f"{self.url}/api/contacts/", timeout=5).status_code < 500
        except requests.RequestException:
            return False

    def _django(self, *words: str) -> str:
        command = [str(self._folder / "venv/bin/django-admin"), *words]
        done = subprocess.run(
            command,
            cwd=self._run,
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        return done.stdout


def install(python: str, folder: Path) -> None:
    """The CRM's own virtual environment; kept when it holds the wanted packages already."""
    wanted = "\n".join(PACKAGES)
    marker = folder / "installed"
    if marker.exists() and marker.read_text(encoding="utf-8") == wanted:
        return
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    subprocess.run([python, "-m", "venv", str(folder / "venv")], check=True)
    pip = [str(folder / "venv/bin/python"), "-m", "pip", "install", "--quiet", *PACKAGES]
    subprocess.run(pip, check=True, stdout=sys.stderr)
    marker.write_text(wanted, encoding="utf-8")


@contextmanager
def running(folder: Path, run: Path) -> Iterator[tuple[BottleCrm, Hooks]]:
    """An installed CRM and the receiver of its webhooks, for the length of a block."""
    hooks = Hooks()
    crm = None
    try:
        crm = BottleCrm(folder, run, hooks)
        yield crm, hooks
    finally:
        if crm is not None:
            crm.close()
        hooks.close()
