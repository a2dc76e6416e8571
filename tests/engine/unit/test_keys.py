"""The key catalogue: complete, in one Cluster slot, and the same for Python and Lua."""

from __future__ import annotations

import inspect
import re

from floodgate.broker.keys import CATALOGUE, FORMAT, Keys
from floodgate.broker.scripts import SCRIPTS

KEYS = Keys("shop")


def keys() -> dict[str, str]:
    """Return the key of each row of the catalogue, for 'x' where it is one of many."""
    return {kind.name: KEYS.of(kind.name, "x" if kind.per else "") for kind in CATALOGUE}


def test_every_key_begins_with_the_prefix_that_holds_the_hash_tag() -> None:
    assert KEYS.prefix == f"{{shop:{FORMAT}}}:"
    assert all(key.startswith(KEYS.prefix) for key in keys().values())


def test_a_method_builds_the_key_of_its_row() -> None:
    for name, method in inspect.getmembers(KEYS, inspect.ismethod):
        if name != "of" and not name.startswith("_"):
            assert method(*["x"] * len(inspect.signature(method).parameters)) == keys()[name]


def test_no_two_keys_of_a_namespace_are_the_same() -> None:
    assert len(set(keys().values())) == len(CATALOGUE)


def test_namespaces_share_no_key() -> None:
    assert Keys("a").of("tasks") != Keys("b").of("tasks")


def test_the_scripts_name_only_what_the_catalogue_has() -> None:
    names = {kind.name + (":" if kind.per else "") for kind in CATALOGUE}
    for script in SCRIPTS.values():
        named = set(re.findall(r"P \.\. '([a-z_]+:?)'", script.text))
        assert named <= names, script.name
