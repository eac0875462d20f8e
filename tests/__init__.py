"""Makes `tests.servers` and `tests.proxy` importable."""
