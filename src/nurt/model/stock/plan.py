"""A deployment's plan of stock: locations, the channels and markets that they serve, and rules."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from nurt.model.units import NO_AMOUNT, Amount
from nurt_client.quantities import UNIT as TEN_THOUSANDTHS

UNIT = Amount(TEN_THOUSANDTHS)
"""One piece: quantities are stored in ten-thousandths, as every amount."""

AT_BOOKING, AT_SHIPMENT = "booking", "shipment"
"""When on hand falls: when the ERP books, or when the goods leave."""


@dataclass(frozen=True, slots=True)
class Location:
    """A warehouse or shop.

    Attributes:
        buffer: quantity that is never promised.
        system: its level counts when several systems report the location; None: that of the best priority.
        stale_s: seconds without news of its system before the buffer is raised; None: never.
        stale_buffer: quantity that is added to the buffer of a stale location.
    """

    name: str
    buffer: Amount = NO_AMOUNT
    system: str | None = None
    stale_s: int | None = None
    stale_buffer: Amount = NO_AMOUNT


@dataclass(frozen=True, slots=True)
class Channel:
    """Sales channel.

    Attributes:
        locations: that serve the channel.
        markets: in which the channel sells; an unlisted market is served by all of the channel's locations.
        buffer: quantity that is never promised to the channel.
        inbound_days: supplies expected within so many days are promised, too; None: no supplies.
        shown: location under which the channel's own figure is mapped; compared, never counted.
    """

    name: str
    locations: tuple[str, ...]
    markets: tuple[str, ...] = ("",)
    buffer: Amount = NO_AMOUNT
    inbound_days: int | None = None
    shown: str | None = None


@dataclass(frozen=True, slots=True)
class Market:
    """A country or site where things are sold.

    Attributes:
        locations: that may serve the market; None: all locations of the channel.
        buffer: quantity that is never promised to the market, in any channel.
    """

    name: str
    locations: tuple[str, ...] | None = None
    buffer: Amount = NO_AMOUNT


@dataclass(frozen=True, slots=True)
class StockPlan:
    """Locations, channels, markets and rules, from the mapping's section `stock`.

    Attributes:
        reduced_by: AT_BOOKING or AT_SHIPMENT.
        grace_s: how long a booking counts while on hand does not show it.
        reservation_s: how long an order without document or shipment holds stock; None: for ever.
        stuck_s: age at which an order without document causes an event; None: never.
        low: quantity at or below which stock is low.
        hysteresis: quantity above a threshold at which a crossing ends.
        drift: difference to a channel's own figure that causes an event; None: never.
    """

    locations: Mapping[str, Location] = field(default_factory=dict)
    channels: Mapping[str, Channel] = field(default_factory=dict)
    markets: Mapping[str, Market] = field(default_factory=dict)
    reduced_by: str = AT_BOOKING
    grace_s: int = 30
    reservation_s: int | None = None
    stuck_s: int | None = None
    low: Amount = NO_AMOUNT
    hysteresis: Amount = UNIT
    drift: Amount | None = None
