"""Texts of the formats that JSON Schema and pydantic name, and plain words for all others.

Pure data and one-liners. Must not know where they are sent.
"""

from __future__ import annotations

import base64
import random
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta

WORDS = ("tea", "coffee", "cocoa", "milk", "sugar", "lemon", "ginger", "mint", "honey", "cinnamon")
FIRST = datetime(2026, 1, 1, tzinfo=UTC)
DAYS = 365


def _moment(chance: random.Random) -> datetime:
    return FIRST + timedelta(seconds=chance.randrange(DAYS * 86_400))


def _uuid(version: int) -> Callable[[random.Random], str]:
    return lambda chance: str(uuid.UUID(int=chance.getrandbits(128), version=version))


def _octets(chance: random.Random) -> str:
    return chance.choice(WORDS)


FORMATS: Mapping[str, Callable[[random.Random], str]] = {
    "uuid": _uuid(4),
    **{f"uuid{version}": _uuid(version) for version in (1, 3, 4, 5)},
    "date": lambda chance: f"{_moment(chance):%Y-%m-%d}",
    "date-time": lambda chance: f"{_moment(chance):%Y-%m-%dT%H:%M:%SZ}",
    "time": lambda chance: f"{_moment(chance):%H:%M:%S}",
    "duration": lambda chance: f"PT{chance.randint(1, 3600)}S",
    "email": lambda chance: f"{chance.choice(WORDS)}@example.com",
    "idn-email": lambda chance: f"{chance.choice(WORDS)}@example.com",
    "name-email": lambda chance: f"{chance.choice(WORDS)} <{chance.choice(WORDS)}@example.com>",
    "uri": lambda chance: f"https://example.com/{chance.choice(WORDS)}",
    "uri-reference": lambda chance: f"/{chance.choice(WORDS)}",
    "hostname": lambda chance: f"{chance.choice(WORDS)}.example.com",
    "ipv4": lambda chance: f"192.0.2.{chance.randint(1, 254)}",
    "ipv6": lambda chance: f"2001:db8::{chance.randint(1, 9999)}",
    "ipvanyaddress": lambda chance: f"192.0.2.{chance.randint(1, 254)}",
    "ipv4network": lambda chance: f"198.51.{chance.randint(0, 255)}.0/24",
    "ipv6network": lambda chance: f"2001:db8:{chance.randint(1, 9999)}::/48",
    "ipvanynetwork": lambda chance: f"198.51.{chance.randint(0, 255)}.0/24",
    "ipv4interface": lambda chance: f"192.0.2.{chance.randint(1, 254)}/24",
    "ipv6interface": lambda chance: f"2001:db8::{chance.randint(1, 9999)}/64",
    "ipvanyinterface": lambda chance: f"192.0.2.{chance.randint(1, 254)}/24",
    "byte": lambda chance: base64.b64encode(_octets(chance).encode()).decode(),
    "base64": lambda chance: base64.b64encode(_octets(chance).encode()).decode(),
    "base64url": lambda chance: base64.urlsafe_b64encode(_octets(chance).encode()).decode(),
    "json-string": lambda chance: f'"{chance.choice(WORDS)}"',
    "json-pointer": lambda chance: f"/{chance.choice(WORDS)}",
    "regex": lambda chance: f"^{chance.choice(WORDS)}$",
}
