"""What each kind of model is for, and what it is not for: the words of its card."""

from __future__ import annotations

from typing import Final

PURPOSE: Final[dict[str, str]] = {
    "segments": (
        "Puts every customer who has bought into one of a few groups that buy alike, for campaigns"
        " and reports. The nearest group wins; a group keeps its id and name over trainings."
    ),
    "recommendations": (
        "Ranks items for each customer, those that were bought before and new ones apart, for shop"
        " pages, mails and people who sell."
    ),
    "forecasts": (
        "Tells of each customer who has bought: the chance of another purchase, and how many orders"
        " and how much money to expect, for planning and for choosing whom to write to."
    ),
}

LIMITS: Final[dict[str, tuple[str, ...]]] = {
    "segments": (
        "Who never bought is in none. Who bought once is placed by little.",
        "A group describes how its customers bought, not who they are, nor why.",
        "Customers near a border change groups by chance: `margin` says how near.",
        "The data are what the event streams told: purchases elsewhere are unknown.",
        "Not for decisions about credit, prices of one person, employment or insurance.",
    ),
    "recommendations": (
        "Only items that events or the catalog named. New items need a purchase, or words.",
        "What sells well is favored beyond what it would sell by itself.",
        "Weights are learned on the last closed window: a season or a campaign speaks with them.",
        "It knows of stock, prices and rules only what the catalog and the settings say.",
        "Not for goods that must not be suggested, unless a filter leaves them out.",
    ),
    "forecasts": (
        "Frequencies over many customers, not promises about one: see the calibration.",
        "Who never bought has none. Figures of a short history are marked by their reliability.",
        "Campaigns, prices and assortments of the future are unknown to it.",
        "Money is net, in the reporting currency; where a currency is unknown it abstains.",
        "Not for decisions about credit, prices of one person, employment or insurance.",
    ),
}
