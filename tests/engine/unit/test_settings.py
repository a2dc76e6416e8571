"""What is set from outside: an address that no client can read is told at once, and no value is shown."""

from __future__ import annotations

import inspect

import pytest
from pydantic import ValidationError
from redis.asyncio.connection import SSLConnection

from floodgate.errors import ConfigurationError
from floodgate.operations.environment import notes, variable
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


@pytest.mark.parametrize("given", [{}, {"namespace": ""}, {"namespace": f"{UNNAMED}orders"}])
def test_on_a_redis_of_ones_own_the_namespace_is_named(given: dict[str, str]) -> None:
    with pytest.raises(ValidationError) as raised:
        Settings.model_validate({"redis_url": "redis://h:6379/0", **given})
    (said,) = faults(raised.value)
    assert said.startswith("FLOODGATE_NAMESPACE: name it where REDIS_URL is set: ")
    assert Settings.model_validate({"redis_url": "redis://h:6379/0", "namespace": "shop"}).namespace == "shop"
    assert Settings.model_validate(given).namespace == NAMESPACE


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("FLOODGATE_DRAN_S", "FLOODGATE_DRAIN_S"),
        ("FLOODGATE_WORKER_PLACES", "FLOODGATE_WORKER_CONCURRENCY"),
        ("FLOODGATE_REDIS_URL", "REDIS_URL"),
        ("FLOODGATE_GATEWY_PORT", "FLOODGATE_GATEWAY_PORT"),
    ],
)
def test_a_name_that_is_no_setting_is_an_error_that_names_the_nearest(
    monkeypatch: pytest.MonkeyPatch, name: str, nearest: str
) -> None:
    monkeypatch.setenv(name, "8100")
    with pytest.raises(ConfigurationError, match=f"^{name} is no setting; the nearest is {nearest}$"):
        Settings()


def test_what_kubernetes_sets_for_its_services_is_ignored_with_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    service = {"FLOODGATE_GATEWAY_SERVICE_HOST": "10.0.0.1", "FLOODGATE_GATEWAY_SERVICE_PORT": "80"}
    service |= {"FLOODGATE_GATEWAY_SERVICE_PORT_HTTP": "80", "FLOODGATE_GATEWAY_PORT": "tcp://10.0.0.1:80"}
    service |= {"FLOODGATE_GATEWAY_PORT_80_TCP_ADDR": "10.0.0.1", "FLOODGATE_PORT": "tcp://10.0.0.2:80"}
    service |= {"GATEWAY_PORT": "tcp://10.0.0.1:80", "HANDLERS_SERVICE_HOST": "10.0.0.1"}
    for name, value in service.items():
        monkeypatch.setenv(name, value)
    assert Settings().gateway_port == 8000
    (line,) = notes(service, Settings.model_fields)
    assert line.startswith("ignored, since they describe a Service of Kubernetes: FLOODGATE_GATEWAY_PORT, ")


def test_an_old_name_without_its_new_one_is_a_line_and_sets_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    old = {"WORKER_PLACES": "3", "DRAIN_S": "8", "REDIS_URL": "redis://h", "LEASE_S": "2", "FLOODGATE_LEASE_S": "3"}
    for name, value in (old | {"REDIS_URL": ""}).items():
        monkeypatch.setenv(name, value)
    assert sorted(notes(old, Settings.model_fields)) == [
        "DRAIN_S is not read: the name of the setting is FLOODGATE_DRAIN_S",
        "WORKER_PLACES is not read: the name of the setting is FLOODGATE_WORKER_CONCURRENCY",
    ]
    assert (Settings().worker_concurrency, Settings().drain_s, Settings().lease_s) == (100, 30, 3)


def test_every_setting_but_the_address_of_redis_has_the_prefix() -> None:
    names = {variable(field) for field in Settings.model_fields}
    assert {name for name in names if not name.startswith("FLOODGATE_")} == {"REDIS_URL"}
