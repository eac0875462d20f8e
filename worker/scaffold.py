"""The text of a new destination for the destinations file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from integrations.outbound.options import AdapterOptions


class Starter(NamedTuple):
    """A field that a new mapping begins with."""

    source: str
    name: str
    more: str = ""


STARTERS: Final = (
    Starter("segment.name", "segment"),
    Starter("p_alive", "p_alive", "round = 2\ndead_band = 0.02"),
    Starter("purchase_probability_30d", "purchase_30d", "round = 2\ndead_band = 0.02"),
    Starter("predicted_clv", "predicted_clv", "round = 0\ndead_band = 5"),
    Starter("expected_date_of_next_order", "next_order"),
    Starter("buy_again.item_id", "buy_again", "max_items = 3"),
)


def lacking(
    model: type[AdapterOptions], options: Mapping[str, str], secrets: Mapping[str, str]
) -> list[str]:
    """What must be given besides, and what the adapter does not know; one line each."""
    known, hidden = model.model_fields, model.secret_names()
    lines = [f"--option {name}: no such option" for name in options if name not in known]
    lines += [f"--secret {name}: no such secret" for name in secrets if name not in hidden]
    lines += [
        f"--option {name}: is a secret: give --secret {name}=env:VARIABLE"
        for name in options
        if name in hidden
    ]
    for name, field in known.items():
        if field.is_required() and name not in options and name not in secrets:
            how = f"--secret {name}=env:VARIABLE" if name in hidden else f"--option {name}=..."
            lines.append(f"{name} is needed: {how}")
    return lines


def table(
    name: str,
    adapter: str,
    options: Mapping[str, str],
    secrets: Mapping[str, str],
    *,
    targets: Sequence[str],
) -> str:
    """A table in TOML.

    options  values as typed: what reads as a number or a boolean is one
    secrets  option -> env:NAME or file:PATH
    targets  fields of the CRM, one for each of `STARTERS`; none: the whole insight is sent
    """
    lines = [f"[destinations.{name}]", f"adapter = {json.dumps(adapter)}"]
    lines += [f"options.{key} = {_value(value)}" for key, value in options.items()]
    for key, reference in secrets.items():
        how, _, where = reference.partition(":")
        lines.append(f"options.{key} = {{ {how} = {json.dumps(where)} }}")
    for starter, target in zip(STARTERS if targets else (), targets, strict=False):
        lines += ["", f"[[destinations.{name}.fields]]", f"source = {json.dumps(starter.source)}"]
        lines += [f"target = {json.dumps(target)}", *starter.more.splitlines()]
    return "\n".join(lines) + "\n"


def _value(text: str) -> str:
    if text in {"true", "false"} or text.lstrip("-").isdecimal():
        return text
    return json.dumps(text, ensure_ascii=False)
