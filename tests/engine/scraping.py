"""What a scraper reads at `/-/metrics`, through the parser of `prometheus_client`. Asserts that it can be read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import httpx
from prometheus_client.parser import text_string_to_metric_families


@dataclass(frozen=True, slots=True)
class Sample:
    """One line."""

    name: str
    labels: Mapping[str, str]
    value: float


class Scrape:
    """All lines of one scrape."""

    def __init__(self, text: str) -> None:
        self.samples = [
            Sample(sample.name, sample.labels, sample.value)
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        ]

    def __call__(self, name: str, **labels: str) -> float:
        """Add up the series of a metric (its name without `floodgate_`) that have these labels."""
        return sum(
            sample.value
            for sample in self.samples
            if sample.name == f"floodgate_{name}" and labels.items() <= sample.labels.items()
        )


def scrape(url: str, headers: Mapping[str, str] | None = None) -> Scrape:
    """Scrape an app over a connection of its own."""
    answer = httpx.get(f"{url}/-/metrics", headers=headers, timeout=5)
    assert (answer.status_code, answer.headers["content-type"].split(";")[0]) == (200, "text/plain"), answer.text
    return Scrape(answer.text)
