"""Models: train them, list their versions, go back to an older one."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from worker.commands import versions
from worker.session import order, session
from worker.terminal import AsJson, console, examples, instant, pairs, show, show_json, table

if TYPE_CHECKING:
    from worker.bootstrap import Runtime

Kind = Literal["segments", "recommendations", "forecasts"]
#: Rule segments are written, not trained, but their versions are stored and go live as models do.
Stored = Literal["segments", "recommendations", "forecasts", "rules"]


def register(app: typer.Typer) -> None:
    """Add the commands of this group."""
    app.command(
        epilog=examples(
            "crm-reflex retrain --reason 'season begins'",
            "crm-reflex retrain segments --reason check --here",
        )
    )(retrain)
    group = typer.Typer(no_args_is_help=True, help="Model versions and trainings.")
    group.command("list", epilog=examples("crm-reflex models list --json"))(list_versions)
    group.command("show", epilog=examples("crm-reflex models show segments 3"))(show_version)
    group.command("promote", epilog=examples("crm-reflex models promote segments 2"))(promote)
    versions.add_to(group)
    app.add_typer(group, name="models")


def retrain(
    kind: Annotated[
        Literal["all", "segments", "recommendations", "forecasts"],
        typer.Argument(help="Which models."),
    ] = "all",
    reason: Annotated[
        str, typer.Option("--reason", help="Why: kept with the version.")
    ] = "request",
    here: Annotated[
        bool, typer.Option("--here", help="Train in this process, not in the training worker.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Train models on all that is known now, and make them live.

    The training worker does it unless --here is given. Exit code 75 while another training runs.
    """
    from worker.store.models import KINDS  # noqa: PLC0415  nothing unused is loaded

    kinds = KINDS if kind == "all" else (kind,)
    with session() as active:
        if not here:
            now_ms = active.clock.now_ms()
            new = [one for one in kinds if active.desk.request(one, reason, now_ms)]
            order(active, "models.train")
            if as_json:
                joined = [one for one in kinds if one not in new]
                show_json({"requested": new, "joined": joined, "reason": reason})
                return
            show(f"requested: {', '.join(new) or 'nothing new: the same waits already'}")
            show("`crm-reflex models training` shows how far it is")
            return
        with _progress() as tell:
            published = active.retrain.run(tuple(kinds), reason=reason, progress=tell)
        active.bells.ring("refresh")
    if as_json:
        show_json([one._asdict() for one in published])
    else:
        rows = [(one.kind, one.version, round(one.seconds, 2)) for one in published]
        show(table(("model", "version", "seconds"), rows))


def list_versions(as_json: AsJson = False) -> None:
    """List all versions, newest first, and which of them are live."""
    with session() as active:
        rows = list(_versions(active))
    if as_json:
        show_json(rows)
        return
    if not rows:
        show("no model yet")
        return
    columns = ("kind", "version", "live", "published", "trigger", "as_of", "buyers")
    show(table(columns, [[row.get(name) for name in columns] for row in rows]))


def show_version(
    kind: Annotated[Kind, typer.Argument(help="Which model.")],
    version: Annotated[int | None, typer.Argument(min=1, help="The live one if not given.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show a version's parameters and pedigree."""
    from worker.failures import RefusedError  # noqa: PLC0415  nothing unused is loaded

    with session() as active:
        chosen = version or active.models.current().versions.get(kind)
        if chosen is None:
            raise RefusedError(f"there is no version of {kind} yet: `crm-reflex retrain {kind}`")
        artifact = active.models.read(kind, chosen)
        arrays = {name: list(array.shape) for name, array in artifact.arrays.items()}
    if as_json:
        proof = {"checksum": artifact.checksum, "signed": artifact.signed}
        show_json({**artifact.meta, "kind": kind, "version": chosen, **proof, "arrays": arrays})
        return
    parameters = dict(artifact.meta.get("model", {}))
    pedigree = {name: value for name, value in artifact.meta.items() if name != "model"}
    pedigree |= {"checksum": artifact.checksum, "signed": artifact.signed}
    for name in ("as_of_s", "published_at_s"):
        if name in pedigree:
            pedigree[name.removesuffix("_s")] = instant(pedigree.pop(name))
    show(pairs(sorted(pedigree.items()), title=f"{kind} {chosen}"))
    show("", pairs(_short(parameters), title="parameters"))
    show("", pairs(((name, " x ".join(map(str, s))) for name, s in arrays.items()), title="arrays"))


def promote(
    kind: Annotated[Stored, typer.Argument(help="Which model.")],
    version: Annotated[int, typer.Argument(min=1, help="The version that shall be live.")],
    as_json: AsJson = False,
) -> None:
    """Make a stored version live: also an older one, to undo a training.

    Customers get insights of it with their next event, or when the clock is due.
    """
    with session() as active:
        active.models.promote(kind, version, active.clock.now_s())
        active.bells.ring("refresh")
    if as_json:
        show_json({"kind": kind, "live": version})
    else:
        show(f"{kind} {version} is live")


def _versions(active: Runtime) -> Iterator[dict[str, Any]]:
    from worker.store.models import KINDS  # noqa: PLC0415  nothing unused is loaded

    live = active.models.current().versions
    for kind in KINDS:
        for version, at_s in active.models.versions(kind):
            yield {
                "kind": kind,
                "version": version,
                "live": live.get(kind) == version,
                "published": instant(at_s),
                **_pedigree(active, kind, version),
            }


def _pedigree(active: Runtime, kind: str, version: int) -> dict[str, Any]:
    from worker.store.models import ArtifactError  # noqa: PLC0415  nothing unused is loaded

    try:
        head = active.models.head(kind, version)
    except ArtifactError as error:
        return {"trigger": str(error)}
    fields = {name: head.get(name) for name in ("trigger", "customers", "buyers", "parent")}
    return {**fields, "as_of": instant(head.get("as_of_s"))}


def _short(parameters: dict[str, Any]) -> list[tuple[str, object]]:
    """Parameters on one line each; a long list by its length."""
    rows: list[tuple[str, object]] = []
    for name, value in parameters.items():
        if isinstance(value, list) and len(value) > 12:
            rows.append((name, f"{len(value):,} entries"))
        else:
            rows.append((name, value))
    return rows


@contextmanager
def _progress() -> Iterator[Callable[[str, float], None]]:
    """A progress bar on stderr; nothing where that is no terminal."""
    from rich.progress import Progress  # noqa: PLC0415  nothing unused is loaded

    err = console(sys.stderr)
    with Progress(console=err, transient=True, disable=not err.is_terminal) as bar:
        tasks: dict[str, Any] = {}

        def tell(stage: str, done: float) -> None:
            if stage not in tasks:
                for task in tasks.values():
                    bar.update(task, completed=1.0)
                tasks[stage] = bar.add_task(stage, total=1.0)
            bar.update(tasks[stage], completed=done)

        yield tell
