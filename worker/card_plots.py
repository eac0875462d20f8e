"""Pictures of a model card, as PNG or SVG. matplotlib is an extra: `crm-reflex[plots]`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from io import BytesIO
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import numpy as np

from worker.card import Picture
from worker.failures import RefusedError
from worker.forecast_plots import reliability
from worker.live import load
from worker.segment_plots import drawn

if TYPE_CHECKING:
    from worker.store.models import Artifact

Format: TypeAlias = Literal["svg", "png"]

_MOST_BARS: Final = 14


def pictures(artifact: Artifact, facts: Mapping[str, Any], file_format: Format) -> list[Picture]:
    """What can be drawn of a version; equal versions give equal bytes.

    Raises  RefusedError without matplotlib, ArtifactError
    """
    try:
        import matplotlib as mpl  # noqa: PLC0415  an extra, and slow to load
    except ImportError:
        raise RefusedError("plots need matplotlib: pip install 'crm-reflex[plots]'") from None
    stem = f"{artifact.kind}-{artifact.version}"
    made = []
    with mpl.rc_context({"svg.hashsalt": "crm-reflex"}):
        for name, title, data in _DRAWERS[artifact.kind](artifact, facts, file_format):
            made.append(Picture(f"{stem}-{name}.{file_format}", title, data))
    return made


_Drawn: TypeAlias = list[tuple[str, str, bytes]]


def _segments(artifact: Artifact, facts: Mapping[str, Any], file_format: Format) -> _Drawn:
    model: Any = load(artifact)
    found = [
        ("centers", "Centers of the segments", drawn("bars", model, np.zeros((0, 0)), file_format))
    ]
    for one in facts["candidates"]:
        rows = [(f"{way['algorithm']} {way['k']}", way["gain"], None) for way in one["tried"]]
        data = _bars(rows, "gain on the last window", file_format)
        found.append(("ways", "What each division was worth", data))
    return found


def _recommendations(artifact: Artifact, _facts: Mapping[str, Any], file_format: Format) -> _Drawn:
    weights = np.asarray(artifact.arrays["weights"], dtype=np.float64)
    names = list(artifact.meta["model"]["features"])
    found = []
    for row, of in zip(weights, ("everything", "buy again", "new for you"), strict=True):
        strength = np.abs(row[: len(names)]) + np.abs(row[len(names) :])
        order = np.argsort(-strength, kind="stable")[:_MOST_BARS]
        rows = [(names[at], float(strength[at]), None) for at in order.tolist()]
        title = f"What the list '{of}' looks at"
        found.append((of.replace(" ", "-"), title, _bars(rows, "absolute weight", file_format)))
    return found


def _forecasts(_artifact: Artifact, facts: Mapping[str, Any], file_format: Format) -> _Drawn:
    found = []
    heads = list(_artifact.meta["model"].get("report", ()))
    if any(head["target"] == "buy" and head.get("reliability") for head in heads):
        data = _bytes(reliability(heads), file_format)
        found.append(("reliability", "Forecast against outcome of P(buy)", data))
    for one in facts["candidates"]:
        if one["tried"]:
            rows = [(row["name"], row["gain"], row["se"]) for row in one["tried"]]
            data = _bars(rows, "gain over level 1, with its standard error", file_format)
            name = "gain-" + one["of"].replace(", ", "-").replace(" ", "-")
            found.append((name, f"Candidates: {one['of']}", data))
    return found


def _bars(rows: Sequence[tuple[str, float, float | None]], label: str, file_format: str) -> bytes:
    """Values by name, the first on top, with errors where there are any."""
    from matplotlib.figure import Figure  # noqa: PLC0415  an extra

    shown = rows[:_MOST_BARS]
    figure = Figure(figsize=(8.0, 1.2 + 0.32 * len(shown)), layout="constrained")
    axes = figure.subplots()
    errors = [error or 0.0 for _, _, error in shown]
    places = np.arange(len(shown))
    axes.barh(places, [value for _, value, _ in shown], xerr=errors if any(errors) else None)
    axes.set_yticks(places, [name for name, _, _ in shown])
    axes.invert_yaxis()
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_xlabel(label)
    return _bytes(figure, file_format)


def _bytes(figure: Any, file_format: str) -> bytes:
    buffer = BytesIO()
    undated = {"Date": None} if file_format == "svg" else {"Software": None}
    figure.savefig(buffer, format=file_format, dpi=120, metadata=undated)
    return buffer.getvalue()


_DRAWERS: Final[Mapping[str, Callable[[Artifact, Mapping[str, Any], Format], _Drawn]]] = {
    "segments": _segments,
    "recommendations": _recommendations,
    "forecasts": _forecasts,
}
