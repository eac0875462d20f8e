"""Rule segments: add, list, show, preview, remove."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from worker.failures import RefusedError
from worker.session import session
from worker.terminal import AsJson, examples, pairs, say, show, show_json, table

if TYPE_CHECKING:
    from worker.bootstrap import Runtime
    from worker.rules.book import RuleBook
    from worker.rules.definitions import Defined
    from worker.rules.preview import Size

RulesFile = Annotated[
    Path, typer.Argument(help="TOML, YAML or JSON with `segments`: see docs/segments.md.")
]
RuleId = Annotated[str, typer.Argument(help="The rule segment's id.")]


def group() -> typer.Typer:
    """The commands."""
    made = typer.Typer(no_args_is_help=True, help="Rule segments: conditions that you write.")
    made.command("add", epilog=examples("crm-reflex segments rules add vip.yaml"))(add)
    made.command("list", epilog=examples("crm-reflex segments rules list --json"))(list_rules)
    made.command("show", epilog=examples("crm-reflex segments rules show vip"))(show_rule)
    made.command(
        "preview", epilog=examples("crm-reflex segments rules preview vip.yaml --sample 5000")
    )(preview)
    made.command("remove", epilog=examples("crm-reflex segments rules remove vip"))(remove)
    return made


def add(path: RulesFile, as_json: AsJson = False) -> None:
    """Add the rule segments of a file, or replace those with the same ids.

    They are live at once: with a customer's next refresh, and with the clock's within the hour.
    """
    from worker.live import LiveModels  # noqa: PLC0415  numpy: only where it is used
    from worker.rules.definitions import plain  # noqa: PLC0415  same
    from worker.rules.reading import load_rules  # noqa: PLC0415  same

    with _refusing():
        rules = load_rules(path)
    with session() as active, _refusing():
        live = LiveModels(active.models, active.clock).current()
        edition = _book(active).add(rules, live.segments)
        active.bells.ring("refresh")
    if as_json:
        show_json({"version": edition.version, "segments": [plain(rule) for rule in rules]})
    else:
        names = ", ".join(rule.id for rule in rules)
        show(f"version {edition.version} of the rule segments is live: {names}")


def list_rules(as_json: AsJson = False) -> None:
    """List the rule segments and how many customers are in each."""
    from worker.segments import Members, census  # noqa: PLC0415  numpy: only where it is used
    from worker.store.moves import Moves  # noqa: PLC0415  same

    with session() as active, _refusing():
        edition = _book(active).current()
        with progress("read insights") as tell:
            found = census(Moves(active.client, active.keys), tell)
    rows = [
        _summary(one, found.audiences.get(one.rule.id, Members()).told(found.customers))
        for one in edition.definitions.rules
    ]
    if as_json:
        show_json({"version": edition.version, "segments": rows})
    elif not rows:
        show("no rule segments yet: `crm-reflex segments rules add FILE`")
    else:
        columns = ("id", "name", "customers", "share", "mean_clv_12m", "since_version")
        show(table(columns, [[row[name] for name in columns] for row in rows]))


def show_rule(rule_id: RuleId, as_json: AsJson = False) -> None:
    """Show a rule segment's conditions, as its file would spell them."""
    from worker.rules.definitions import plain  # noqa: PLC0415  numpy: only where it is used

    with session() as active, _refusing():
        one = _book(active).current().definitions.get(rule_id)
    if one is None:
        raise RefusedError(f"there is no rule segment {rule_id!r}")
    told = plain(one.rule) | {"since_version": one.since}
    if as_json:
        show_json(told)
        return
    lines = [(name.replace("_", " "), value) for name, value in told.items() if name != "when"]
    show(pairs(lines), "", *_lines(told["when"]))


