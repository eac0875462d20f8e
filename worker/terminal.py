"""How commands speak: results on stdout, everything else on stderr, colors on a terminal only.

What comes from events is data, never markup, and its control characters are shown, not sent.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import IO, Annotated, Final

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

#: Wide enough that nothing which is piped or redirected is wrapped or cut.
_UNBOUNDED: Final = 10_000
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only tell what would be done.")]


def console(file: IO[str]) -> Console:
    """A console that prints data as it is."""
    width = None if file.isatty() else _UNBOUNDED
    return Console(file=file, markup=False, highlight=False, emoji=False, width=width)


def say(message: str, style: str = "") -> None:
    """A line for the person, on stderr."""
    console(sys.stderr).print(Text(visible(message), style=style))


def show(*parts: object) -> None:
    """Print a result on stdout: text, tables."""
    out = console(sys.stdout)
    for part in parts:
        out.print(visible(part) if isinstance(part, str) else part)


def show_json(value: object, *, indent: int | None = 2) -> None:
    """Print a result as JSON on stdout."""
    sys.stdout.write(json.dumps(value, indent=indent, ensure_ascii=False, default=str) + "\n")
    sys.stdout.flush()


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], title: str = "") -> Table:
    """Rows under headings; numbers to the right, None as a dash."""
    made = _table(title, headings=True)
    cells = [list(row) for row in rows]
    for at, column in enumerate(columns):
        numeric = bool(cells) and all(isinstance(row[at], int | float | None) for row in cells)
        made.add_column(column, justify="right" if numeric else "left", overflow="fold")
    for row in cells:
        made.add_row(*(Text(cell(value)) for value in row))
    return made


def pairs(rows: Iterable[tuple[str, object]], title: str = "") -> Table:
    """Names and values in two columns; what is None or empty is left out."""
    made = _table(title, headings=False)
    made.add_column(style="dim", no_wrap=True)
    made.add_column(overflow="fold")
    for name, value in rows:
        if value not in (None, "", [], ()):
            made.add_row(Text(name), Text(cell(value)))
    return made


def _table(title: str, *, headings: bool) -> Table:
    return Table(
        title=Text(visible(title)) if title else None,
        title_justify="left",
        box=None,
        pad_edge=False,
        padding=(0, 2, 0, 0),
        show_header=headings,
    )


def cell(value: object) -> str:
    """A value as people read it.

    >>> cell(1234567), cell(0.25), cell(None), cell(True), cell(["a", "b"])
    ('1,234,567', '0.25', '-', 'yes', 'a, b')
    """
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.4f}".rstrip("0").rstrip(".")
    if isinstance(value, list | tuple):
        return ", ".join(cell(one) for one in value) or "-"
    return visible(str(value))


def visible(text: str) -> str:
    r"""The text with its control characters spelled out, so that no data can drive a terminal.

    >>> visible("a\x1b[2Jb")
    'a\\x1b[2Jb'
    """
    return _CONTROL.sub(lambda found: f"\\x{ord(found.group()):02x}", text)


def instant(at_s: float | None) -> str | None:
    """Unix seconds as ISO 8601 in UTC.

    >>> instant(0)
    '1970-01-01T00:00:00Z'
    """
    if at_s is None:
        return None
    return datetime.fromtimestamp(int(at_s), UTC).isoformat().replace("+00:00", "Z")


def span(seconds: float | None) -> str:
    """A duration in its largest two units.

    >>> span(0.25), span(75), span(7_500), span(266_400), span(None)
    ('250 ms', '1 min 15 s', '2 h 5 min', '3 d 2 h', '-')
    """
    if seconds is None:
        return "-"
    if seconds < 1:
        return f"{max(0, round(1000 * seconds))} ms"
    left, words = int(seconds), []
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min"), (1, "s")):
        count, left = divmod(left, size)
        if count:
            words.append(f"{count} {unit}")
    return " ".join(words[:2])


def size(count: float) -> str:
    """Bytes as people read them.

    >>> size(512), size(1536), size(3 * 2**30)
    ('512 B', '1.5 KiB', '3.0 GiB')
    """
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024 or unit == "GiB":
            break
        count /= 1024
    return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"


def examples(*lines: str) -> str:
    """The end of a command's help."""
    return "\n\n".join(["Examples:", *lines])
