"""Requests with an `Idempotency-Key`, asked for in short: a name like `1.k` stands for one that has the record `k`."""

from __future__ import annotations

from typing import Any

from floodgate.broker.commands import AdmitCode, AdmitResult
from floodgate.broker.idempotency import AdmitKey, RecallReply, recall
from tests.engine.queueing import Queue, lease, outcome, task_id

ADMITTED, JOINED, ENDED = AdmitCode.ADMITTED, AdmitCode.JOINED, AdmitCode.ENDED
WINDOW_S = 600


def results(queue: Queue, *names: str, retry: bool = False, full: bool = False, **more: Any) -> list[AdmitResult]:
    fingerprint, box = more.pop("fingerprint", "f"), more.get("inbox", "box")
    key = AdmitKey(fingerprint, box, WINDOW_S, retry, more.get("async_response", False), full)
    return list(queue.ask(*(queue.request(name, **more) for name in names), key=[key] * len(names)).results)


def ask(queue: Queue, *names: str, **more: Any) -> list[AdmitCode]:
    return [result.code for result in results(queue, *names, **more)]


def kept(queue: Queue, record: str = "k") -> RecallReply:
    return queue.send(recall(queue.keys, record))


def kept_outcome(queue: Queue) -> str:
    answer = kept(queue).answer
    return "" if answer is None else outcome(answer)[1]


def is_known(queue: Queue) -> bool:
    return queue.client.exists(queue.keys.idempotency("k")) == 1


def run(queue: Queue, name: str = "1.k", serial: int = 1, **report: Any) -> None:
    assert queue.claimed(serial) == [task_id(name)]
    assert queue.complete(lease(name, serial), **report) == [True]
