"""What a segment is called: a key of the vocabulary, unless the operator gave it a name."""

import tomllib
from collections.abc import Collection
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib.resources import files
from typing import Any

from models.checks import DomainError, require

LANGUAGES = ("en", "zh")
LONGEST_NAME = 80


@dataclass(frozen=True, slots=True)
class Label:
    """Name and description of one segment, stored with its id; all but `own`, which is no model's.

    key     entry of [names] in vocabulary.toml
    suffix  entry of [suffixes] that tells namesakes apart; "" = none
    number  of namesakes that no word tells apart; 0 = none
    levels  of recency, frequency, money: -2 far below the other customers .. 2 far above
    own     the operator's name, in every language; "" = none
    failed  retrains in a row in which the key's rule clearly did not hold
    """

    key: str
    suffix: str = ""
    number: int = 0
    levels: tuple[int, int, int] = (0, 0, 0)
    own: str = ""
    failed: int = 0

    def __post_init__(self) -> None:
        """Raise DomainError for a word that the vocabulary lacks."""
        words = vocabulary()
        require(self.key in words["names"], f"{self.key!r} is in the vocabulary")
        require(not self.suffix or self.suffix in words["suffixes"], f"{self.suffix!r} is known")
        require(min(self.number, self.failed) >= 0, "counts >= 0")
        require(all(-2 <= level <= 2 for level in self.levels), "-2 <= level <= 2")
        require(self.own == self.own.strip() and len(self.own) <= LONGEST_NAME, "a short name")

    def name(self, language: str = "en") -> str:
        """Return the name.

        >>> Label("champions", "more_orders").name(), Label("champions").name("zh")
        ('Champions (more orders)', '冠军客户')
        """
        words = vocabulary()
        if self.own:
            return self.own
        name: str = _in(words["names"][self.key], language)
        if self.suffix:
            name = _in(words["patterns"]["suffix"], language).format(
                name=name, suffix=_in(words["suffixes"][self.suffix], language)
            )
        return f"{name} ({self.number})" if self.number else name

    def description(self, language: str = "en") -> str:
        """Return one sentence.

        >>> Label("champions", levels=(-1, 1, 2)).description()
        'Bought recently, buys more often than most and spends far more than most.'
        """
        words = vocabulary()
        entry = words["descriptions"].get(self.key)
        if entry is not None:
            return _in(entry, language)
        phrases = {
            part: _in(words[part][str(level)], language)
            for part, level in zip(("recency", "frequency", "money"), self.levels, strict=True)
        }
        return _in(words["patterns"]["description"], language).format(**phrases)


def numbered(label: Label, taken: Collection[str]) -> Label:
    """Return the label with the first number that gives it none of these names, in any language.

    >>> numbered(Label("loyal"), {"Loyal"}).name()
    'Loyal (2)'
    """
    found, number = label, max(2, label.number)
    while any(found.name(language) in taken for language in LANGUAGES):
        found, number = replace(found, number=number), number + 1
    return found


@lru_cache(maxsize=1)
def vocabulary() -> dict[str, Any]:
    """Return vocabulary.toml: every word in English and Chinese."""
    return tomllib.loads(files("models.segments").joinpath("vocabulary.toml").read_text("utf-8"))


def _in(entry: dict[str, str], language: str) -> str:
    if language not in LANGUAGES:
        raise DomainError(f"no language {language!r}: {', '.join(LANGUAGES)}")
    return entry[language]
