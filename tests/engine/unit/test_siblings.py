"""What one process sees of its siblings' figures: living, killed, folded, of another release, garbled."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from floodgate.operations.metrics import siblings
from floodgate.operations.metrics.families import Family
from floodgate.operations.metrics.ledger import Ledger
from floodgate.operations.metrics.snapshot import header_of
from tests.engine.counting import COUNTED, LEVEL, TOOK, Sibling, counted, ledger_of

Start = Callable[..., Sibling]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a sibling that counts under these labels; killed at the end."""
    started: list[Sibling] = []

    def sibling(*labels: str) -> Sibling:
        started.append(Sibling(tmp_path, *labels))
        return started[-1]

    yield sibling
    for one in started:
        one.kill()


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Ledger]:
    """The ledger of this process."""
    ledger = ledger_of(tmp_path, "a")
    yield ledger
    ledger.close()


def cells(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.glob(f"*{siblings.SUFFIX}"))


def test_what_all_processes_counted_is_added_up(own: Ledger, start: Start) -> None:
    other = start("a", "b")
    own.counter(COUNTED, "a").add(2)
    own.gauge(LEVEL).set(10)
    own.histogram(TOOK).observe(0.4)
    for words in (("count", "a", "3"), ("count", "b", "5"), ("level", "4"), ("took", "0.75"), ("took", "7")):
        other.say(*words)

    snapshot = own.snapshot()

    assert counted(snapshot, "a") == 5
    assert counted(snapshot, "b") == 5
    assert snapshot.rows[LEVEL.name, ()] == [14]
    assert snapshot.rows[TOOK.name, ()] == [1, 1, 1, pytest.approx(8.15)]


def test_a_killed_process_loses_no_count_and_has_no_level_any_more(own: Ledger, start: Start) -> None:
    other = start("a")
    other.say("level", "4")
    other.count("a", 7)
    other.kill()

    for _ in range(3):
        snapshot = own.snapshot()
        assert counted(snapshot, "a") == 7
        assert snapshot.rows[LEVEL.name, ()] == [0]


def test_the_dead_are_folded_into_one_file_which_newcomers_read(own: Ledger, start: Start, tmp_path: Path) -> None:
    for _ in range(3):
        other = start("a")
        other.count("a", 2)
        other.kill()
    assert len(cells(tmp_path)) == 4

    assert counted(own.snapshot(), "a") == 6

    assert len(cells(tmp_path)) == 1
    assert float(start("a").say("read", "a")) == 6
    assert counted(own.snapshot(), "a") == 6


def test_no_reader_ever_sees_a_count_shrink_while_others_die(own: Ledger, start: Start) -> None:
    reader = start("a")
    seen = [0.0]
    for _ in range(5):
        other = start("a")
        other.count("a", 100)
        seen += [counted(own.snapshot(), "a"), float(reader.say("read", "a"))]
        other.process.send_signal(signal.SIGKILL)  # and not waited for: it is dying while it is read
        seen += [float(reader.say("read", "a")), counted(own.snapshot(), "a")]
    assert seen == sorted(seen)
    assert seen[-1] == 500


@pytest.mark.parametrize("cut_at", ["replace", "unlink"])
def test_a_fold_that_is_cut_short_counts_nothing_twice(
    own: Ledger, start: Start, monkeypatch: pytest.MonkeyPatch, cut_at: str
) -> None:
    other = start("a")
    other.count("a", 7)
    other.kill()

    def fail(*_: object) -> None:
        raise OSError("no room")

    with monkeypatch.context() as broken:
        broken.setattr(os, cut_at, fail)
        assert counted(own.snapshot(), "a") == 7
        assert counted(own.snapshot(), "a") == 7
    assert counted(own.snapshot(), "a") == 7
    assert counted(own.snapshot(), "a") == 7


def test_series_of_another_release_are_shown_and_outlive_it(own: Ledger, start: Start) -> None:
    other = start("removed", "a")
    other.count("removed", 3)
    assert counted(own.snapshot(), "removed") == 3
    other.kill()
    assert counted(own.snapshot(), "removed") == 3


def test_a_metric_that_another_release_counts_in_another_form_is_left_out(own: Ledger, tmp_path: Path) -> None:
    other = Family(TOOK.name, "histogram", "Other bounds.", (), (3.0,))
    header = header_of([(other, ()), (COUNTED, ("a",))])
    (tmp_path / f"1-x{siblings.SUFFIX}").write_bytes(header + b"\0\0\0\0\0\0\xf0\x3f" * 4)
    snapshot = own.snapshot()
    assert snapshot.rows[TOOK.name, ()] == [0, 0, 0, 0]
    assert counted(snapshot, "a") == 1


@pytest.mark.parametrize(
    "content", [b"", b"x", b"\0" * 16, os.urandom(200), header_of([(COUNTED, ("a",))]), header_of([])[:-3]]
)
def test_garbage_in_the_directory_is_said_once_and_counts_nothing(
    own: Ledger, tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / f"1-x{siblings.SUFFIX}").write_bytes(content)
    (tmp_path / f"2-x{siblings.SUFFIX}").mkdir()
    os.mkfifo(tmp_path / f"3-x{siblings.SUFFIX}")
    own.counter(COUNTED, "a").add(2)
    for _ in range(3):
        assert counted(own.snapshot(), "a") == 2
    said = [record for record in caplog.records if record.getMessage() == "figures that cannot be read"]
    assert len(said) == 3


def test_without_a_directory_or_when_it_is_gone_a_process_shows_its_own(own: Ledger, tmp_path: Path) -> None:
    alone = ledger_of(None, "a")
    for ledger in (alone, own):
        ledger.counter(COUNTED, "a").add(2)
    for name in cells(tmp_path):
        (tmp_path / name).unlink()
    tmp_path.rmdir()
    for ledger in (alone, own):
        assert counted(ledger.snapshot(), "a") == 2
        ledger.counter(COUNTED, "a").add(1)
        assert counted(ledger.snapshot(), "a") == 3


def test_without_room_for_its_file_a_process_counts_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(os, "write", lambda file, content: len(content) - 1)  # as a full file system does
    ledger = ledger_of(tmp_path, "a")
    ledger.counter(COUNTED, "a").add(2)
    assert counted(ledger.snapshot(), "a") == 2
    assert list(tmp_path.iterdir()) == []
    assert "No space left" in caplog.records[0].__dict__["floodgate_fields"]["reason"]
    ledger.close()


def test_a_series_has_as_many_labels_as_its_family() -> None:
    with pytest.raises(ValueError, match="has the labels"):
        Ledger().row(COUNTED)
