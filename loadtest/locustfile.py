"""One task per demo route, weighted equally; edit it with your routes.

A refusal (503 with Retry-After) is what the template promises under load, so it
counts as a success under a name of its own; anything else that is not 200 fails.
"""

from __future__ import annotations

import random
from contextlib import AbstractContextManager
from typing import Any

from locust import FastHttpUser, constant_throughput, task


class Client(FastHttpUser):
    """Asks once a second, as long as answers come in less."""

    wait_time = constant_throughput(1)

    @task
    def hello(self) -> None:
        self._ask("GET", "/", "/")

    @task
    def sync_test(self) -> None:
        self._ask("GET", "/sync-test", f"/sync-test?x={random.randint(1, 10**6)}")

    @task
    def async_test(self) -> None:
        self._ask("GET", "/async-test", f"/async-test?n={random.randint(0, 100)}")

    @task
    def orders(self) -> None:
        self._ask("POST", "/orders", "/orders", json={"item": "tea", "quantity": 2, "price": "1.50"})

    def _ask(self, method: str, name: str, path: str, **options: Any) -> None:
        asking: AbstractContextManager[Any] = self.client.request(
            method, path, name=name, catch_response=True, **options
        )
        with asking as response:
            if response.status_code == 503 and "retry-after" in response.headers:
                response.request_meta["name"] = f"{name} (refused)"
                response.success()
            elif response.status_code != 200:
                response.failure(f"status {response.status_code}")
