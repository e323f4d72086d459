"""What a deployment says of its stock: locations, the channels and markets that they serve, and the rules."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from nurt.model.units import NO_AMOUNT, Amount
from nurt_client.quantities import UNIT as TEN_THOUSANDTHS

UNIT = Amount(TEN_THOUSANDTHS)
"""Quantities are kept in ten-thousandths, as every amount."""

AT_BOOKING, AT_SHIPMENT = "booking", "shipment"
"""When on hand falls: when the ERP books, or when goods leave."""


@dataclass(frozen=True, slots=True)
class Location:
    """A warehouse or shop.

    Attributes:
        buffer: quantity that is never promised.
        system: whose figure counts when several systems tell of the location; None: the one believed first.
        stale_s: seconds without news of its system after which the buffer is raised; None: never.
        stale_buffer: quantity that is added to the buffer then.
    """

    name: str
    buffer: Amount = NO_AMOUNT
    system: str | None = None
    stale_s: int | None = None
    stale_buffer: Amount = NO_AMOUNT


@dataclass(frozen=True, slots=True)
class Channel:
    """Where things are sold.

    Attributes:
        locations: that serve it.
        markets: in which it sells; a market that is not here is served by all of its locations.
        buffer: quantity that is never promised to it.
        inbound_days: supplies expected within so many days are promised, too; None: none are.
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
    """A country or site.

    Attributes:
        locations: that may serve it; None: all that serve the channel.
        buffer: quantity that is never promised to it, in any channel.
    """

    name: str
    locations: tuple[str, ...] | None = None
    buffer: Amount = NO_AMOUNT


@dataclass(frozen=True, slots=True)
class StockPlan:
    """Locations, channels, markets and rules, as the mapping's section `stock` has them.

    Attributes:
        reduced_by: AT_BOOKING or AT_SHIPMENT.
        grace_s: how long a booking still counts when on hand does not show that it was taken.
        reservation_s: how long an order without document or shipment holds; None: for ever.
        stuck_s: after how long an order without document is an event; None: never.
        low: quantity at or below which stock is low.
        hysteresis: quantity above a threshold at which its crossing is over.
        drift: difference to a channel's own figure that is an event; None: never.
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
