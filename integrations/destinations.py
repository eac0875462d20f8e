"""The file of destinations: where insights go, with which fields, how fast (docs/destinations.md).

Pure but for reading the file, its secrets' files and the environment that it is given. A mistake is
told by file, table and field, never with a value: it may be a secret.
"""

import re
import tomllib
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self, TypeAlias

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PositiveFloat,
    PositiveInt,
    SecretStr,
    ValidationError,
    model_validator,
)

from integrations.insight_fields import kind_of
from integrations.mapping import JSON, MappedField, duplicates

NAME: Final = r"^[a-z][a-z0-9_-]{0,31}$"
Reason: TypeAlias = Literal["event", "clock", "model"]
#: Of moves between segments: what the customer did, or did not do. A new model is neither.
TOLD_REASONS: Final[tuple[Reason, ...]] = ("event", "clock")
_REFERENCES: Final = ({"env"}, {"file"})


class DestinationsError(ValueError):
    """The file can't be used; `problems` has one line for each mistake."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


class Window(BaseModel):
    """At most so many requests in any span of so many seconds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    requests: PositiveInt
    window_s: PositiveFloat


def check_key(path: str) -> str:
    """`path` if it is a single value of the insight; else ValueError."""
    if kind_of(path).is_list:
        raise ValueError(f"{path!r} is a list")
    return path


