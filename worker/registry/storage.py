"""Where the bytes of model versions are kept: on the state server, in a folder, at an fsspec URL.

Which version is live, and which there are, always stands on the state server. There a version's
value holds either its bytes or, where they are kept elsewhere, a reference to them.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Protocol

from worker.registry.artifact import ArtifactError, StorageError

_REFERENCE: Final = b"@"


class Storage(Protocol):
    """A place for bytes that never change under their name."""

    def keep(self, name: str, data: bytes) -> bytes:
        """Store a version; the value that stands for it on the state server.

        Equal names and bytes give an equal value. Raises StorageError.
        """

    def fetch(self, value: bytes, length: int | None = None) -> bytes:
        """The bytes that a value stands for, or the first `length` of them.

        Raises ArtifactError: they are gone; StorageError: the place does not answer.
        """

    def forget(self, value: bytes) -> None:
        """Drop the bytes; without them it does nothing."""


class OnServer:
    """The state server keeps the bytes in the value itself."""

    def keep(self, name: str, data: bytes) -> bytes:  # noqa: ARG002 - the value's key is the name
        """The bytes."""
        return data

    def fetch(self, value: bytes, length: int | None = None) -> bytes:
        """The value."""
        if value.startswith(_REFERENCE):
            raise ArtifactError(
                "its bytes were kept elsewhere: CRM_REFLEX_MODEL_STORAGE should name that place"
            )
        return value[:length]

    def forget(self, value: bytes) -> None:
        """Nothing: the bytes go with the value."""


class _Elsewhere:
    """What places outside the state server share: a value is the name of a file."""

    def keep(self, name: str, data: bytes) -> bytes:
        """Write the file: its name holds a hash of its bytes, so that no two versions share one."""
        file = f"{name}-{hashlib.sha256(data).hexdigest()[:16]}.crmr"
        self._write(file, data)
        return _REFERENCE + file.encode()

    def fetch(self, value: bytes, length: int | None = None) -> bytes:
        """The file's bytes. A version from before the place was set still lies on the server."""
        if not value.startswith(_REFERENCE):
            return value[:length]
        file = _file_of(value)
        data = self._read(file, length)
        if data is None:
            raise ArtifactError(f"there is no {file} in {self}")
        return data

    def forget(self, value: bytes) -> None:
        """Delete the file."""
        if value.startswith(_REFERENCE):
            self._delete(_file_of(value))

    def _write(self, file: str, data: bytes) -> None:
        raise NotImplementedError

    def _read(self, file: str, length: int | None) -> bytes | None:
        raise NotImplementedError

    def _delete(self, file: str) -> None:
        raise NotImplementedError


class Folder(_Elsewhere):
    """A folder that all workers see. A file appears whole or not at all."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __str__(self) -> str:
        return str(self._path)

    def _write(self, file: str, data: bytes) -> None:
        draft = self._path / f".{file}.{secrets.token_hex(4)}"
        try:
            self._path.mkdir(parents=True, exist_ok=True)
            with draft.open("wb") as opened:
                opened.write(data)
                opened.flush()
                os.fsync(opened.fileno())
            draft.replace(self._path / file)
        except OSError as error:
            draft.unlink(missing_ok=True)
            raise StorageError(f"{self} cannot be written: {error.strerror}") from None

    def _read(self, file: str, length: int | None) -> bytes | None:
        try:
            with (self._path / file).open("rb") as opened:
                return opened.read(-1 if length is None else length)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StorageError(f"{self} cannot be read: {error.strerror}") from None

    def _delete(self, file: str) -> None:
        with suppress(OSError):  # a file that stays behind is named by no version
            (self._path / file).unlink(missing_ok=True)


class Remote(_Elsewhere):
    """Any file system of fsspec: `s3://bucket/models`, `gs://..`, `memory://..`."""

    def __init__(self, url: str) -> None:
        try:
            from fsspec.core import url_to_fs  # noqa: PLC0415  an extra
        except ModuleNotFoundError:
            raise StorageError("a URL needs fsspec: pip install 'crm-reflex[storage]'") from None
        self._url = url
        try:
            self._files, self._root = url_to_fs(url)
        except (ValueError, ImportError) as error:
            raise StorageError(f"{self} cannot be opened: {error}") from None

    def __str__(self) -> str:
        return self._url.partition("?")[0].rpartition("@")[2]  # no credentials in a message

    def _write(self, file: str, data: bytes) -> None:
        self._answer("written", self._put, file, data)

    def _put(self, file: str, data: bytes) -> None:
        self._files.makedirs(self._root, exist_ok=True)
        self._files.pipe_file(f"{self._root}/{file}", data)

    def _read(self, file: str, length: int | None) -> bytes | None:
        try:
            return bytes(self._answer("read", self._get, file, length))
        except FileNotFoundError:
            return None

    def _get(self, file: str, length: int | None) -> bytes:
        data: bytes = self._files.cat_file(f"{self._root}/{file}", start=0, end=length)
        return data

    def _delete(self, file: str) -> None:
        with suppress(StorageError, FileNotFoundError):
            self._answer("written", self._files.rm_file, f"{self._root}/{file}")

    def _answer(self, verb: str, call: Any, *args: Any) -> Any:
        try:
            return call(*args)
        except FileNotFoundError:
            raise
        except Exception as error:  # noqa: BLE001 - each file system has errors of its own
            raise StorageError(f"{self} cannot be {verb}: {type(error).__name__}") from None


def open_storage(place: str) -> Storage:
    """The storage that a setting names: `redis`, a folder, or a URL of fsspec.

    Raises StorageError: fsspec, or what the URL needs beside it, is not installed.
    """
    if place == "redis":
        return OnServer()
    return Remote(place) if "://" in place else Folder(Path(place))


def _file_of(value: bytes) -> str:
    file = value.removeprefix(_REFERENCE).decode()
    if "/" in file or file.startswith("."):
        raise ArtifactError("its reference is no name of a file: it was changed")
    return file
