"""Reliability of the forecasts as PNG or SVG. matplotlib is an extra: `crm-reflex[plots]`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from worker.failures import RefusedError

_FORMATS: Final = (".png", ".svg")


def draw(heads: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draw forecast against outcome of P(buy) on the closed windows, a line per horizon.

    Raises  RefusedError: neither .png nor .svg, no matplotlib, no such folder, nothing to draw
    """
    if path.suffix not in _FORMATS:
        raise RefusedError(f"{path}: the name should end with {' or '.join(_FORMATS)}")
    if not path.absolute().parent.is_dir():
        raise RefusedError(f"{path}: there is no such folder")
    if not any(head["target"] == "buy" and head.get("reliability") for head in heads):
        raise RefusedError("no window of this version is closed: there is nothing to draw")
    try:
        figure = reliability(heads)
    except ImportError:
        raise RefusedError("plots need matplotlib: pip install 'crm-reflex[plots]'") from None
    figure.savefig(path)


def reliability(heads: Sequence[Mapping[str, Any]]) -> Any:
    """The figure of `draw`; raise ImportError without matplotlib."""
    from matplotlib.figure import Figure  # noqa: PLC0415  an extra

    lines = [head for head in heads if head["target"] == "buy" and head.get("reliability")]
    figure = Figure(figsize=(6.0, 6.0))
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="grey", linewidth=1, label="perfect")
    for head in lines:
        said, came = head["reliability"]
        axes.plot(said, came, marker="o", label=f"{head['horizon_days']} days: {head['chosen']}")
    axes.set(xlabel="forecast P(buy)", ylabel="share that bought", xlim=(0, 1), ylim=(0, 1))
    axes.legend()
    return figure
