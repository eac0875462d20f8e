"""What some adapters can do besides: tokens, look-ups, jobs, fields. Pure, as the contract is.

Ask with `isinstance(adapter, Authorizing)`, and so on.
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple, Protocol, runtime_checkable

from integrations.outbound.contract import Credentials, HttpCall, Outcome, Response, Row


@runtime_checkable
class Authorizing(Protocol):
    """Gets a token by a call of its own, before the first call and after AUTH."""

    def token_call(self, *, at_s: int) -> HttpCall:
        """The request for a token."""
        ...

    def read_token(self, response: Response, *, at_s: int) -> Credentials | Outcome:
        """The token, or why there is none."""
        ...


@runtime_checkable
class Lookup(Protocol):
    """Must know the vendor's id of a record before it can write it.

    Rows whose `vendor_id` is None are looked up; what is found is kept by the engine. An outcome of
    `encode`'s call may tell a vendor_id too, and one of "" that the id kept so far leads nowhere.
    """

    def lookup(self, rows: Sequence[Row], *, credentials: Credentials) -> HttpCall:
        """The question, for 1 to max_rows rows."""
        ...

    def read_lookup(
        self, rows: Sequence[Row], response: Response, *, at_s: int
    ) -> tuple[Outcome, ...]:
        """One outcome per row: OK with a vendor_id, "" where the vendor has no such record."""
        ...


class Progress(NamedTuple):
    """How a job stands.

    outcomes  one per row when all is known; None: ask again about `job`
    job       what to ask about then; may differ from the last
    after_s   seconds to wait before
    trouble   why the question itself was not answered: throttled, auth ...; the job stands
    """

    outcomes: tuple[Outcome, ...] | None
    job: str = ""
    after_s: float = 0.0
    trouble: Outcome | None = None


@runtime_checkable
class Polling(Protocol):
    """Works on calls later: asks about the job that `classify` named."""

    def poll(self, job: str, *, credentials: Credentials) -> HttpCall:
        """The question."""
        ...

    def read_poll(
        self, job: str, rows: Sequence[Row], response: Response, *, at_s: int
    ) -> Progress:
        """How it stands; rows are those of the call that began the job, in their order."""
        ...


class FieldType(StrEnum):
    """Kinds of fields, as mappings name them."""

    TEXT = "text"
    NUMBER = "number"
    INTEGER = "integer"
    BOOLEAN = "boolean"
    DATE = "date"
    DATETIME = "datetime"
    LIST = "list"


class FieldSpec(NamedTuple):
    """A field that a mapping writes: the vendor's name of it, its type, what people see."""

    name: str
    type: FieldType
    label: str


class Difference(NamedTuple):
    """What lacks at the vendor; `can_create` tells whether a call of ours can mend it."""

    field: FieldSpec
    detail: str
    can_create: bool


@runtime_checkable
class Schema(Protocol):
    """Knows which fields exist, and can create some; never changes or deletes one."""

    def schema_call(self, fields: Sequence[FieldSpec], *, credentials: Credentials) -> HttpCall:
        """The question which of the fields exist."""
        ...

    def differences(
        self, fields: Sequence[FieldSpec], response: Response, *, at_s: int
    ) -> tuple[Difference, ...] | Outcome:
        """What lacks or has another type; an outcome where the answer tells nothing."""
        ...

    def create_calls(
        self, missing: Sequence[Difference], *, credentials: Credentials
    ) -> tuple[HttpCall, ...]:
        """The calls that create what can be created."""
        ...

    def read_created(self, response: Response, *, at_s: int) -> Outcome:
        """OK only where the answer says that every field of the call exists now."""
        ...
