"""A process that counts, for tests of what its siblings see of it: it is told line by line what to do.

Run as `python -m tests.engine.counting DIRECTORY LABEL…`; owns the families of such tests,
and `Sibling`, which starts one. Asserts nothing.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from floodgate.operations.metrics.families import Family
from floodgate.operations.metrics.ledger import Ledger
from floodgate.operations.metrics.snapshot import Snapshot

ROOT = Path(__file__).parents[2]
COUNTED = Family("floodgate_test_counted_total", "counter", "What was counted.", ("what",))
LEVEL = Family("floodgate_test_level", "gauge", "How high it stands.")
TOOK = Family("floodgate_test_took_seconds", "histogram", "How long it took.", (), (0.5, 1.0))


def ledger_of(directory: Path | None, *labels: str) -> Ledger:
    """Return an open ledger of the test's families."""
    ledger = Ledger()
    ledger.row(LEVEL)
    ledger.row(TOOK)
    for label in labels:
        ledger.row(COUNTED, label)
    ledger.open(directory)
    return ledger


def counted(snapshot: Snapshot, label: str) -> float:
    """Return a count, 0 where there is none."""
    return snapshot.rows.get((COUNTED.name, (label,)), [0.0])[0]


class Sibling:
    """A running one."""

    def __init__(self, directory: Path, *labels: str) -> None:
        command = [sys.executable, "-m", "tests.engine.counting", str(directory), *labels]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, cwd=ROOT)
        self._answer()

    def count(self, label: str, number: int) -> None:
        self.say("count", label, str(number))

    def say(self, *words: str) -> str:
        """Tell it, and return what it answers when it is done."""
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
    ledger = ledger_of(Path(directory), *labels)
    print("open", flush=True)
    for line in sys.stdin:
        match line.split():
            case ["count", label, number]:
                ledger.counter(COUNTED, label).add(int(number))
                print("counted", flush=True)
            case ["level", number]:
                ledger.gauge(LEVEL).set(float(number))
                print("set", flush=True)
            case ["took", seconds]:
                ledger.histogram(TOOK).observe(float(seconds))
                print("observed", flush=True)
            case ["read", label]:
                print(counted(ledger.snapshot(), label), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
