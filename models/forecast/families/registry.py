"""All supervised families, found by themselves: a new one is one file in this folder.

It is a candidate at once, alone and beside level 1, with every weight and anchor; which groups are
blended besides is `recipe.py`'s choice.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Final

from models.forecast.families.base import Family, Target


def _found() -> dict[str, Family]:
    """The families of every file beside this one, in the order of the files' names."""
    names = sorted(path.stem for path in Path(__file__).parent.glob("*.py"))
    others = [name for name in names if name not in {"__init__", "base", "registry"}]
    modules = [import_module(f"models.forecast.families.{name}") for name in others]
    values = [value for module in modules for value in vars(module).values()]
    return {value.name: value for value in values if isinstance(value, Family)}


FAMILIES: Final[dict[str, Family]] = _found()


def families_of(target: Target) -> list[Family]:
    """Return the families that can forecast a target.

    >>> [family.name for family in families_of("buy")]
    ['boosting', 'forest', 'logistic']
    """
    return [family for family in FAMILIES.values() if target in family.targets]
