"""Addresses of Sentinels: what they may say, and that none of it is shown where they do not fit."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from floodgate.operations.redis_url import SentinelUrl, sentinel_url
from floodgate.operations.settings import Settings, faults


@pytest.mark.parametrize(
    ("url", "read"),
    [
        (
            "redis+sentinel://a,b:26380/main",
            SentinelUrl((("a", 26379), ("b", 26380)), "main", "redis://primary/0", None, None),
        ),
        (
            "redis+sentinel://me:p%2Cw@[::1]:1,b/main/3?sentinel_username=s&sentinel_password=t%26u&client_name=x",
            SentinelUrl((("::1", 1), ("b", 26379)), "main", "redis://me:p%2Cw@primary/3?client_name=x", "s", "t&u"),
        ),
        (
            "rediss+sentinel://a/main/0?ssl_ca_certs=c",
            SentinelUrl((("a", 26379),), "main", "rediss://primary/0?ssl_ca_certs=c", None, None),
        ),
    ],
)
def test_an_address_of_sentinels_is_read(url: str, read: SentinelUrl) -> None:
    assert sentinel_url(url) == read
    assert Settings.model_validate({"redis_url": url, "namespace": "shop"}).redis == url


@pytest.mark.parametrize(
    "url",
    [
        "redis+sentinel://s3cret:26379",
        "redis+sentinel:///main",
        "redis+sentinel://a:s3cret/main",
        "redis+sentinel://a,/main",
        "redis+sentinel://a/main/s3cret",
        "redis+sentinel://a/main?protocol=3",
        "redis+sentinel://a/main?ssl_ca_certs=s3cret",
        "unix+sentinel://a/main",
    ],
)
def test_one_that_does_not_fit_is_told_with_one_that_does(url: str) -> None:
    with pytest.raises(ValidationError) as raised:
        Settings.model_validate({"redis_url": url, "namespace": "shop"})
    said = faults(raised.value)[0]
    assert said.startswith("REDIS_URL: ")
    assert "s3cret" not in said + str(raised.value)
