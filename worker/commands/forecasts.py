"""Forecasts: why the live ones were chosen, and how well calibrated the candidates were."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from worker.failures import RefusedError
from worker.session import session
from worker.terminal import AsJson, examples, show, show_json, table

_COLUMNS = (
    "name", "loss", "gain", "se", "auc", "ece", "gini", "bias", "coverage80", "windows_lost",
    "verdict",
)  # fmt: skip
_SHOWN = 12


def register(app: typer.Typer) -> None:
    """Add the commands of this group."""
    group = typer.Typer(no_args_is_help=True, help="Forecasts: how they were chosen.")
    group.callback()(_group)
    group.command(
        "report",
        epilog=examples(
            "crm-reflex forecasts report",
            "crm-reflex forecasts report --plot calibration.svg",
        ),
    )(report)
    app.add_typer(group, name="forecasts")


def _group() -> None:
    """Nothing of its own: it keeps `report` a word of its own."""


def report(
    version: Annotated[int | None, typer.Option(min=1, help="The live one if not given.")] = None,
    plot: Annotated[
        Path | None, typer.Option(help="Draw the reliability of P(buy) into a PNG or SVG.")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="All candidates, not the best 12.")] = False,
    as_json: AsJson = False,
) -> None:
    """Per target and horizon: the winner, the reason, and the candidates on closed windows."""
    with session() as active:
        chosen = version or active.models.current().versions.get("forecasts")
        if chosen is None:
            raise RefusedError(
                "there is no version of forecasts yet: `crm-reflex retrain forecasts`"
            )
        told = active.models.read("forecasts", chosen).meta["model"]
    heads = told.get("report", [])
    if not heads:
        raise RefusedError(f"forecasts {chosen} keeps no report: `crm-reflex retrain forecasts`")
    if plot is not None:
        from worker.forecast_plots import draw  # noqa: PLC0415  matplotlib: where used

        draw(heads, plot)
    if as_json:
        show_json({"version": chosen, "projected": told.get("projected"), "heads": heads})
        return
    show(f"made coherent between horizons: {told.get('projected', 0.0):.1%} of the customers")
    for head in heads:
        show(f"{head['target']}, {head['horizon_days']} days: {head['chosen']}: {head['reason']}")
        for name, moved in head.get("drivers", {}).items():
            show(f"  {name} looks most at: {'; '.join(moved)}")
        if head.get("coverage80") is not None:
            show(f"  80 % intervals held {head['coverage80']:.0%} of what came on closed windows")
        if head["candidates"]:
            show(table(_COLUMNS, _rows(head["candidates"], every)))


def _rows(candidates: list[dict[str, Any]], every: bool) -> list[list[object]]:
    """The candidates, least loss first; those that were given up early behind the others."""
    ranked = sorted(candidates, key=lambda row: (row.get("given_up", False), row["loss"]))
    kept = ranked if every else ranked[:_SHOWN]
    return [[_short(row.get(name)) for name in _COLUMNS] for row in kept]


def _short(value: object) -> object:
    return round(value, 4) if isinstance(value, float) else value
