"""What is set from outside: an address that no client can read is told at once, and no value is shown."""

from __future__ import annotations

import inspect

import pytest
from pydantic import ValidationError
from redis.asyncio.connection import SSLConnection

from floodgate.errors import ConfigurationError
from floodgate.operations.redis_url import QUERY, TLS_QUERY
from floodgate.operations.settings import NAMESPACE, UNNAMED, Settings, faults


@pytest.mark.parametrize("url", ["localhost:6379", "127.0.0.1", "http://127.0.0.1:6379", "redis://:s3cret/x@host:6379"])
def test_an_address_that_no_client_can_read_is_named_with_one_that_it_can(url: str) -> None:
    with pytest.raises(ValidationError) as raised:
        Settings.model_validate({"redis_url": url})
    (said,) = faults(raised.value)
    assert said.startswith("REDIS_URL: ")
    assert "redis://127.0.0.1:6379/0" in said
    assert "s3cret" not in said + str(raised.value)


@pytest.mark.parametrize(
    "url",
    [
        "redis://h",
        "rediss://u:p%2Fw@h:6380/1",
        "unix:///run/redis.sock",
        "redis://[::1]:6379/0",
        "redis://h?db=2",
        "rediss://h?ssl_ca_certs=a",
    ],
)
def test_the_addresses_of_redis_are_taken(url: str) -> None:
    assert Settings.model_validate({"redis_url": url, "namespace": "shop"}).redis == url


@pytest.mark.parametrize(
    "name", ["protocol", "decode_responses", "retry_on_timeout", "socket_timeout", "ssl_ca_certs", "anything"]
)
def test_a_query_cannot_change_what_the_engine_builds_on(name: str) -> None:
    with pytest.raises(ValidationError) as raised:
        Settings.model_validate({"redis_url": f"redis://h:6379/0?db=1&{name}=s3cret"})
    (said,) = faults(raised.value)
    assert said.startswith(f"REDIS_URL: take {name} out of its query, which may have client_name, db, ")
    assert "s3cret" not in said + str(raised.value)


def test_a_database_in_a_query_is_a_number() -> None:
    with pytest.raises(ValidationError, match="db in its query is no number"):
        Settings.model_validate({"redis_url": "redis://h?db=first"})


def test_of_a_password_with_a_question_mark_in_it_nothing_is_shown() -> None:
    with pytest.raises(ValidationError) as raised:
        Settings.model_validate({"redis_url": "redis://h:6379/?s3cret!word"})
    assert "s3cret" not in str(raised.value)


def test_what_a_query_may_have_is_known_to_the_client() -> None:
    known = {name for kind in SSLConnection.__mro__ for name in inspect.signature(kind).parameters}
    assert known >= QUERY | TLS_QUERY


def test_an_empty_address_is_none() -> None:
    with pytest.raises(ConfigurationError, match="REDIS_URL is not set"):
        _ = Settings.model_validate({"redis_url": ""}).redis


@pytest.mark.parametrize("given", [{}, {"namespace": ""}, {"namespace": UNNAMED}])
def test_on_a_redis_of_ones_own_the_namespace_is_named(given: dict[str, str]) -> None:
    with pytest.raises(ValidationError) as raised:
        Settings.model_validate({"redis_url": "redis://h:6379/0", **given})
    (said,) = faults(raised.value)
    assert said.startswith("NAMESPACE: name it where REDIS_URL is set: ")
    assert Settings.model_validate({"redis_url": "redis://h:6379/0", "namespace": "shop"}).namespace == "shop"
    assert Settings.model_validate(given).namespace == NAMESPACE
