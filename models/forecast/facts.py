"""What there is to say of a customer's purchases, in words and by theme."""

from __future__ import annotations

from typing import Final

from models.forecast.gamma_gamma import GammaGamma
from models.history import Histories, PurchaseStats

THEMES: Final = ("silence", "rhythm", "lately", "money", "tenure", "basket", "refunds")
_LATELY_DAYS: Final = 90
_LONG: Final = 1.5  # times the usual gap: silence that is worth a word


class Facts:
    """Of customers who all have bought, as of the end of a day.

    value  what orders are worth in the shop; None = not known
    """

    def __init__(
        self, value: GammaGamma | None, known: Histories, stats: PurchaseStats, as_of_day: int
    ) -> None:
        self._known, self._stats, self._as_of_day = known, stats, as_of_day
        is_finite = value is not None and value.q > 1
        self._usual_minor = value.p * value.v / (value.q - 1.0) if value and is_finite else 0.0

    def words(self, theme: str, i: int) -> str:
        """Say what a theme comes to for customer i; "" where there is nothing to say.

        >>> import numpy as np
        >>> from models.history import from_orders, purchase_stats
        >>> shop = from_orders(1, np.zeros(2, int), np.array([0, 10]), np.array([100, 100]))
        >>> facts = Facts(None, shop, purchase_stats(shop, 40), 40)
        >>> facts.words("silence", 0), facts.words("lately", 0), facts.words("money", 0)
        ('silent 3.0x longer than usual', '2 purchase days in the last 90 days', '')
        """
        return str(getattr(self, f"_{theme}")(i))

    def _gap(self, i: int) -> float:
        """The usual days between purchases; 0 after one."""
        often = float(self._stats.frequency[i])
        return max(float(self._stats.recency[i]) / often, 1.0) if often else 0.0

    def _silence(self, i: int) -> str:
        quiet, gap = float(self._stats.age[i] - self._stats.recency[i]), self._gap(i)
        if not gap:
            return f"silent for {quiet:.0f} days after a first purchase"
        if quiet > _LONG * gap:
            return f"silent {quiet / gap:.1f}x longer than usual"
        return "within the usual rhythm"

    def _rhythm(self, i: int) -> str:
        gap = self._gap(i)
        return f"buys about every {gap:.0f} days" if gap else "one purchase only"

    def _lately(self, i: int) -> str:
        ago = self._as_of_day - self._known.day[self._rows(i)]
        count = int((ago < _LATELY_DAYS).sum())
        return f"{count or 'no'} purchase day{'s' * (count != 1)} in the last {_LATELY_DAYS} days"

    def _money(self, i: int) -> str:
        if not self._usual_minor or not self._stats.paid_orders[i]:
            return ""
        ratio = float(self._stats.mean_paid_minor[i]) / self._usual_minor
        return f"orders {ratio:.1f}x as large as usual in the shop"

    def _tenure(self, i: int) -> str:
        return f"a customer for {self._stats.age[i]:.0f} days"

    def _basket(self, i: int) -> str:
        items = float(self._known.items[self._rows(i)].mean())
        return f"about {items:.0f} items a purchase" if items >= 1 else ""

    def _refunds(self, i: int) -> str:
        back = self._known.refunds
        gave = back is not None and back.starts[i + 1] > back.starts[i]
        return "gave purchases back" if gave else ""

    def _rows(self, i: int) -> slice:
        return slice(int(self._known.starts[i]), int(self._known.starts[i + 1]))
