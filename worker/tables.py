"""Files as rows, a piece at a time: CSV, Parquet, JSON lines. Memory is bounded by the piece."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import IO, Any, Final, NamedTuple, Protocol, cast

import pyarrow as pa
import pyarrow.parquet as pq

from integrations.rejection import Rejected, rejected

#: Rows read together.
PIECE: Final = 10_000
_DELIMITERS: Final = ",;\t|"
_CELL_BYTES: Final = 1 << 20


class TableError(ValueError):
    """The file cannot be read; the text says why."""


class Piece(NamedTuple):
    """Some rows of a table.

    lines    line (of a text file) or row (of Parquet) of each, from 1
    columns  the cells of each wanted column, aligned with the lines
    refused  rows that are no rows of this table, by line
    done     part of the file that is read, 0 to 1
    """

    lines: Sequence[int]
    columns: Sequence[Sequence[Any]]
    refused: Sequence[tuple[int, Rejected]]
    done: float


class Table(Protocol):
    """A file of rows."""

    @property
    def columns(self) -> list[str]:
        """The names of its columns."""

    def pieces(self, wanted: Sequence[str], limit: int | None) -> Iterator[Piece]:
        """The cells of some columns, in the file's order; at most `limit` rows."""


def open_table(path: Path) -> Table:
    """The table in a file, by its ending.

    Raises TableError.
    """
    kind = path.suffix.lower()
    if kind in {".csv", ".tsv", ".txt"}:
        return Csv(path)
    if kind in {".parquet", ".pq"}:
        return Parquet(path)
    if kind in {".jsonl", ".ndjson", ".json"}:
        return JsonRows(path)
    raise TableError(f"{path.name}: the ending should be .csv, .parquet or .jsonl")


class Csv:
    """Comma-separated values with a header line, in UTF-8; `;`, tab and `|` are recognized."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._size = max(1, path.stat().st_size)
        try:
            with path.open(encoding="utf-8-sig", newline="") as file:
                head = file.readline()
                self._delimiter = max(_DELIMITERS, key=head.count)
                file.seek(0)
                self.columns = next(csv.reader(file, delimiter=self._delimiter), [])
        except UnicodeDecodeError as error:
            raise TableError(f"{path.name} is not UTF-8: {error.reason}") from None
        if not self.columns:
            raise TableError(f"{path.name} is empty: it should begin with the names of its columns")

    def pieces(self, wanted: Sequence[str], limit: int | None) -> Iterator[Piece]:
        """The cells of some columns, all as text."""
        csv.field_size_limit(_CELL_BYTES)
        at = [self.columns.index(name) for name in wanted]
        with self._path.open(encoding="utf-8-sig", newline="", errors="replace") as file:
            reader = csv.reader(file, delimiter=self._delimiter)
            buffer = cast("IO[bytes]", file.buffer)
            next(reader, None)
            left = limit
            while left is None or left > 0:
                size = PIECE if left is None else min(PIECE, left)
                lines, rows, refused, read = self._read(reader, size)
                if not read:
                    return
                left = None if left is None else left - read
                cells = list(zip(*rows, strict=True)) if rows else [()] * len(self.columns)
                done = min(1.0, buffer.tell() / self._size)
                yield Piece(lines, [cells[i] for i in at], refused, done)

    def _read(
        self, reader: Any, size: int
    ) -> tuple[list[int], list[list[str]], list[tuple[int, Rejected]], int]:
        width, read = len(self.columns), 0
        lines: list[int] = []
        rows: list[list[str]] = []
        refused: list[tuple[int, Rejected]] = []
        while read < size:
            try:
                row = next(reader)
            except StopIteration:
                break
            except csv.Error as error:
                read += 1
                refused.append((reader.line_num, rejected("wrong_type", "", f"Not CSV: {error}.")))
                continue
            if len(row) == width:
                lines.append(reader.line_num)
                rows.append(row)
            elif row:
                detail = f"The row has {len(row)} cells, the header {width}."
                refused.append((reader.line_num, rejected("wrong_type", "", detail)))
            read += 1
        return lines, rows, refused, read


class Parquet:
    """Apache Parquet."""

    def __init__(self, path: Path) -> None:
        try:
            with pq.ParquetFile(path) as file:
                self._schema = file.schema_arrow
                self._rows = max(1, file.metadata.num_rows)
        except (pa.ArrowException, OSError) as error:
            raise TableError(f"{path.name} is no Parquet file: {error}") from None
        self._path = path
        self.columns = list(self._schema.names)

    def pieces(self, wanted: Sequence[str], limit: int | None) -> Iterator[Piece]:
        """The cells of some columns: numbers, text, datetimes, None."""
        read = 0
        with pq.ParquetFile(self._path) as file:
            for batch in file.iter_batches(PIECE, columns=list(dict.fromkeys(wanted))):
                some = batch if limit is None else batch.slice(0, limit - read)
                if not len(some):
                    return
                lines = range(read + 1, read + len(some) + 1)
                read += len(some)
                cells = [_cells(some.column(name)) for name in wanted]
                yield Piece(lines, cells, (), read / self._rows)


class JsonRows:
    """JSON lines: one object a line, whose fields are the columns."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._size = max(1, path.stat().st_size)
        with path.open("rb") as file:
            found: dict[str, None] = {}
            for line in islice(file, 1000):
                if isinstance(row := _object(line), dict):
                    found.update(dict.fromkeys(row))
        self.columns = list(found)

    def pieces(self, wanted: Sequence[str], limit: int | None) -> Iterator[Piece]:
        """The cells of some columns: what JSON says, None where a row has no such field."""
        for lines, raws, done in raw_pieces(self._path, limit):
            rows: list[dict[str, Any]] = []
            good: list[int] = []
            refused: list[tuple[int, Rejected]] = []
            for line, raw in zip(lines, raws, strict=True):
                row = _object(raw)
                if isinstance(row, dict):
                    good.append(line)
                    rows.append(row)
                else:
                    refused.append((line, row))
            cells = [[row.get(name) for row in rows] for name in wanted]
            yield Piece(good, cells, refused, done)


