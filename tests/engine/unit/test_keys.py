"""The key catalogue: complete, in one Cluster slot, and the same for Python and Lua."""

from __future__ import annotations

import inspect
import re

from floodgate.broker.keys import CATALOGUE, Keys
from floodgate.broker.scripts import SCRIPTS

KEYS = Keys("shop")


def methods() -> dict[str, str]:
    """Return the key that each method of Keys builds for 'x'."""
    found = {}
    for name, method in inspect.getmembers(KEYS, inspect.ismethod):
        if not name.startswith("_"):
            found[name] = method(*["x"] * len(inspect.signature(method).parameters))
    return found


def test_every_key_begins_with_the_prefix_that_holds_the_hash_tag() -> None:
    assert KEYS.prefix == "{shop:1}:"
    assert all(key.startswith(KEYS.prefix) for key in methods().values())


def test_every_key_has_a_row_in_the_catalogue_and_every_row_a_key() -> None:
    assert sorted(methods()) == sorted(kind.name for kind in CATALOGUE)
    for kind in CATALOGUE:
        assert methods()[kind.name] == KEYS.prefix + kind.name + (":x" if kind.per else "")


def test_no_two_keys_of_a_namespace_are_the_same() -> None:
    assert len(set(methods().values())) == len(CATALOGUE)


def test_namespaces_share_no_key() -> None:
    assert Keys("a").tasks() != Keys("b").tasks()


def test_the_scripts_name_only_what_the_catalogue_has() -> None:
    names = {kind.name + (":" if kind.per else "") for kind in CATALOGUE}
    for script in SCRIPTS.values():
        named = set(re.findall(r"P \.\. '([a-z]+:?)'", script.text))
        assert named <= names, script.name
