"""The order of `make roll`, with a stand-in for docker: where memory is short, and where a new container fails."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from floodgate.broker.keys import FORMAT
from floodgate.run import docker
from floodgate.run.docker import Failed
from floodgate.run.roll import ASK_FORMAT, check_format, replace

ROOT = Path(__file__).parents[3]


class Engine:
    """A stand-in for docker's command line, and what it was told."""

    STDOUT = subprocess.STDOUT

    def __init__(self) -> None:
        self.fleets = {"worker": ["oldw1", "oldw2", "oldw3"], "gateway": ["oldg1", "oldg2"]}
        self.most = dict.fromkeys(self.fleets, 0)
        self.log: list[str] = []
        self.formats = {"old": "2", "new": "2"}
        self.free_mib, self.fails = 2000, "never"
        self.made = self.undone = 0
        self.said: list[str] = []

    def run(self, command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
        """Do what `subprocess.run` would."""
        answer, failed = self._answer(command[1:])
        return subprocess.CompletedProcess(command, int(failed), answer, "")

    def _answer(self, words: list[str]) -> tuple[str, bool]:
        said, answer = " ".join(words), ""
        if words[0] == "stats":
            answer = "\n".join(f"{one} 100MiB / 512MiB" for one in words[4:])
        elif words[:2] == ["compose", "ps"]:
            answer = "\n".join(self.fleets[words[-1]])
        elif "up" in words:
            for fleet, many in re.findall(r"--scale (\w+)=(\d+)", said):
                for _ in range(int(many) - len(self.fleets[fleet])):
                    self.made += 1
                    self.fleets[fleet].append(f"{fleet[0]}{self.made}")
                self.most[fleet] = max(self.most[fleet], len(self.fleets[fleet]))
            if self.fails in said:
                self.fails = "never"
                return "container is unhealthy", True
        elif "-c" in words:
            answer = self.formats["new" if "run" in words else "old"]
            return answer, not answer.isdigit()
        elif words[0] == "exec":
            answer = f"MemTotal: 9 kB\nMemAvailable:  {self.free_mib * 1024} kB"
        elif words[0] in ("stop", "rm"):
            self.log.append(f"{words[0]} {words[-1]}")
            if words[0] == "rm":
                self.fleets = {fleet: [one for one in ones if one != words[-1]] for fleet, ones in self.fleets.items()}
        elif words[0] == "inspect":
            answer = "healthy"
        return answer, False

    def roll(self) -> None:
        replace(self.said.append, self._undo)

    def _undo(self) -> None:
        self.undone += 1


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Engine:
    engine = Engine()
    monkeypatch.setattr(docker, "subprocess", engine)
    return engine


def test_all_new_ones_stand_beside_the_old_and_the_old_workers_leave_last(engine: Engine) -> None:
    engine.roll()
    assert engine.most == {"worker": 6, "gateway": 4}
    leaving = ["oldg1", "oldg2", "oldw1", "oldw2", "oldw3"]
    assert engine.log == [f"{word} {one}" for one in leaving for word in ("stop", "rm")]
    assert (engine.fleets["worker"], engine.fleets["gateway"]) == (["w1", "w2", "w3"], ["g4", "g5"])
    assert "3 workers and 2 gateways more: about 500 MiB, of 2000 MiB" in engine.said[0]


@pytest.mark.parametrize(("free_mib", "beside"), [(400, 1), (10, 1), (550, 2)])
def test_where_memory_is_short_fewer_new_workers_stand_beside_the_old_and_the_number_never_falls(
    engine: Engine, free_mib: int, beside: int
) -> None:
    engine.free_mib = free_mib
    engine.roll()
    assert engine.most == {"worker": 3 + beside, "gateway": 4}
    assert str(engine.fleets["worker"]).count("w") == 3
    assert "old" not in str(engine.fleets["worker"])


@pytest.mark.parametrize("fails", ["gateway=4", "worker=6"])
def test_when_a_new_one_does_not_get_healthy_the_new_leave_and_the_old_stay(engine: Engine, fails: str) -> None:
    engine.fails = fails
    with pytest.raises(Failed, match=f"the new {fails.partition('=')[0]} did not get healthy"):
        engine.roll()
    assert (engine.fleets["worker"], engine.fleets["gateway"]) == (["oldw1", "oldw2", "oldw3"], ["oldg1", "oldg2"])
    assert "old" not in str(engine.log)
    assert engine.undone == 1


def test_where_what_runs_keeps_its_keys_in_another_format_the_way_is_named(engine: Engine) -> None:
    check_format("next")
    for old in ("1", "ModuleNotFoundError: No module named 'floodgate'"):
        engine.formats["old"] = old
        with pytest.raises(Failed, match=r"cannot serve side by side.*: make down up$"):
            check_format("next")


def test_a_container_that_cannot_be_asked_for_its_format_is_a_failure_of_its_own(engine: Engine) -> None:
    engine.formats["old"] = "container is restarting"
    with pytest.raises(Failed, match=r"^container is restarting$"):
        check_format("next")


def test_the_code_says_its_format() -> None:
    said = subprocess.run([sys.executable, *ASK_FORMAT[1:]], cwd=ROOT, capture_output=True, text=True, check=True)
    assert said.stdout == f"{FORMAT}\n"
