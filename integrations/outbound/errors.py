"""Errors of delivery; what the receiver answers is an `Outcome`, never an exception.

DeliveryError
  TransportError         no complete answer came: try again on the schedule
    DeadlineError          the total deadline passed
    ForbiddenTargetError   the address may not be called: nothing was sent
  SignatureError         a webhook's headers do not prove who sent it, and when
  SecretError            a signing secret is not `whsec_` and base64 of 24 to 64 bytes
  UnknownAdapterError    no adapter is registered under the name
  OptionsError           an adapter's options are wrong; `problems` has a line for each mistake
"""

from collections.abc import Iterable


class DeliveryError(Exception):
    """Base of all that delivery may raise: facts, never a secret or a body."""


class TransportError(DeliveryError):
    """No complete answer came; whether the receiver acted is unknown."""


class DeadlineError(TransportError):
    """The total deadline passed before the answer was complete."""


class ForbiddenTargetError(TransportError):
    """The URL or the address behind it may not be called; a human must look."""


class SignatureError(DeliveryError):
    """A webhook that can't be trusted; `reason` is a short code."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class SecretError(DeliveryError):
    """A signing secret of the wrong form."""


class UnknownAdapterError(DeliveryError):
    """A name that is not in the registry."""


class OptionsError(DeliveryError):
    """Options that can't work: `problems` names options and rules, never a value."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(self.problems))
