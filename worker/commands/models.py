"""Models: train them, list their versions, go back to an older one."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from worker.commands import versions
from worker.session import order, session
from worker.terminal import AsJson, cell, console, examples, instant, pairs, show, show_json, table

if TYPE_CHECKING:
    from worker.bootstrap import Runtime
    from worker.store.models import Artifact

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
    group.command(
        "card",
        epilog=examples(
            "crm-reflex models card forecasts", "crm-reflex models card segments 3 --out cards"
        ),
    )(card)
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
    """Train models on all that is known now, and make them live where they are no worse.

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
        show_json([{**one._asdict(), "verdict": one.verdict._asdict()} for one in published])
    else:
        rows = [
            (one.kind, one.version, round(one.seconds, 2), one.verdict.told()) for one in published
        ]
        show(table(("model", "version", "seconds", "verdict"), rows))


def list_versions(as_json: AsJson = False) -> None:
    """List all versions, newest first, which of them are live, and why others are not."""
    with session() as active:
        rows = list(_versions(active))
    if as_json:
        show_json(rows)
        return
    if not rows:
        show("no model yet")
        return
    columns = ("kind", "version", "live", "verdict", "published", "trigger", "as_of", "buyers")
    show(table(columns, [[row.get(name) for name in columns] for row in rows]))
    kept = [row for row in rows if row["verdict"] in ("refused", "waiting", "shadow")]
    for row in kept:
        show(f"{row['kind']} {row['version']}: {row['verdict']}: {'; '.join(row['reasons'])}")
    for row in (row for row in kept if row["shadow"]):
        told = ", ".join(f"{name} {value}" for name, value in row["shadow"].items())
        show(f"{row['kind']} {row['version']} in the shadow: {told}")


