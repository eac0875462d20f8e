"""A training that an event asks for: `Model Retrain Requested`."""

from __future__ import annotations

from typing import Final, NamedTuple

from integrations.inbound.names import RETRAIN_REQUESTED
from integrations.inbound.reading import Reading, parse, unwrap
from integrations.inbound.segment import MODELS

__all__ = ["RETRAIN_REQUESTED", "RetrainAsked", "retrain_in"]

#: The version's reason where the event gives none.
REASON: Final = "requested by an event"


class RetrainAsked(NamedTuple):
    """What a valid event asks for.

    models  names of models, each once
    reason  kept with the versions
    """

    models: tuple[str, ...]
    reason: str


def retrain_in(raw: bytes, reading: Reading) -> RetrainAsked:
    """What an event asks for that `integrations.facts.read_events` has taken as a fact.

    >>> raw = b'{"type": "track", "event": "Model Retrain Requested", "userId": "crm"}'
    >>> retrain_in(raw, Reading()).models
    ('segments', 'recommendations', 'forecasts')
    """
    call = parse(raw, reading)
    if "specversion" in call:
        call, _ = unwrap(call)
    properties = call.get("properties") or {}
    models = tuple(dict.fromkeys(properties.get("models") or MODELS))
    return RetrainAsked(models, (properties.get("reason") or "").strip() or REASON)
