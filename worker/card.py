"""The card of a model version: what it is, made of what, how good, and what it is not for.

Source: Mitchell et al. (2019), "Model Cards for Model Reporting", FAT*
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from worker.card_texts import LIMITS, PURPOSE
from worker.store.watching import WatchStore
from worker.terminal import cell, instant, size, visible

if TYPE_CHECKING:
    from worker.bootstrap import Runtime
    from worker.store.models import Artifact

#: So many candidates are on the card, the best first; all are in `forecasts report --all`.
MOST_CANDIDATES: Final = 12
_CANDIDATE: Final = ("name", "chosen", "loss", "loss_se", "gain", "se", "auc", "ece", "verdict")
_WAY: Final = ("algorithm", "k", "auc", "spend_gini", "gain", "stability", "silhouette", "problem")
_MARKUP: Final = re.compile(r"([\\`*_{}\[\]<>#|])")


class Picture(NamedTuple):
    """A drawing beside the card.

    file   its name
    title  what it shows
    data   its bytes
    """

    file: str
    title: str
    data: bytes


def facts_of(active: Runtime, artifact: Artifact) -> dict[str, Any]:
    """Everything that the card tells, as plain data; what an older version does not know is None.

    Instants are ISO 8601 in UTC, sizes bytes, days dates.
    """
    kind, version, meta = artifact.kind, artifact.version, artifact.meta
    model = meta.get("model", {})
    live = active.models.current().versions.get(kind) == version
    verdict = active.models.verdict(kind, version)
    figures = WatchStore(active.client, active.keys).all()
    return {
        "kind": kind,
        "version": version,
        "live": live,
        "verdict": None if verdict is None else verdict.told(),
        "pinned": (kind, version) in active.models.pins(),
        "published": instant(meta.get("published_at_s")),
        "parent": meta.get("parent"),
        "trigger": meta.get("trigger"),
        "code_version": meta.get("code_version"),
        "python": meta.get("python"),
        "checksum": artifact.checksum,
        "signed": artifact.signed,
        "purpose": PURPOSE[kind],
        "limits": list(LIMITS[kind]),
        "data": {
            "as_of": instant(meta.get("as_of_s")),
            **{name: meta.get(name) for name in ("window", "watermarks")},
            **{name: meta.get(name) for name in _COUNTS},
        },
        "rows": meta.get("rows"),
        "features": meta.get("features") or model.get("features"),
        "parameters": meta.get("parameters"),
        "metrics": meta.get("metrics", []),
        "gate": meta.get("gate") or model.get("gate"),
        "candidates": _candidates(model),
        "arrays": {name: list(array.shape) for name, array in artifact.arrays.items()},
        "took": {name: meta.get(name) for name in ("cpu_s", "memory_peak_bytes")},
        "history": [
            {"at": instant(one.at_s), "before": one.before, "why": one.why}
            for one in active.models.log(kind)
            if one.version == version
        ],
        "watch": [one._asdict() for one in figures if (one.kind, one.version) == (kind, version)],
    }


_COUNTS: Final = ("customers", "buyers", "purchase_days", "orders", "catalog_items")


def _candidates(model: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What was tried, by head: forecasts per target and horizon, segments once."""
    ways = model.get("choice", {})
    if ways.get("ways"):
        return [{"of": "division", "note": ways.get("note", ""), "tried": list(ways["ways"])}]
    return [
        {
            "of": f"{told['target']}, {told['horizon_days']} days",
            "note": f"{told['chosen']}: {told['reason']}",
            "tried": sorted(
                told["candidates"], key=lambda row: (row.get("given_up", False), row["loss"])
            ),
        }
        for told in model.get("report", ())
        if isinstance(told, Mapping)
    ]


def markdown(facts: Mapping[str, Any], pictures: Sequence[Picture] = ()) -> str:
    """The card as Markdown; pictures are named by their files, in the same folder."""
    parts = [
        f"# Model card: {facts['kind']} {facts['version']}",
        facts["purpose"],
        _pairs(_version(facts)),
        "## Limits of use",
        "\n".join(f"- {limit}" for limit in facts["limits"]),
        "## Data",
        _pairs(_data(facts["data"])),
        "## Rows",
        *_rows(facts["rows"] or {}),
        "## Figures",
        _metrics(facts["metrics"]),
        "## Gate",
        _pairs(flat(facts["gate"])),
        *_tried(facts["candidates"]),
        "## Parameters",
        _pairs(flat(facts["parameters"])),
        "## Features",
        ", ".join(map(_text, facts["features"] or ())) or "None are told.",
        "## Since it was published",
        _table(("at", "before", "why"), [list(one.values()) for one in facts["history"]]),
        *_watched(facts["watch"]),
    ]
    for picture in pictures:
        parts += [f"## {picture.title}", f"![{picture.title}]({picture.file})"]
    return "\n\n".join(part for part in parts if part) + "\n"