def show_version(
    kind: Annotated[Kind, typer.Argument(help="Which model.")],
    version: Annotated[int | None, typer.Argument(min=1, help="The live one if not given.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show a version's parameters and pedigree, and whether it still fits.

    `models card` tells the same, and its limits, as a document.
    """
    from worker.store.watching import WatchStore  # noqa: PLC0415  nothing unused is loaded

    with session() as active:
        chosen = _chosen(active, kind, version)
        artifact = active.models.read(kind, chosen)
        arrays = {name: list(array.shape) for name, array in artifact.arrays.items()}
        figures = WatchStore(active.client, active.keys).all()
        verdict = active.models.verdict(kind, chosen)
    watch = [one._asdict() for one in figures if (one.kind, one.version) == (kind, chosen)]
    if as_json:
        proof = {"checksum": artifact.checksum, "signed": artifact.signed, "watch": watch}
        proof["verdict"] = None if verdict is None else verdict._asdict()
        show_json({**artifact.meta, "kind": kind, "version": chosen, **proof, "arrays": arrays})
        return
    parameters = dict(artifact.meta.get("model", {}))
    pedigree = {name: _told(artifact.meta, name) for name in artifact.meta if name != "model"}
    pedigree |= {"checksum": artifact.checksum, "signed": artifact.signed}
    pedigree["verdict"] = None if verdict is None else verdict.told()
    for name in ("as_of_s", "published_at_s"):
        if name in pedigree:
            pedigree[name.removesuffix("_s")] = instant(pedigree.pop(name))
    show(pairs(sorted(pedigree.items()), title=f"{kind} {chosen}"))
    if watch:
        rows = [
            (one["name"], one["value"], one["threshold"], instant(one["at_s"])) for one in watch
        ]
        show("", table(("figure", "value", "asks above", "measured"), rows))
    show("", pairs(_short(parameters), title="parameters"))
    show("", pairs(((name, " x ".join(map(str, s))) for name, s in arrays.items()), title="arrays"))


def card(
    kind: Annotated[Kind, typer.Argument(help="Which model.")],
    version: Annotated[int | None, typer.Argument(min=1, help="The live one if not given.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the card and its pictures, made if need be.")
    ] = None,
    pictures_as: Annotated[
        Literal["svg", "png"], typer.Option("--format", help="Of the pictures.")
    ] = "svg",
    as_json: AsJson = False,
) -> None:
    """Print a version's card in Markdown: what it is made of, how good it is, its limits.

    With --out: write it to KIND-VERSION.md, with pictures beside it.
    """
    from worker import card as cards  # noqa: PLC0415  nothing unused is loaded

    with session() as active:
        artifact = active.models.read(kind, _chosen(active, kind, version))
        facts = cards.facts_of(active, artifact)
    files = [] if out is None else _write_card(out, artifact, facts, pictures_as)
    if as_json:
        show_json({**facts, "files": files} if files else facts)
    elif files:
        show("\n".join(files))
    else:
        show(cards.markdown(facts).rstrip("\n"))


def _write_card(
    folder: Path, artifact: Artifact, facts: dict[str, Any], pictures_as: Literal["svg", "png"]
) -> list[str]:
    """Raises RefusedError: no folder, no matplotlib."""
    from worker.card import markdown  # noqa: PLC0415  nothing unused is loaded
    from worker.card_plots import pictures  # noqa: PLC0415  matplotlib: same
    from worker.failures import RefusedError  # noqa: PLC0415  same

    drawn = pictures(artifact, facts, pictures_as)
    text = folder / f"{artifact.kind}-{artifact.version}.md"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for one in drawn:
            (folder / one.file).write_bytes(one.data)
        text.write_text(markdown(facts, drawn), encoding="utf-8")
    except OSError as error:
        raise RefusedError(f"{folder} cannot be written: {error.strerror}") from None
    return [str(text), *(str(folder / one.file) for one in drawn)]


def _chosen(active: Runtime, kind: str, version: int | None) -> int:
    """Raises RefusedError where there is no version yet."""
    from worker.failures import RefusedError  # noqa: PLC0415  nothing unused is loaded

    chosen = version or active.models.current().versions.get(kind)
    if chosen is None:
        raise RefusedError(f"there is no version of {kind} yet: `crm-reflex retrain {kind}`")
    return chosen


def promote(
    kind: Annotated[Stored, typer.Argument(help="Which model.")],
    version: Annotated[int, typer.Argument(min=1, help="The version that shall be live.")],
    force: Annotated[
        bool, typer.Option("--force", help="Also a version that the gate refused.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Make a stored version live: also an older one, to undo a training.

    One that the gate refused needs --force. Running workers take it within a second, and every
    customer is scored anew in the background.
    """
    from worker.failures import RefusedError  # noqa: PLC0415  nothing unused is loaded

    with session() as active:
        verdict = active.models.verdict(kind, version)
        if verdict is not None and verdict.state == "refused" and not force:
            raise RefusedError(f"{kind} {version} was {verdict.told()} (--force promotes it)")
        active.models.promote(kind, version, active.clock.now_s())
        active.bells.ring("refresh")
    if as_json:
        show_json({"kind": kind, "live": version})
    else:
        show(f"{kind} {version} is live")


def _versions(active: Runtime) -> Iterator[dict[str, Any]]:
    from worker.store.models import KINDS  # noqa: PLC0415  nothing unused is loaded
    from worker.store.shadows import ShadowStore  # noqa: PLC0415  same

    live = active.models.current().versions
    verdicts, shadows = active.models.verdicts(), ShadowStore(active.client, active.keys)
    for kind in KINDS:
        for version, at_s in active.models.versions(kind):
            verdict, shadow = verdicts.get((kind, version)), shadows.get(kind, version)
            yield {
                "kind": kind,
                "version": version,
                "live": live.get(kind) == version,
                "verdict": None if verdict is None else verdict.state,
                "reasons": [] if verdict is None else list(verdict.reasons),
                "shadow": None if shadow is None else shadow.told(),
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


def _told(meta: Mapping[str, Any], name: str) -> Any:
    """A field of a pedigree on few lines."""
    from worker.card import flat  # noqa: PLC0415  nothing unused is loaded

    value = meta[name]
    if name == "watermarks":
        return f"{len(value)} shards: --json lists them"
    if name == "metrics":
        return [f"{one['name']} {one['value']}" for one in value]
    if name in ("window", "rows", "parameters", "gate"):
        return [f"{path}: {cell(one)}" for path, one in flat(value)]
    return value


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