class Destination(BaseModel):
    """One destination.

    name            in the outbox, on the command line
    adapter         kind of destination; options are the adapter's own
    secrets         options that hold a secret: name -> values, the newest first; they do not print
    key             path to the value that the destination finds a customer by
    coalesce_s      after a delivery, further changes of the customer wait this long
    coalesce_max_s  but never longer than this, however often the customer changes
    daily_cap       most calls a day (UTC)
    reserve         share of every limit that is left to the account's other programs
    concurrency     calls under way at once; not set: the adapter's
    requests_per    windows of the rate limit, all of them hold; not set: the adapter's
    timeout_s       for a whole call
    allow_private   plain HTTP and private addresses are allowed: for tests and intranets
    reasons         of moves that a destination of events is told
    fields          the mapping; empty: the whole insight
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    name: str = Field(pattern=NAME)
    adapter: str = Field(min_length=1)
    options: Mapping[str, JSON] = Field({}, repr=False)  # some receivers have a secret in a URL
    secrets: Mapping[str, tuple[SecretStr, ...]] = {}
    key: Annotated[str, AfterValidator(check_key)] = "customer_id"
    coalesce_s: float = Field(30.0, ge=0, le=86_400)
    coalesce_max_s: float = Field(300.0, ge=0, le=7 * 86_400)
    daily_cap: PositiveInt | None = None
    reserve: float = Field(0.1, ge=0, lt=1)
    concurrency: int | None = Field(None, ge=1, le=256)
    requests_per: tuple[Window, ...] = ()
    timeout_s: float = Field(15.0, gt=0, le=60)
    allow_private: bool = False
    reasons: Annotated[tuple[Reason, ...], Field(min_length=1)] = TOLD_REASONS
    fields: tuple[MappedField, ...] = ()

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.coalesce_max_s < self.coalesce_s:
            raise ValueError("coalesce_max_s should not be less than coalesce_s")
        if "reasons" in self.model_fields_set and self.options.get("send") != "events":
            raise ValueError('reasons are those of events: they need the option send = "events"')
        if doubled := duplicates(self.fields):
            raise ValueError(f"more than one field has the target {', '.join(doubled)}")
        return self


def load_destinations(path: Path, environ: Mapping[str, str] | None) -> tuple[Destination, ...]:
    """The destinations of a TOML or YAML file, in its order.

    environ  where `{ env = "NAME" }` is looked up, while `{ file = "PATH" }` is relative to the
             file; None: secrets are not read
    Raises   DestinationsError with every mistake of the file
    """
    document = _document(path)
    tables = document.pop("destinations", None)
    if document or not isinstance(tables, dict):
        extra = f", not {', '.join(sorted(map(str, document)))}" if document else ""
        raise DestinationsError([f"{path}: should hold tables [destinations.NAME]{extra}"])
    made, problems = [], []
    for name, table in tables.items():
        where = f"{path}: destinations.{name}"
        if not isinstance(table, dict):
            problems.append(f"{where}: should be a table")
            continue
        options, secrets, unresolved = _resolved(table.get("options", {}), path.parent, environ)
        problems += [f"{where}: options.{line}" for line in unresolved]
        if "name" in table or "secrets" in table:
            problems.append(f"{where}: name and secrets are not keys of a destination")
            continue
        try:
            given = {**table, "name": name, "options": options, "secrets": secrets}
            made.append(Destination.model_validate(given))
        except ValidationError as error:
            problems += [f"{where}: {line}" for line in problems_of(error, table)]
    if problems:
        raise DestinationsError(problems)
    return tuple(made)


def problems_of(error: ValidationError, table: Mapping[str, Any]) -> list[str]:
    """One line for each mistake in a destination's table: the field's place, and the rule."""
    return [
        f"{_place(problem['loc'], table)}{_rule(problem['type'], problem['loc'], problem['msg'])}"
        for problem in error.errors(include_url=False, include_context=False, include_input=False)
    ]


def _document(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise DestinationsError([f"{path}: there is no such file"]) from None
    except (OSError, UnicodeDecodeError) as error:
        raise DestinationsError([f"{path}: can't be read: {type(error).__name__}"]) from None
    read = _yaml if path.suffix in {".yaml", ".yml"} else _toml
    document = read(path, text)
    if not isinstance(document, dict):
        raise DestinationsError([f"{path}: should hold tables [destinations.NAME]"])
    return document


def _toml(path: Path, text: str) -> Any:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        place = re.search(r"\(at .*\)$", str(error))
        raise DestinationsError(
            [f"{path}: is not TOML{' ' + place.group() if place else ''}"]
        ) from None


def _yaml(path: Path, text: str) -> Any:
    try:
        import yaml  # noqa: PLC0415  an extra: TOML needs nothing
    except ModuleNotFoundError:
        raise DestinationsError(
            [f"{path}: YAML needs pyyaml: pip install 'crm-reflex[yaml]', or write TOML"]
        ) from None
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f" (at line {mark.line + 1}, column {mark.column + 1})" if mark else ""
        raise DestinationsError([f"{path}: is not YAML{place}"]) from None


def _resolved(
    options: Any, folder: Path, environ: Mapping[str, str] | None
) -> tuple[Any, dict[str, tuple[SecretStr, ...]], list[str]]:
    """Options without their references; what those lead to; the references that lead nowhere."""
    if not isinstance(options, dict):
        return options, {}, []
    plain, secrets, problems = {}, {}, []
    for name, value in options.items():
        references = value if isinstance(value, list) else [value]
        if not references or not all(_is_reference(one) for one in references):
            plain[name] = value
            continue
        if environ is None:
            continue
        found = []
        for reference in references:
            try:
                found.append(_secret(reference, folder, environ))
            except LookupError as error:
                problems.append(f"{name}: {error.args[0]}")
        secrets[name] = tuple(found)
    return plain, secrets, problems


def _is_reference(value: Any) -> bool:
    return isinstance(value, dict) and set(value) in _REFERENCES


def _secret(reference: Mapping[str, Any], folder: Path, environ: Mapping[str, str]) -> SecretStr:
    ((how, where),) = reference.items()
    if how == "env":
        if not environ.get(str(where)):
            raise LookupError(f"the environment variable {where} is not set")
        return SecretStr(environ[where])
    path = folder / str(where)
    try:
        text = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise LookupError(f"the file {path} can't be read: {type(error).__name__}") from None
    if not text:
        raise LookupError(f"the file {path} is empty")
    return SecretStr(text)


def _place(location: tuple[int | str, ...], table: Mapping[str, Any]) -> str:
    """Where in a table, in words: `fields, number 2 (reflex_p_alive), source: `."""
    parts: list[str] = []
    for at, step in enumerate(location):
        if isinstance(step, str):
            parts.append(step)
            continue
        number = f"number {step + 1}"
        rules = table.get("fields")
        if at == 1 and location[0] == "fields" and isinstance(rules, list):
            rule = rules[step]
            target = rule.get("target") if isinstance(rule, dict) else None
            number += f" ({target})" if isinstance(target, str) else ""
        parts.append(number)
    return ", ".join(parts) + ": " if parts else ""


def _rule(kind: str, location: tuple[int | str, ...], message: str) -> str:
    if kind == "extra_forbidden":
        known = Destination.model_fields if len(location) == 1 else MappedField.model_fields
        near = get_close_matches(str(location[-1]), list(known), n=1)
        return "no such key" + (f"; did you mean {near[0]}?" if near else "")
    return message.removeprefix("Value error, ").removeprefix("Input ")
