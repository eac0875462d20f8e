"""What a model version is at rest: JSON and arrays behind a checksum, signed if there is a key."""

from __future__ import annotations

import hashlib
import hmac
import io
import json
import zipfile
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    import numpy as np

_NAME: Final = b"CRMR"
#: The newest format that this release reads and writes: one digit behind the name.
FORMAT: Final = 2
_MAGIC: Final = _NAME + str(FORMAT).encode() + b"\n"
_UNSIGNED: Final = bytes(32)
#: Name, format and line end (6), SHA-256 of the body (32), signature (32), length of the JSON (4).
HEAD_AT: Final = 74
#: So many bytes hold the head of nearly every version.
HEAD_BYTES: Final = 65_536


class ArtifactError(ValueError):
    """A stored model is damaged, changed, or of a format that this release does not read."""


class StorageError(ArtifactError):
    """Where the bytes are kept does not answer: they may be whole, and can be asked for again."""


class Opened(NamedTuple):
    """A stored version.

    checksum  SHA-256 of the body, in hexadecimal
    signed    it carries a signature; checked, where there is a key
    """

    arrays: dict[str, np.ndarray]
    meta: dict[str, Any]
    checksum: str
    signed: bool


class Seal:
    """Writes and reads artifacts; with a key, signs them and refuses what is not signed with it.

    key     of HMAC-SHA-256, at least 16 bytes; None = no signatures
    Source  RFC 2104
    """

    def __init__(self, key: bytes | None = None) -> None:
        self._key = key

    def pack(self, arrays: Mapping[str, np.ndarray], meta: Mapping[str, Any]) -> bytes:
        """A model as bytes: the header described above, JSON, npz."""
        import numpy as np  # noqa: PLC0415  a worker limits its threads before it loads

        buffer = io.BytesIO()
        np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
        head = json.dumps(meta, sort_keys=True, ensure_ascii=False).encode()
        body = len(head).to_bytes(4, "big") + head + buffer.getvalue()
        checksum = hashlib.sha256(body).digest()
        return _MAGIC + checksum + self._signature(checksum) + body

    def unpack(self, data: bytes) -> Opened:
        """Read a model.

        Raises ArtifactError when a byte differs from what was stored, the format is another one, or
        there is a key and the signature is not made with it.
        """
        import numpy as np  # noqa: PLC0415  same

        _known_format(data)
        checksum, signature, body = data[6:38], data[38:70], data[70:]
        if hashlib.sha256(body).digest() != checksum:
            raise ArtifactError("the artifact's checksum is wrong: it was damaged or changed")
        signed = signature != _UNSIGNED
        if self._key is not None and not signed:
            raise ArtifactError("the artifact is not signed, and a signing key is set")
        if self._key is not None and not hmac.compare_digest(signature, self._signature(checksum)):
            raise ArtifactError("the artifact is signed with another key, or was changed")
        try:
            length = int.from_bytes(body[:4], "big")
            meta = json.loads(body[4 : 4 + length])
            with np.load(io.BytesIO(body[4 + length :]), allow_pickle=False) as stored:
                arrays = {name: stored[name] for name in stored.files}
        except (ValueError, KeyError, EOFError, OSError, zipfile.BadZipFile) as error:
            raise ArtifactError(f"the artifact cannot be read: {error}") from None
        return Opened(arrays, meta, checksum.hex(), signed)

    def _signature(self, checksum: bytes) -> bytes:
        if self._key is None:
            return _UNSIGNED
        return hmac.new(self._key, _MAGIC + checksum, hashlib.sha256).digest()


def head_length(data: bytes) -> int:
    """How many bytes of an artifact its JSON reaches to, told by its first HEAD_AT bytes.

    Raises ArtifactError.
    """
    _known_format(data)
    return HEAD_AT + int.from_bytes(data[HEAD_AT - 4 : HEAD_AT], "big")


def read_head(data: bytes) -> dict[str, Any]:
    """The JSON alone, unchecked: for lists and figures, never for a model that speaks.

    data    the artifact, at least as far as `head_length`
    Raises  ArtifactError
    """
    try:
        found: dict[str, Any] = json.loads(data[HEAD_AT : head_length(data)])
    except ValueError as error:
        if isinstance(error, ArtifactError):
            raise
        raise ArtifactError("the artifact is damaged") from None
    return found


def _known_format(data: bytes) -> None:
    told = data[len(_NAME) : len(_NAME) + 1]
    if not data.startswith(_NAME) or not told.isdigit():
        raise ArtifactError("these bytes are no artifact: they were damaged or changed")
    if int(told) > FORMAT:
        raise ArtifactError(
            f"the artifact has format {int(told)}, and this release reads up to {FORMAT}: upgrade"
        )
    if not data.startswith(_MAGIC):
        raise ArtifactError(
            f"the artifact has format {int(told)}, which is not read any more: train anew"
        )
    if len(data) < HEAD_AT:
        raise ArtifactError("the artifact is cut short: it was damaged or changed")