def _version(facts: Mapping[str, Any]) -> list[tuple[str, object]]:
    took = facts["took"]
    peak = took["memory_peak_bytes"]
    names = (
        "live",
        "verdict",
        "pinned",
        "published",
        "trigger",
        "parent",
        "code_version",
        "python",
    )
    return [
        *((name.replace("_", " "), facts[name]) for name in names),
        ("checksum (SHA-256)", facts["checksum"]),
        ("signed", facts["signed"]),
        ("CPU of the fit, seconds", took["cpu_s"]),
        ("memory at its peak", None if peak is None else size(peak)),
    ]


def _data(data: Mapping[str, Any]) -> list[tuple[str, object]]:
    window, marks = data["window"] or {}, data["watermarks"] or {}
    reach = sorted(marks.values(), key=_position)
    return [
        ("cut at", data["as_of"]),
        ("first purchase", window.get("first_day")),
        ("last purchase", window.get("last_day")),
        ("time zone", window.get("time_zone")),
        *((name.replace("_", " "), data[name]) for name in _COUNTS),
        ("shards read", len(marks) or None),
        ("stream positions, from", reach[0] if reach else None),
        ("stream positions, to", reach[-1] if reach else None),
    ]


def _position(mark: str) -> tuple[int, int]:
    first, _, second = mark.partition("-")
    return int(first or 0), int(second or 0)


def _rows(rows: Mapping[str, Any]) -> list[str]:
    """Counts as lines, lists of fits and backtests as tables."""
    lists = {name: part for name, part in rows.items() if isinstance(part, list) and part}
    parts = [_pairs(flat({k: v for k, v in rows.items() if not isinstance(v, list)}))]
    for name, part in lists.items():
        columns = list(part[0])
        parts += [f"### {name}", _table(columns, [[one.get(c) for c in columns] for one in part])]
    return parts


def _metrics(metrics: Sequence[Mapping[str, Any]]) -> str:
    if not metrics:
        return "None were measured."
    rows = [
        (
            one["name"],
            one["value"],
            None if one["low"] is None else f"{cell(one['low'])} to {cell(one['high'])}",
            one["rows"],
            one["on"],
        )
        for one in metrics
    ]
    return _table(("figure", "value", "95 % interval", "rows", "on"), rows)


def _tried(candidates: Iterable[Mapping[str, Any]]) -> list[str]:
    parts = []
    for one in candidates:
        tried = one["tried"][:MOST_CANDIDATES]
        columns = _WAY if one["of"] == "division" else _CANDIDATE
        rows = [[row.get(name) for name in columns] for row in tried]
        parts += [f"### Tried: {one['of']}", _text(one["note"]), _table(columns, rows)]
    return parts


def _watched(figures: Sequence[Mapping[str, Any]]) -> list[str]:
    if not figures:
        return []
    rows = [(one["name"], one["value"], one["threshold"], instant(one["at_s"])) for one in figures]
    shown = "Without a threshold a figure asks for nothing."
    return [_table(("figure", "value", "asks above", "measured"), rows), shown]


def flat(told: object, prefix: str = "") -> list[tuple[str, object]]:
    """Nested facts as named lines; a list of objects has its numbers in the names.

    >>> flat({"a": {"b": 1}, "c": [{"d": 2}], "e": [3, 4]})
    [('a.b', 1), ('c.1.d', 2), ('e', [3, 4])]
    """
    if isinstance(told, Mapping):
        inner: Iterable[tuple[object, object]] = told.items()
    elif isinstance(told, list | tuple) and any(isinstance(one, Mapping) for one in told):
        inner = enumerate(told, 1)
    else:
        return [(prefix.rstrip("."), told)] if prefix else []
    return [line for name, value in inner for line in flat(value, f"{prefix}{name}.")]


def _pairs(rows: Iterable[tuple[str, object]]) -> str:
    return _table(("", ""), [row for row in rows if row[1] not in (None, "", [], ())])


def _table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    if not rows:
        return "Nothing."
    lines = [list(columns), ["---"] * len(columns)]
    lines += [[_text(cell(value)) for value in row] for row in rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _text(value: object) -> str:
    """Data, not markup: what would mean something to Markdown or a terminal is spelled out."""
    return _MARKUP.sub(r"\\\1", visible(str(value)).replace("\n", " "))
