"""The apps' user in Redis may do exactly what the scripts and both apps do: found in their text, not noted by hand."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis

from floodgate.broker.keys import Keys
from floodgate.broker.scripts import SCRIPTS
from floodgate.run.acl import BEGINNING, COMMANDS, apps, users
from floodgate.run.embedded_server import EmbeddedServer

ROOT = Path(__file__).parents[3]
CLIENTS = re.compile(r"pipe|pipeline|client|_client")
"""How the sources call what sends commands by methods."""
RULE = re.compile(r"~\{shop:\*\}:\* resetchannels -@all( \+[a-z|]+)+")


@pytest.fixture
def known(redis_url: str) -> set[str]:
    """All commands that a server has, subcommands as `script|load`."""
    with Redis.from_url(redis_url) as client:
        return {name.decode() for name in client.execute_command("COMMAND LIST")}


def of_scripts(known: set[str]) -> set[str]:
    """Return the commands that the scripts call: any function's first argument that is the name of one."""
    named = {name.lower() for script in SCRIPTS.values() for name in re.findall(r"\w\(\s*'([A-Z]+)'", script.text)}
    return named & known


def of_apps(known: set[str]) -> set[str]:
    """Return the commands that Python sends: as the first of a tuple or of a call, or as a method of a client."""
    found = set()
    for name in ("broker", "declare", "gateway", "operations", "worker"):
        for path in (ROOT / "floodgate" / name).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                found |= set(_sent(node))
    return {command for command in found if command in known}


def _sent(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Tuple):
        yield from _words(node.elts)
    elif isinstance(node, ast.Call):
        yield from _words(node.args)
        match node.func:
            case ast.Attribute(attr=method, value=ast.Name(id=name) | ast.Attribute(attr=name)) if CLIENTS.fullmatch(
                name
            ):
                yield from (method, method.replace("_", "|"))


def _words(parts: list[ast.expr]) -> Iterator[str]:
    texts = [part.value for part in parts if isinstance(part, ast.Constant) and isinstance(part.value, str)]
    is_list = len(texts) == len(parts) > 2  # of words, such as how errors begin
    if texts and texts[0].isupper() and not is_list:
        yield texts[0].lower()
        yield "|".join(texts[:2]).lower()


def test_the_apps_may_do_what_they_do_and_nothing_else(known: set[str]) -> None:
    containers = {name.partition("|")[0] for name in known if "|" in name}
    used = (of_scripts(known) | of_apps(known)) - containers
    allowed = COMMANDS - set(BEGINNING.split())
    assert used - allowed == set(), "add these to floodgate/run/acl.py"
    assert allowed - used == set(), "take these out of floodgate/run/acl.py"


def test_every_command_there_is_found_as_one(known: set[str]) -> None:
    assert known >= COMMANDS
    assert {"zmscore", "blpop", "script|load", "hgetall", "time"} <= of_apps(known)
    assert {"zadd", "hset", "zdiff"} <= of_scripts(known)


def test_a_user_has_the_keys_of_its_namespace_in_every_format() -> None:
    assert RULE.fullmatch(apps("shop"))
    assert Keys("shop").prefix.startswith("{shop:")
    assert Keys("shop").prefix.endswith("}:")


def test_no_password_is_written_and_what_was_allowed_before_stays_until_it_is_written_anew() -> None:
    text = users("shop", "s3cret", "adm1n")
    assert "s3cret" not in text
    assert "adm1n" not in text
    with_old = users("shop", "s3cret", "adm1n", text.replace("+zadd", "+zadd +lrange"))
    assert "+lrange" in with_old
    assert users("shop", "s3cret", "adm1n", "") == text
    assert [line.split()[1] for line in text.splitlines()] == ["default", "health", "floodgate"]


def test_the_file_of_users_is_one_that_a_server_reads(tmp_path: Path) -> None:
    path = tmp_path / "users.acl"
    path.write_text(users("shop", "s3cret", "adm1n").replace("+@all\n", "+@all nopass\n"))
    with EmbeddedServer(unix=True, args=("--aclfile", str(path))) as server:
        assert server.command("AUTH", "floodgate", "s3cret") == b"+OK\r\n"
        assert server.command("AUTH", "health", "anything") == b"+OK\r\n"
        assert server.command("AUTH", "floodgate", "wrong").startswith(b"-WRONGPASS")
