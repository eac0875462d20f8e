"""An installation on a real server, and scripts that fail where a test wants."""

import hashlib

import pytest

from tests.builders import Installation, failing
from worker.store import scripts


@pytest.fixture
def shop(redis_client):
    """An empty installation of two shards."""
    return Installation(redis_client).create()


@pytest.fixture
def fail_script(monkeypatch):
    """`fail_script(name, n)`: the script raises an error behind its n-th write; 0 = it works."""
    real = scripts.source

    def fail(name, at):
        def source(asked):
            text = real(asked)
            return failing(text, at) if at and asked == name else text

        def digest(asked):
            return hashlib.sha1(source(asked).encode(), usedforsecurity=False).hexdigest()

        monkeypatch.setattr(scripts, "source", source)
        monkeypatch.setattr(scripts, "digest", digest)

    return fail
