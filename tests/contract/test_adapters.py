"""One suite, every registered adapter, a real HTTP server: to be registered is to be under it."""

import pytest

from integrations.outbound.registry import names
from integrations.outbound.suite.contract import AdapterContract
from integrations.outbound.suite.kind import GROUP, kinds
from tests.contract.kinds import KINDS


class TestEveryRegisteredAdapter(AdapterContract):
    @pytest.fixture(params=sorted(names()))
    def kind(self, request):
        found = KINDS | kinds()
        assert request.param in found, f"{request.param}: no entry point of the group {GROUP}"
        return found[request.param]