def preview(
    path: RulesFile,
    sample: Annotated[
        int, typer.Option("--sample", min=1, help="Look at so many customers at most.")
    ] = 20_000,
    as_json: AsJson = False,
) -> None:
    """Tell how large the rule segments of a file would be; nothing is saved.

    With more customers than --sample, a random part of them is looked at, and the range that holds
    the size with 95 % confidence is told.
    """
    from worker.live import LiveModels  # noqa: PLC0415  numpy: only where it is used
    from worker.rules.book import check_segments  # noqa: PLC0415  same
    from worker.rules.preview import preview as sizes  # noqa: PLC0415  same
    from worker.rules.reading import load_rules  # noqa: PLC0415  same
    from worker.views import Calendar  # noqa: PLC0415  same

    with _refusing():
        rules = load_rules(path)
    with session() as active, _refusing():
        check_segments(rules, LiveModels(active.models, active.clock).current().segments)
        with progress("look at customers") as tell:
            found = sizes(
                rules,
                active.population,
                active.refresh_store,
                Calendar(active.settings.time_zone),
                active.clock.now_s(),
                rates=active.refresh_rules.exchange(),
                sample=sample,
                progress=tell,
            )
    if as_json:
        show_json([one._asdict() for one in found])
    else:
        _show_sizes(found)


def remove(rule_id: RuleId, as_json: AsJson = False) -> None:
    """Remove a rule segment: who is in it leaves it with the next refresh."""
    with session() as active, _refusing():
        edition = _book(active).remove(rule_id)
        active.bells.ring("refresh")
    if as_json:
        show_json({"version": edition.version, "removed": rule_id})
    else:
        show(f"{rule_id} is removed: version {edition.version} of the rule segments is live")


@contextmanager
def progress(what: str) -> Iterator[Any]:
    """A bar on stderr for what looks at every customer."""
    import sys  # noqa: PLC0415  as rich below

    from rich.progress import BarColumn, Progress, TextColumn  # noqa: PLC0415  slow to load

    from worker.terminal import console  # noqa: PLC0415  same

    columns = (TextColumn("{task.description}"), BarColumn())
    with Progress(*columns, console=console(sys.stderr), transient=True) as bar:
        task = bar.add_task(what, total=1.0)
        yield lambda done: bar.update(task, completed=done)


@contextmanager
def _refusing() -> Iterator[None]:
    """A mistake in definitions is the writer's: all but the last line are told before the end."""
    from worker.rules.reading import RulesError  # noqa: PLC0415  pydantic: only where it is used

    try:
        yield
    except RulesError as error:
        *first, last = error.problems
        for line in first:
            say(line, style="red")
        raise RefusedError(last) from None


def _book(active: Runtime) -> RuleBook:
    from worker.rules.book import RuleBook  # noqa: PLC0415  numpy: only where it is used

    return RuleBook(active.models, active.population, active.clock)


def _summary(one: Defined, members: dict[str, Any]) -> dict[str, Any]:
    rule = one.rule
    return {
        "id": rule.id,
        "name": rule.title,
        "name_zh": rule.name_zh,
        "description": rule.description,
        "since_version": one.since,
        **members,
    }


def _show_sizes(found: Sequence[Size]) -> None:
    rows = [
        (
            one.id,
            one.customers,
            f"{one.low:,} to {one.high:,}" if one.looked_at < one.of else "exact",
            one.share,
            one.entering,
            one.leaving,
            one.unknown,
            ", ".join(one.examples),
        )
        for one in found
    ]
    names = ("id", "customers", "range", "share", "enter", "leave", "not known", "such as")
    show(table(names, rows))


def _lines(condition: dict[str, Any], depth: int = 0) -> Iterator[str]:
    """A condition as indented lines."""
    indent = "  " * depth
    for word in ("all", "any"):
        if word in condition:
            yield f"{indent}{word} of"
            for inner in condition[word]:
                yield from _lines(inner, depth + 1)
            return
    if "not" in condition:
        yield f"{indent}not"
        yield from _lines(condition["not"], depth + 1)
        return
    yield indent + ", ".join(f"{name}: {value}" for name, value in condition.items())
