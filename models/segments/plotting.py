"""Pictures of a segmentation: customers on the two main components, and bars of the centers."""

from io import BytesIO
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from models.checks import DomainError
from models.segments.model import SegmentModel, nearest_ids

Matrix: TypeAlias = NDArray[np.float64]

FORMATS = ("svg", "png")
MOST_DOTS = 3_000


def scatter(
    model: SegmentModel, table: Matrix, rng: np.random.Generator, *, file_format: str = "svg"
) -> bytes:
    """Draw customers and centers on the two main components of the scaled features.

    table        (n, d) features of customers; of more than MOST_DOTS a sample is drawn
    file_format  svg or png
    Raises       ShapeError, DomainError

    >>> from models.segments.examples import on_a_line
    >>> rows = np.expm1(np.random.default_rng(0).uniform(0, 2, (50, 3)))
    >>> scatter(on_a_line(0.0, 2.0), rows, np.random.default_rng(1))[:5]
    b'<?xml'
    """
    if len(table) > MOST_DOTS:
        table = table[rng.choice(len(table), MOST_DOTS, replace=False)]
    points, centers = model.points(table), model.geometry.centers
    middle = points.mean(axis=0) if len(points) else np.zeros(centers.shape[1])
    axes = np.linalg.svd(np.vstack((points, centers)) - middle, full_matrices=False)[2][:2]
    spots, stars = (points - middle) @ axes.T, (centers - middle) @ axes.T
    ids = nearest_ids(model, table)
    figure, plot = _figure(file_format)
    for row, (one, name) in enumerate(zip(model.ids.tolist(), model.names, strict=True)):
        color = f"C{row % 10}"
        plot.scatter(*spots[ids == one].T, s=4, alpha=0.4, color=color)
        plot.scatter(*stars[row], s=90, marker="X", color=color, edgecolor="black", label=name)
    plot.set(xlabel="first main component", ylabel="second main component", title="Customers")
    plot.legend(fontsize=8)
    return _bytes(figure, file_format)


def bars(model: SegmentModel, *, file_format: str = "svg") -> bytes:
    """Draw how far each center lies from the mean customer, in standard deviations.

    Raises  DomainError

    >>> from models.segments.examples import on_a_line
    >>> bars(on_a_line(0.0, 2.0), file_format="png")[1:4]
    b'PNG'
    """
    mean, spread = model.population
    z = (model.geometry.centers - mean) / np.where(spread > 0, spread, 1.0)
    figure, plot = _figure(file_format)
    k, d = z.shape
    height = 0.8 / k
    for row, name in enumerate(model.names):
        plot.barh(np.arange(d) + (row - (k - 1) / 2) * height, z[row], height, label=name)
    plot.set_yticks(np.arange(d), [name.replace("_", " ") for name in model.features.columns])
    plot.invert_yaxis()
    plot.axvline(0, color="black", linewidth=0.8)
    plot.set(xlabel="standard deviations from the mean customer", title="Segments")
    plot.legend(fontsize=8)
    return _bytes(figure, file_format)


def _figure(file_format: str) -> tuple[Any, Any]:
    from matplotlib.figure import Figure  # noqa: PLC0415 - an extra; only a picture needs it

    if file_format not in FORMATS:
        raise DomainError(f"no format {file_format!r}: {', '.join(FORMATS)}")
    figure = Figure(figsize=(9, 6), layout="constrained")  # no pyplot: no global state, no screen
    return figure, figure.subplots()


def _bytes(figure: Any, file_format: str) -> bytes:
    buffer = BytesIO()
    undated = {"Date": None} if file_format == "svg" else {"Software": None}
    figure.savefig(buffer, format=file_format, dpi=120, metadata=undated)
    return buffer.getvalue()
