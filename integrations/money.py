"""Money and quantities: exact decimals in, integers out.

An amount arrives as a finite float or a short decimal string in major units and leaves as an
integer number of the currency's minor units. A float is read by its shortest decimal form,
which is what the producer wrote; no arithmetic is done in binary fractions.
"""

from decimal import ROUND_HALF_EVEN, Context, Decimal, InvalidOperation
from functools import lru_cache
from typing import Final

from integrations.rejection import RejectionError

_TWO: Final = """
AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BMD BND BOB BOV BRL BSD BTN BWP BYN BZD
CAD CDF CHE CHF CHW CNY COP COU CRC CUC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL
GHS GIP GMD GTQ GYD HKD HNL HRK HTG HUF IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR
LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MXV MYR MZN NAD NGN NIO NOK NPR NZD PAB
PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SLL SOS SRD SSP STN SVC SYP
SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD USN UYU UZS VED VES WST XCD XCG YER ZAR ZMW ZWG ZWL
"""
_NONE: Final = "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF"
_THREE: Final = "BHD IQD JOD KWD LYD OMR TND"
_FOUR: Final = "CLF UYW"

MINOR_DIGITS: Final[dict[str, int]] = {
    code: digits
    for codes, digits in ((_TWO, 2), (_NONE, 0), (_THREE, 3), (_FOUR, 4))
    for code in codes.split()
}
"""Digits after the point per ISO 4217 code, withdrawn codes of recent years included."""

LARGEST_AMOUNT: Final = Decimal(10) ** 12
LARGEST_QUANTITY: Final = Decimal(10) ** 9
EXACT: Final = Context(prec=80, rounding=ROUND_HALF_EVEN)
"""Wide enough that sums and products of accepted amounts and quantities never round."""


@lru_cache(maxsize=4096)
def currency_code(text: str) -> str:
    """Upper-case ISO 4217 code; raise RejectionError if it is none."""
    code = text.strip().upper()
    if code not in MINOR_DIGITS:
        raise RejectionError("bad_currency")
    return code


def decimal_of(value: float | str) -> Decimal:
    """The number that the producer wrote, exactly; raise RejectionError if it is not finite."""
    try:
        number = Decimal(value if isinstance(value, str) else repr(value))
    except InvalidOperation:
        raise RejectionError("bad_amount") from None
    if not number.is_finite():
        raise RejectionError("not_finite")
    return number


def amount_of(value: float | str) -> Decimal:
    """A non-negative amount in major units; raise RejectionError otherwise."""
    number = decimal_of(value)
    if number < 0:
        raise RejectionError("negative_amount")
    if number >= LARGEST_AMOUNT:
        raise RejectionError("bad_amount")
    return number


def to_minor(amount: Decimal, digits: int) -> int:
    """Whole minor units, half to even."""
    return int(EXACT.quantize(EXACT.scaleb(amount, digits), Decimal(1)))


@lru_cache(maxsize=1 << 16)
def minor_units(value: float | str, digits: int) -> int:
    """Amount in minor units, half to even; raise RejectionError if it is no amount.

    >>> minor_units(22.5, 2), minor_units("0.125", 2), minor_units(1000.0, 0)
    (2250, 12, 1000)
    """
    return to_minor(amount_of(value), digits)


@lru_cache(maxsize=1 << 14)
def quantity_milli(value: float | str) -> int:
    """Quantity in thousandths, half to even; raise RejectionError if it is not above zero.

    >>> quantity_milli(1.0), quantity_milli("0.3335")
    (1000, 334)
    """
    number = decimal_of(value)
    if not 0 < number < LARGEST_QUANTITY:
        raise RejectionError("bad_quantity")
    milli = to_minor(number, 3)
    if milli == 0:
        raise RejectionError("bad_quantity", detail="A quantity is below half a thousandth.")
    return milli


def major(amount_minor: int, currency: str) -> Decimal:
    """An integer amount back in major units: `major(2250, "USD") == Decimal("22.50")`."""
    return Decimal(amount_minor).scaleb(-MINOR_DIGITS[currency])
