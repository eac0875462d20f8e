"""A private receiver and a sender for every test of the contract."""

import pytest

from integrations.outbound.http import HttpSender
from tests.contract.crm import running


@pytest.fixture
def crm():
    with running() as crm:
        yield crm


@pytest.fixture
def sender():
    sender = HttpSender(trusted_hosts=frozenset({"127.0.0.1"}), deadline_s=5.0, connect_s=2.0)
    yield sender
    sender.close()
