"""Where a setting's value comes from: argument, environment, `.env`, TOML file or default.

pydantic-settings reads the values; this module finds the files, names each value's origin, refuses
misspelled names and words every complaint by name and rule, never by value: it may be a secret.
"""

import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, NamedTuple

from dotenv import dotenv_values
from pydantic import SecretStr, ValidationError

PREFIX = "CRM_REFLEX_"
CONFIG_FILE = PREFIX + "CONFIG_FILE"
"""Names the TOML file; the one variable that is no setting itself."""
ENV_FILE = Path(".env")
TOML_FILE = Path("crm-reflex.toml")

Origin = Literal["argument", "env", ".env", "toml", "default"]


class SettingsError(ValueError):
    """The settings can't be used; `problems` has one line for each: the name and the rule."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


class Shown(NamedTuple):
    """A setting as it may be printed."""

    value: str
    origin: Origin


def variable(field: str) -> str:
    """The environment variable of a field: `shards` is CRM_REFLEX_SHARDS."""
    return PREFIX + field.upper()


def toml_path() -> Path | None:
    """The TOML file: CRM_REFLEX_CONFIG_FILE, else ./crm-reflex.toml if there is one.

    Raises     SettingsError when the variable names a file that is not there
    """
    named = os.environ.get(CONFIG_FILE) or (dotenv_values(ENV_FILE).get(CONFIG_FILE))
    if not named:
        return TOML_FILE if TOML_FILE.is_file() else None
    if not Path(named).is_file():
        raise SettingsError([f"{CONFIG_FILE}: names a file that does not exist"])
    return Path(named)


def origins(fields: Iterable[str], arguments: Iterable[str]) -> dict[str, Origin]:
    """Origin of every field, by the precedence argument > env > .env > toml > default.

    Raises     SettingsError naming every unknown argument, variable, `.env` line and TOML key
    """
    known = dict.fromkeys(fields)
    toml = toml_path()
    found: list[tuple[Origin, list[str], str]] = [
        ("toml", list(_toml_table(toml)) if toml else [], str(toml)),
        (".env", _prefixed(dotenv_values(ENV_FILE)), str(ENV_FILE)),
        ("env", _prefixed(os.environ), "the environment"),
        ("argument", list(arguments), "the arguments"),
    ]
    problems = [
        _unknown(name, known, where if origin != "env" else "", in_toml=origin == "toml")
        for origin, names, where in found
        for name in names
        if name not in known
    ]
    if problems:
        raise SettingsError(problems)
    result: dict[str, Origin] = dict.fromkeys(known, "default")
    for origin, names, _ in found:
        result |= dict.fromkeys(names, origin)
    return result


def problems_of(error: ValidationError) -> list[str]:
    """One line per failed rule, "CRM_REFLEX_SHARDS: the rule", without any value."""
    return [
        ": ".join([*(variable(str(part)) for part in problem["loc"][:1]), _rule(problem["msg"])])
        for problem in error.errors(include_url=False, include_context=False, include_input=False)
    ]


def shown(value: object) -> str:
    """A value as text, secrets and the passwords of URLs masked."""
    if value is None:
        return "(not set)"
    text = value.get_secret_value() if isinstance(value, SecretStr) else str(value)
    if "://" in text:
        return _without_password(text)
    if isinstance(value, SecretStr):
        return "********"
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    if isinstance(value, bool):
        return text.lower()
    return text


def _without_password(url: str) -> str:
    """`url` with its password and query, where redis-py accepts a password too, masked."""
    masked = re.sub(r"(?<=://)([^/?#]*):[^/?#]*@", r"\1:***@", url)
    return re.sub(r"\?.+", "?***", masked)


def _prefixed(variables: Mapping[str, str | None]) -> list[str]:
    """Field names of our variables that are set and not empty."""
    names = [name.upper() for name, value in variables.items() if value]
    return [
        name.removeprefix(PREFIX).lower()
        for name in names
        if name.startswith(PREFIX) and name != CONFIG_FILE
    ]


def _toml_table(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError:
        raise SettingsError([f"{path}: is not UTF-8"]) from None
    except tomllib.TOMLDecodeError as error:
        place = re.search(r"\(at .*\)$", str(error))
        raise SettingsError([f"{path}: is not TOML {place.group() if place else ''}"]) from None


def _unknown(name: str, known: Iterable[str], where: str, *, in_toml: bool) -> str:
    def spelled(field: str) -> str:
        return field if in_toml else variable(field)

    near = get_close_matches(name.lower(), list(known), n=1)
    hint = f"; did you mean {spelled(near[0])}?" if near else ""
    place = f" (in {where})" if where else ""
    return f"{spelled(name)}: no such setting{place}{hint}"


def _rule(message: str) -> str:
    return message.removeprefix("Value error, ").removeprefix("Input ").strip()
