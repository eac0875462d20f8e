"""Options of an adapter: a pydantic model per adapter, in whose errors no value appears.

An option that holds a secret is typed `SecretStr`, or `tuple[SecretStr, ...]` where several are in
use while they rotate. Such options are given apart from the others, never in plain text.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, TypeVar, get_args
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, SecretStr, ValidationError

from integrations.outbound.errors import OptionsError


class AdapterOptions(BaseModel):
    """Base of every adapter's options."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    @classmethod
    def secret_names(cls) -> frozenset[str]:
        """Names of the options that hold secrets."""
        return frozenset(name for name in cls.model_fields if _is_secret(cls, name))


Given = TypeVar("Given", bound=AdapterOptions)


def read_options(
    model: type[Given], options: Mapping[str, Any], secrets: Mapping[str, Sequence[SecretStr]]
) -> Given:
    """The options of one destination.

    options  without secrets
    secrets  option -> values, the newest first
    Raises   OptionsError: one line for each mistake, with the option's name and the rule
    """
    problems = [
        f"{name}: is a secret: give it by reference, {{ env = ... }} or {{ file = ... }}"
        for name in sorted(model.secret_names() & set(options))
    ]
    given: dict[str, Any] = dict(options)
    for name, values in secrets.items():
        if name not in model.secret_names() and name in model.model_fields:
            problems.append(f"{name}: is no secret: write its value")
        elif name in model.model_fields and not _is_many(model, name) and len(values) != 1:
            problems.append(f"{name}: takes one secret")
        else:
            given[name] = tuple(values) if _is_many(model, name) else values[0]
    if problems:
        raise OptionsError(problems)
    try:
        return model.model_validate(given)
    except ValidationError as error:
        raise OptionsError(_lines(error)) from None


def _lines(error: ValidationError) -> list[str]:
    return [
        f"{'.'.join(map(str, problem['loc'])) or 'options'}: {_rule(problem)}"
        for problem in error.errors(include_url=False, include_context=False, include_input=False)
    ]


def _rule(problem: Any) -> str:
    if problem["type"] == "extra_forbidden":
        return "no such option"
    return str(problem["msg"]).removeprefix("Value error, ").removeprefix("Input ")


def _is_secret(model: type[BaseModel], name: str) -> bool:
    annotation = model.model_fields[name].annotation
    return SecretStr in {annotation, *get_args(annotation)}


def _is_many(model: type[BaseModel], name: str) -> bool:
    return Ellipsis in get_args(model.model_fields[name].annotation)


def _base_url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("should be an http(s) URL")
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise ValueError("should have neither user, query nor fragment")
    return text.rstrip("/")


BaseUrl = Annotated[str, AfterValidator(_base_url)]
"""Where a vendor's API begins, without a slash at the end."""

FIELD_NAME: Final = r"^[A-Za-z][A-Za-z0-9_]{0,79}$"
"""A field of a vendor that becomes part of a path or a key."""
