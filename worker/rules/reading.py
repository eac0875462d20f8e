"""Rule segments from a file of TOML, YAML or JSON, each mistake told with its place."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from worker.rules.language import DEEPEST, Rule

LARGEST_FILE: Final = 256 * 1024
MOST_RULES: Final = 200


class RulesError(ValueError):
    """The definitions can't be used; `problems` has one line for each mistake."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


class _File(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    segments: tuple[Rule, ...] = Field(max_length=MOST_RULES)


def load_rules(path: Path) -> tuple[Rule, ...]:
    """The rule segments of a file, in its order.

    Raises RulesError with every mistake of the file.
    """
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise RulesError([f"{path}: is larger than {LARGEST_FILE // 1024} KiB"])
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise RulesError([f"{path}: there is no such file"]) from None
    except (OSError, UnicodeDecodeError) as error:
        raise RulesError([f"{path}: can't be read: {type(error).__name__}"]) from None
    try:
        return parse(_document(path.suffix, text))
    except RulesError as error:
        raise RulesError(f"{path}: {problem}" for problem in error.problems) from None


def parse(document: Any) -> tuple[Rule, ...]:
    """Rule segments from plain data: `{"segments": [...]}`.

    Raises RulesError.
    """
    try:
        rules = _File.model_validate(document).segments
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)
        if any(len(one["loc"]) > 10 * DEEPEST for one in found):  # pydantic went no deeper
            raise RulesError(["conditions lie too deep"]) from None
        raise RulesError(_problem(one["loc"], one["msg"]) for one in found) from None
    if not rules:
        raise RulesError(["segments: holds none"])
    ids = [rule.id for rule in rules]
    twice = sorted({one for one in ids if ids.count(one) > 1})
    if twice:
        raise RulesError(f"segments: the id {one} is used more than once" for one in twice)
    return rules


def _document(suffix: str, text: str) -> Any:
    if suffix in {".yaml", ".yml"}:
        return _yaml(text)
    try:
        return json.loads(text) if suffix == ".json" else tomllib.loads(text)
    except (tomllib.TOMLDecodeError, ValueError, RecursionError) as error:
        kind = "JSON" if suffix == ".json" else "TOML"
        raise RulesError([f"is not {kind}: {error}"]) from None


def _yaml(text: str) -> Any:
    try:
        import yaml  # noqa: PLC0415  an extra: TOML needs nothing
    except ModuleNotFoundError:
        raise RulesError(
            ["YAML needs pyyaml: pip install 'crm-reflex[yaml]', or write TOML"]
        ) from None
    try:
        # An alias is expanded wherever it stands: a small file could become endless conditions.
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, yaml.SafeLoader)):
            raise RulesError(["aliases (*name) are not read"])
        return yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise RulesError([f"is not YAML{place}"]) from None


def _problem(location: Sequence[int | str], message: str) -> str:
    """`segments[0].when.all[1].at_least: ...`: the place as the file spells it.

    >>> _problem(("segments", 0, "when", "<all>", "all", 1, "<trait>", "in"), "Value error, no")
    'segments[0].when.all[1].in: no'
    """
    place = ""
    for step in location:
        if isinstance(step, int):
            place += f"[{step}]"
        elif not step.startswith("<"):
            place += f".{step}" if place else step
    return f"{place or 'file'}: {message.removeprefix('Value error, ')}"
