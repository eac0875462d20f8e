"""Pictures of the segments, as PNG or SVG. matplotlib is an extra: `crm-reflex[plots]`.

scatter  a sample of customers on the two main components of their features, one color a segment
bars     how far each center lies from the mean customer, feature by feature, in deviations
radar    the same, one web a segment
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from models.segments.model import SegmentModel, nearest_ids
from worker.failures import RefusedError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Matrix: TypeAlias = NDArray[np.float64]
Kind: TypeAlias = Literal["scatter", "bars", "radar"]

FORMATS: Final = (".png", ".svg")
_SIZE_INCHES: Final = (9.0, 6.0)


def draw(kind: Kind, model: SegmentModel, features: Matrix, path: Path) -> None:
    """Draw a picture of the segments into a file; equal inputs give an equal picture.

    features  (n, d) of the customers of a scatter, in natural units
    Raises    RefusedError: neither .png nor .svg, no matplotlib, no such folder
    """
    if path.suffix not in FORMATS:
        raise RefusedError(f"{path}: the name should end with {' or '.join(FORMATS)}")
    if not path.absolute().parent.is_dir():
        raise RefusedError(f"{path}: there is no such folder")
    figure = _figure()
    if kind == "scatter":
        _scatter(figure, model, features)
    elif kind == "bars":
        _bars(figure, model)
    else:
        _radar(figure, model)
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else {})


def main_components(points: Matrix) -> tuple[Matrix, Matrix]:
    """The mean (d,) and the two directions (2, d) in which the points differ most.

    Source   Pearson (1901), "On lines and planes of closest fit to systems of points in space"

    >>> mean, axes = main_components(np.array([[0.0, 0.0], [2.0, 2.0], [4.0, 4.0]]))
    >>> axes[0].round(3)
    array([0.707, 0.707])
    """
    mean = points.mean(axis=0)
    _, _, axes = np.linalg.svd(points - mean, full_matrices=False)
    axes = np.vstack((axes, np.zeros((2, points.shape[1]))))[:2]
    largest = np.abs(axes).argmax(axis=1)
    signs = np.sign(axes[np.arange(2), largest])  # a component has no sign of its own
    return mean, axes * np.where(signs == 0, 1.0, signs)[:, None]


def _figure() -> Figure:
    try:
        import matplotlib as mpl  # noqa: PLC0415  an extra, and slow to load
        from matplotlib.figure import Figure  # noqa: PLC0415  same
    except ModuleNotFoundError:
        raise RefusedError("plots need matplotlib: pip install 'crm-reflex[plots]'") from None
    mpl.rcParams["svg.hashsalt"] = "crm-reflex"
    return Figure(figsize=_SIZE_INCHES, layout="constrained")


def _scatter(figure: Figure, model: SegmentModel, features: Matrix) -> None:
    if len(features) == 0:
        raise RefusedError("there is no customer to draw")
    points, ids = model.points(features), nearest_ids(model, features)
    mean, axes = main_components(points)
    plane, centers = (points - mean) @ axes.T, (model.geometry.centers - mean) @ axes.T
    axis = figure.add_subplot()
    for at, segment in enumerate(model.ids.tolist()):
        mine = plane[ids == segment]
        color = f"C{at % 10}"
        axis.scatter(mine[:, 0], mine[:, 1], s=8, alpha=0.5, color=color, label=model.names[at])
        axis.plot(*centers[at], marker="X", markersize=11, color=color, markeredgecolor="black")
    axis.set_xlabel(_direction(axes[0], model))
    axis.set_ylabel(_direction(axes[1], model))
    axis.legend(loc="best", fontsize="small")


def _direction(weights: Matrix, model: SegmentModel) -> str:
    """The features that a component mostly is."""
    top = np.argsort(-np.abs(weights), kind="stable")[:3]
    return "  ".join(
        f"{'+' if weights[at] >= 0 else '−'}{model.features.columns[at]}"  # noqa: RUF001  a minus
        for at in top
    )


def _bars(figure: Figure, model: SegmentModel) -> None:
    scores, columns = _scores(model), model.features.columns
    axis = figure.add_subplot()
    width = 0.8 / len(scores)
    places = np.arange(len(columns))
    for at, row in enumerate(scores):
        axis.bar(places + (at + 0.5) * width - 0.4, row, width, label=model.names[at])
    axis.axhline(0.0, color="black", linewidth=0.8)
    axis.set_xticks(places, columns, rotation=30, ha="right")
    axis.set_ylabel("standard deviations from the mean customer")
    axis.legend(loc="best", fontsize="small")


def _radar(figure: Figure, model: SegmentModel) -> None:
    scores, columns = _scores(model), model.features.columns
    angles = np.linspace(0.0, 2 * np.pi, len(columns), endpoint=False)
    axis: Any = figure.add_subplot(projection="polar")
    for at, row in enumerate(scores):
        around, web = np.append(angles, angles[0]), np.append(row, row[0])
        axis.plot(around, web, label=model.names[at])
        axis.fill(around, web, alpha=0.08)
    axis.set_xticks(angles, columns)
    axis.legend(loc="upper left", bbox_to_anchor=(1.05, 1.0), fontsize="small")


def _scores(model: SegmentModel) -> Matrix:
    mean, spread = model.population
    scores: Matrix = (model.geometry.centers - mean) / np.where(spread > 0, spread, 1.0)
    return scores
