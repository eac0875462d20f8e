"""What is known of shops before a shop has customers: one row of parameters per source shop.

Each row is the maximum of the MBG/NBD likelihood on all customers of that shop before its cutoff,
as the logarithms of r, alpha (weeks), a, b. A shop that is one of the sources is scored with the
prior of the others.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from models.forecast.beta_geometric import Prior


class Source(NamedTuple):
    """A shop that the prior was learned from.

    name       short name
    origin     where the orders come from
    cutoff     the fit knows the days before it
    customers  fitted on
    logs       log r, log alpha (weeks), log a, log b
    """

    name: str
    origin: str
    cutoff: str
    customers: int
    logs: tuple[float, float, float, float]


SOURCES: Final = (
    Source(
        "cdnow",
        "CDNOW master, B. Hardie and P. Fader",
        "1998-01-01",
        23_570,
        (-0.5042, 2.0846, -0.4465, 0.1669),
    ),
    Source(
        "online-retail-2",
        "UCI Online Retail II, doi 10.24432/C5CG6D",
        "2011-03-14",
        4_594,
        (-0.2811, 2.3204, -1.5657, 2.3762),
    ),
    Source(
        "complete-journey",
        "dunnhumby, The Complete Journey",
        "2017-10-17",
        2_451,
        (0.3440, 0.3179, -3.8619, 2.7849),
    ),
)
_SD: Final = 1.0  # of each logarithm: shops differ about so much


def prior_without(source: str | None) -> Prior:
    """Return the prior of all sources but one.

    Raises  KeyError for a name that is none of them

    >>> prior_without("cdnow") != prior_without(None)
    True
    """
    if source is not None and source not in {one.name for one in SOURCES}:
        raise KeyError(source)
    rows = np.array([one.logs for one in SOURCES if one.name != source])
    r, alpha, a, b = rows.mean(axis=0).tolist()
    return Prior((r, alpha, a, b), _SD)


PRIOR: Final = prior_without(None)
