"""What is known about a customer: one module per kind of insight, put together by `write`."""
