"""A process that counts, for tests of what other processes see of it: it does what it reads, line by line.

Run as `python -m tests.engine.counting_process DIRECTORY LABEL…`; owns the metrics of such tests,
and `CountingProcess`, which starts one. Asserts nothing.
"""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from pathlib import Path

from floodgate.operations.metrics import Metric, Metrics, Snapshot
from floodgate.operations.metrics_files import ProcessMetrics

ROOT = Path(__file__).parents[2]
COUNTED = Metric("floodgate_test_counted_total", "counter", "What was counted.", ("what",))
LEVEL = Metric("floodgate_test_level", "gauge", "How high it stands.")
TOOK = Metric("floodgate_test_took_seconds", "histogram", "How long it took.", (), (0.5, 1.0))


class Counting:
    """The test's series in one process, and what it shares."""

    def __init__(self, directory: Path | None, *labels: str) -> None:
        metrics = Metrics()
        self.level = metrics.gauge(LEVEL)
        self.took = metrics.histogram(TOOK)
        self.counted = {label: metrics.counter(COUNTED, label) for label in labels}
        self.process = ProcessMetrics(metrics, directory, lambda: True, lambda: None)

    def collect(self) -> Snapshot:
        """Return the sum over all processes."""
        return asyncio.run(self.process.collect())


def counted(snapshot: Snapshot, label: str) -> float:
    """Return a count, 0 where there is none."""
    return snapshot.numbers(COUNTED, label)[0]


class CountingProcess:
    """A running one."""

    def __init__(self, directory: Path, *labels: str) -> None:
        command = [sys.executable, "-m", "tests.engine.counting_process", str(directory), *labels]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, cwd=ROOT)
        self._answer()

    def count(self, label: str, number: int) -> None:
        """Let it count, and share what it has counted."""
        self.say("count", label, str(number))
        self.say("share")

    def say(self, *words: str) -> str:
        """Send it a line, and return what it answers when it is done."""
        assert self.process.stdin is not None
        print(*words, file=self.process.stdin, flush=True)
        return self._answer()

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.end()

    def end(self) -> None:
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()
        self.process.wait()

    def _answer(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()


def main(directory: str, *labels: str) -> None:
    counting = Counting(Path(directory), *labels)
    print("started", flush=True)
    for line in sys.stdin:
        answer: object = "done"
        match line.split():
            case ["count", label, number]:
                counting.counted[label].add(int(number))
            case ["level", number]:
                counting.level.set(float(number))
            case ["took", seconds]:
                counting.took.observe(float(seconds))
            case ["share"]:
                counting.process.share()
            case ["read", label]:
                answer = counted(counting.collect(), label)
        print(answer, flush=True)
    counting.process.share()


if __name__ == "__main__":
    main(*sys.argv[1:])
