"""The order of `make roll`, with a stand-in for docker: where memory is short, and where a new container fails."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from floodgate.broker.keys import FORMAT
from floodgate.run.docker import Failed
from floodgate.run.roll import ASK_FORMAT, check_format, replace

ROOT = Path(__file__).parents[3]
DOCKER = """#!{python} -IS
import json, pathlib, re, sys
path = pathlib.Path({state!r})
state, words = json.loads(path.read_text()), sys.argv[1:]
said = " ".join(words)
if words[0] == "stats":
    print(*(f"{{one}} 100MiB / 512MiB" for one in words[4:]), sep="\\n")
elif words[:2] == ["compose", "ps"]:
    print(*state[words[-1]], sep="\\n")
elif "up" in words:
    for fleet, many in re.findall(r"--scale (\\w+)=(\\d+)", said):
        for _ in range(int(many) - len(state[fleet])):
            state["made"] += 1
            state[fleet].append(f"{{fleet[0]}}{{state['made']}}")
        state["most"][fleet] = max(state["most"].get(fleet, 0), len(state[fleet]))
    if state["fails"] in said:
        state["fails"] = "never"
        path.write_text(json.dumps(state))
        sys.exit("container is unhealthy")
elif "-c" in words:
    answer = state["formats"]["new" if "run" in words else "old"]
    print(answer) if answer.isdigit() else sys.exit(answer)
elif words[0] == "exec":
    print(f"MemTotal: 9 kB\\nMemAvailable:  {{state['free_mib'] * 1024}} kB")
elif words[0] in ("stop", "rm"):
    state["log"].append(" ".join((words[0], words[-1])))
    if words[0] == "rm":
        for fleet in ("worker", "gateway"):
            state[fleet] = [one for one in state[fleet] if one != words[-1]]
elif words[0] == "inspect":
    print("healthy")
path.write_text(json.dumps(state))
"""


class Engine:
    """What the stand-in keeps."""

    def __init__(self, directory: Path) -> None:
        self._state = directory / "state"
        self.said: list[str] = []
        self.undone = 0
        docker = directory / "docker"
        docker.write_text(DOCKER.format(python=sys.executable, state=str(self._state)))
        docker.chmod(0o755)

    def set(self, free_mib: int, fails: str = "never") -> None:
        olds = {"worker": ["oldw1", "oldw2", "oldw3"], "gateway": ["oldg1", "oldg2"]}
        self._state.write_text(
            json.dumps(olds | {"made": 0, "most": {}, "log": [], "free_mib": free_mib, "fails": fails})
        )

    def __getitem__(self, name: str) -> object:
        return json.loads(self._state.read_text())[name]

    def set_formats(self, old: str, new: str) -> None:
        self.set(2000)
        state = json.loads(self._state.read_text()) | {"formats": {"old": old, "new": new}}
        self._state.write_text(json.dumps(state))

    def roll(self) -> None:
        replace(self.said.append, self._undo)

    def _undo(self) -> None:
        self.undone += 1


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Engine:
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    return Engine(tmp_path)


def test_all_new_ones_stand_beside_the_old_and_the_old_workers_leave_last(engine: Engine) -> None:
    engine.set(free_mib=2000)
    engine.roll()
    assert engine["most"] == {"worker": 6, "gateway": 4}
    leaving = ["oldg1", "oldg2", "oldw1", "oldw2", "oldw3"]
    assert engine["log"] == [f"{word} {one}" for one in leaving for word in ("stop", "rm")]
    assert (engine["worker"], engine["gateway"]) == (["w1", "w2", "w3"], ["g4", "g5"])
    assert "3 workers and 2 gateways more: about 500 MiB, of 2000 MiB" in engine.said[0]


@pytest.mark.parametrize(("free_mib", "beside"), [(400, 1), (10, 1), (550, 2)])
def test_where_memory_is_short_fewer_new_workers_stand_beside_the_old_and_the_number_never_falls(
    engine: Engine, free_mib: int, beside: int
) -> None:
    engine.set(free_mib)
    engine.roll()
    assert engine["most"] == {"worker": 3 + beside, "gateway": 4}
    assert str(engine["worker"]).count("w") == 3
    assert "old" not in str(engine["worker"])


@pytest.mark.parametrize("fails", ["gateway=4", "worker=6"])
def test_when_a_new_one_does_not_get_healthy_the_new_leave_and_the_old_stay(engine: Engine, fails: str) -> None:
    engine.set(2000, fails)
    with pytest.raises(Failed, match=f"the new {fails.partition('=')[0]} did not get healthy"):
        engine.roll()
    assert (engine["worker"], engine["gateway"]) == (["oldw1", "oldw2", "oldw3"], ["oldg1", "oldg2"])
    assert "old" not in str(engine["log"])
    assert engine.undone == 1


def test_where_what_runs_keeps_its_keys_in_another_format_the_way_is_named(engine: Engine) -> None:
    engine.set_formats("2", "2")
    check_format("next")
    for old in ("1", "ModuleNotFoundError: No module named 'floodgate'"):
        engine.set_formats(old, "2")
        with pytest.raises(Failed, match=r"cannot serve side by side.*: make down up$"):
            check_format("next")


def test_a_container_that_cannot_be_asked_for_its_format_is_a_failure_of_its_own(engine: Engine) -> None:
    engine.set_formats("container is restarting", "2")
    with pytest.raises(Failed, match=r"^container is restarting$"):
        check_format("next")


def test_the_code_says_its_format() -> None:
    said = subprocess.run([sys.executable, *ASK_FORMAT[1:]], cwd=ROOT, capture_output=True, text=True, check=True)
    assert said.stdout == f"{FORMAT}\n"
