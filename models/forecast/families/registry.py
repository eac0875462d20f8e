"""All supervised families: a new one is a file and a line here."""

from __future__ import annotations

from typing import Final

from models.forecast.families import boosting, forest, glm, linear, logistic
from models.forecast.families.base import Family, Target

FAMILIES: Final[dict[str, Family]] = {
    family.name: family
    for family in (
        linear.FAMILY,
        glm.POISSON,
        glm.TWEEDIE,
        logistic.FAMILY,
        forest.FAMILY,
        boosting.FAMILY,
    )
}


def families_of(target: Target) -> list[Family]:
    """Return the families that can forecast a target.

    >>> [family.name for family in families_of("buy")]
    ['logistic', 'forest', 'boosting']
    """
    return [family for family in FAMILIES.values() if target in family.targets]