def raw_pieces(path: Path, limit: int | None) -> Iterator[tuple[list[int], list[bytes], float]]:
    """The lines of a text file as they are, blank ones left out: numbers, bytes, part read."""
    size, read = max(1, path.stat().st_size), 0
    with path.open("rb") as file:
        numbered = _numbered(file)
        while limit is None or read < limit:
            some = list(islice(numbered, PIECE if limit is None else min(PIECE, limit - read)))
            if not some:
                return
            read += len(some)
            yield [at for at, _ in some], [raw for _, raw in some], min(1.0, file.tell() / size)


def _numbered(file: IO[bytes]) -> Iterator[tuple[int, bytes]]:
    for number, raw in enumerate(iter(file.readline, b""), 1):
        if stripped := raw.strip():
            yield number, stripped


def _object(raw: bytes) -> dict[str, Any] | Rejected:
    try:
        row = json.loads(raw, parse_float=str)
    except ValueError:
        return rejected("not_json")
    return row if isinstance(row, dict) else rejected("not_an_object")


def _cells(column: Any) -> list[Any]:
    """A column's values, made once for each distinct one: cells of a table repeat.

    A float32 is read as its shortest text: 6.95 stays 6.95.
    """
    if pa.types.is_nested(column.type):
        return list(column.to_pylist())
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_float32(column.type) or pa.types.is_float16(column.type):
        column = column.cast(pa.string())
    elif pa.types.is_timestamp(column.type) and column.type.unit == "ns":
        column = column.cast(pa.timestamp("us", tz=column.type.tz), safe=False)
    coded = column.dictionary_encode()
    values = [*coded.dictionary.to_pylist(), None]
    places: list[int] = coded.indices.fill_null(-1).to_numpy(zero_copy_only=False).tolist()
    return [values[place] for place in places]
