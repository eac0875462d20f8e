"""Processes, Redis and Celery: what composes `models` and `integrations` into a service."""
