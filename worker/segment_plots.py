"""Pictures of the segments, as PNG or SVG. matplotlib is an extra: `crm-reflex[plots]`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from models.segments.model import SegmentModel
from models.segments.plotting import FORMATS, bars, scatter
from worker.failures import RefusedError

Kind: TypeAlias = Literal["scatter", "bars"]


def checked(path: Path) -> str:
    """The format that a picture's name asks for.

    Raises RefusedError: no such format, or no such folder.
    """
    file_format = path.suffix.removeprefix(".")
    if file_format not in FORMATS:
        raise RefusedError(f"{path}: the name should end with .png or .svg")
    if not path.absolute().parent.is_dir():
        raise RefusedError(f"{path}: there is no such folder")
    return file_format


def drawn(
    kind: Kind, model: SegmentModel, features: NDArray[np.float64], file_format: str
) -> bytes:
    """The picture; equal inputs give an equal one.

    features  (n, d) of the customers of a scatter, in natural units
    Raises    RefusedError without matplotlib
    """
    try:
        import matplotlib as mpl  # noqa: PLC0415  an extra, and slow to load
    except ModuleNotFoundError:
        raise RefusedError("plots need matplotlib: pip install 'crm-reflex[plots]'") from None
    with mpl.rc_context({"svg.hashsalt": "crm-reflex"}):
        if kind == "bars":
            return bars(model, file_format=file_format)
        return scatter(model, features, np.random.default_rng(0), file_format=file_format)
