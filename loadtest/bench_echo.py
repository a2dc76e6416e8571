"""The yardstick: a bare push and blocking pop, there and back between two Python processes.

`python -m loadtest.bench_echo KEY`, with REDIS_URL, is the far end. Must not know the queue.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import statistics
import subprocess
import sys
import time

from redis import Redis

from floodgate.run.processes import with_parent_death_signal

BODY = b"x" * 100
PATIENCE_S = 5
WARM = 50


def p50_us(url: str, seconds: float) -> float:
    """Return the median round trip of `seconds` of them."""
    key = f"bench-echo:{secrets.token_hex(4)}"
    command = [sys.executable, "-m", "loadtest.bench_echo", key]
    far = subprocess.Popen(with_parent_death_signal(command, signal.SIGKILL), env={**os.environ, "REDIS_URL": url})
    took_us: list[float] = []
    try:
        with contextlib.closing(Redis.from_url(url, protocol=2)) as client:
            _trip(client, key)
            until_s = time.monotonic() + seconds
            while time.monotonic() < until_s or len(took_us) <= WARM:
                start_s = time.perf_counter()
                _trip(client, key)
                took_us.append((time.perf_counter() - start_s) * 1e6)
    finally:
        far.kill()
        far.wait()
    return statistics.median(took_us[WARM:])


def _trip(client: Redis, key: str) -> None:
    client.rpush(f"{key}:there", BODY)
    if client.blpop([f"{key}:back"], PATIENCE_S) is None:
        raise TimeoutError("the far end of the echo does not answer")


def main() -> None:
    """Send back whatever comes, until killed."""
    (key,) = sys.argv[1:]
    client = Redis.from_url(os.environ["REDIS_URL"], protocol=2)
    while True:
        popped = client.blpop([f"{key}:there"], PATIENCE_S)
        if popped is None:
            return
        client.rpush(f"{key}:back", popped[1])


if __name__ == "__main__":
    main()
