"""What is set from outside: an address that no client can read is told at once, and no value is shown."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from shared.errors import ConfigurationError
from shared.settings import Settings, faults


@pytest.mark.parametrize("url", ["localhost:6379", "127.0.0.1", "http://127.0.0.1:6379", "redis://:s3cret/x@host:6379"])
def test_an_address_that_no_client_can_read_is_named_with_one_that_it_can(url: str) -> None:
    with pytest.raises(ValidationError) as raised:
        Settings.model_validate({"redis_url": url})
    (said,) = faults(raised.value)
    assert said.startswith("REDIS_URL: ")
    assert "redis://127.0.0.1:6379/0" in said
    assert "s3cret" not in said + str(raised.value)


@pytest.mark.parametrize(
    "url", ["redis://h", "rediss://u:p%2Fw@h:6380/1", "unix:///run/redis.sock", "redis://[::1]:6379/0"]
)
def test_the_addresses_of_redis_are_taken(url: str) -> None:
    assert Settings.model_validate({"redis_url": url}).redis == url


def test_an_empty_address_is_none() -> None:
    with pytest.raises(ConfigurationError, match="REDIS_URL is not set"):
        _ = Settings.model_validate({"redis_url": ""}).redis
