"""The contract suite: what every adapter must do, against a vendor of its own on loopback.

Needs the extra `adapters` (pytest, hypothesis). docs/adapters/adding.md shows its use.
"""

import pytest

pytest.register_assert_rewrite("integrations.outbound.suite.contract")
