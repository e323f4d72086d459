"""Name the rules by which identifiers are normalised, so that a change of them reaches stored rows."""

from __future__ import annotations

import unicodedata
from hashlib import blake2b

import orjson
import phonenumbers
import stdnum

from nurt.normalise.context import FoldContext

VERSION = 2
"""Raised with every change of what the modules here make of a text. 1: before there were versions."""


def rules_digest(context: FoldContext) -> str:
    """Name the rules: this version, the libraries' tables of countries, and what the mapping says of them."""
    rules = [
        VERSION,
        [phonenumbers.__version__, stdnum.__version__, unicodedata.unidata_version],
        sorted((kind, list(steps)) for kind, steps in context.identifier_rules.items()),
        sorted(context.country.items()),
    ]
    return blake2b(orjson.dumps(rules), digest_size=8).hexdigest()
