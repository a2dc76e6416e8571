"""What one process sees of the metrics of others: living, killed, folded, of another release, malformed."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread

import pytest
from hypothesis import given
from hypothesis import strategies as st

from floodgate.operations import metrics_files
from floodgate.operations.metrics import PROCESSES, Metric, Metrics
from floodgate.operations.metrics_files import SNAPSHOT, TOTALS, Content, MetricsFiles, decode, encode_head
from tests.engine.counting_process import COUNTED, LEVEL, TOOK, Counting, CountingProcess, counted

Start = Callable[..., CountingProcess]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a process that counts under these labels; killed at the end."""
    started: list[CountingProcess] = []

    def process(*labels: str) -> CountingProcess:
        started.append(CountingProcess(tmp_path, *labels))
        return started[-1]

    yield process
    for one in started:
        one.kill()


@pytest.fixture
def own(tmp_path: Path) -> Counting:
    """What this process counts."""
    return Counting(tmp_path, "a")


def files(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir() if path.name.endswith((SNAPSHOT, ".lock")))


def test_what_all_processes_counted_is_added_up(own: Counting, start: Start) -> None:
    other = start("a", "b")
    own.counted["a"].add(2)
    own.level.set(10)
    own.took.observe(0.4)
    lines = ("count", "a", "3"), ("count", "b", "5"), ("level", "4"), ("took", "0.75"), ("took", "7"), ("share",)
    for words in lines:
        other.say(*words)

    snapshot = own.collect()

    assert counted(snapshot, "a") == 5
    assert counted(snapshot, "b") == 5
    assert snapshot.numbers(LEVEL) == [14]
    assert snapshot.numbers(TOOK) == [1, 1, 1, pytest.approx(8.15)]
    assert snapshot.numbers(PROCESSES) == [2]


def test_a_killed_process_loses_no_count_that_was_shared_and_has_no_gauges_any_more(
    own: Counting, start: Start
) -> None:
    other = start("a")
    other.say("level", "4")
    other.count("a", 7)
    other.say("count", "a", "1")
    other.kill()

    for _ in range(3):
        snapshot = own.collect()
        assert counted(snapshot, "a") == 7
        assert snapshot.numbers(LEVEL) == [0]
        assert snapshot.numbers(PROCESSES) == [1]


def test_whatever_a_scrape_has_shown_stays_when_the_process_that_showed_it_is_killed(
    own: Counting, start: Start
) -> None:
    other = start("a")
    other.say("count", "a", "3")
    shown = float(other.say("read", "a"))
    other.kill()
    assert counted(own.collect(), "a") == shown == 3


def test_a_process_that_ends_by_itself_loses_nothing(own: Counting, start: Start) -> None:
    other = start("a")
    other.say("count", "a", "3")
    other.end()
    assert counted(own.collect(), "a") == 3


async def test_a_process_shares_by_itself_within_a_second(own: Counting, tmp_path: Path) -> None:
    running = asyncio.create_task(own.process.run())
    await asyncio.sleep(0.05)
    own.counted["a"].add(5)
    await asyncio.sleep(metrics_files.MEASURE_S * metrics_files.LOOKS_PER_WRITE + 0.2)
    running.cancel()
    (file,) = tmp_path.glob(f"*{SNAPSHOT}")
    assert 5 in decode(file.read_bytes()).numbers


def test_the_dead_are_folded_into_one_file_which_newcomers_read(own: Counting, start: Start, tmp_path: Path) -> None:
    for _ in range(3):
        other = start("a")
        other.count("a", 2)
        other.kill()
    own.process.share()
    assert len(files(tmp_path)) == 8

    assert counted(own.collect(), "a") == 6

    assert len(files(tmp_path)) == 2
    assert float(start("a").say("read", "a")) == 6
    assert counted(own.collect(), "a") == 6


def test_no_reader_ever_sees_a_count_shrink_while_others_die(own: Counting, start: Start) -> None:
    reader = start("a")
    seen = [0.0]
    for _ in range(5):
        other = start("a")
        other.count("a", 100)
        seen += [counted(own.collect(), "a"), float(reader.say("read", "a"))]
        other.process.send_signal(signal.SIGKILL)  # and not waited for: it is dying while it is read
        seen += [float(reader.say("read", "a")), counted(own.collect(), "a")]
    assert seen == sorted(seen)
    assert seen[-1] == 500


@pytest.mark.parametrize("file", [SNAPSHOT, TOTALS])
def test_what_is_folded_while_it_is_read_is_counted_once(
    own: Counting, start: Start, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, file: str
) -> None:
    for _ in range(2):
        other = start("a")
        other.count("a", 7)
        other.kill()
    reader = Counting(tmp_path, "a")
    read, shown = MetricsFiles._read, list[float]()

    def fold_first(files: MetricsFiles, name: str) -> Content:
        if name.endswith(file):
            monkeypatch.setattr(MetricsFiles, "_read", read)
            other_process = Thread(target=lambda: shown.append(counted(own.collect(), "a")))
            other_process.start()
            other_process.join()
        return read(files, name)

    monkeypatch.setattr(MetricsFiles, "_read", fold_first)
    for _ in range(2):
        assert counted(reader.collect(), "a") == 14
    assert shown == [14]


@pytest.mark.parametrize("cut_at", ["replace", "unlink"])
def test_a_fold_that_is_cut_short_counts_nothing_twice(
    own: Counting, start: Start, monkeypatch: pytest.MonkeyPatch, cut_at: str
) -> None:
    other = start("a")
    other.count("a", 7)
    other.kill()

    def fail(path: Path, *arguments: Path) -> Path:
        if arguments and arguments[0].name != TOTALS:
            return replace(path, *arguments)
        raise OSError("no room")

    replace = Path.replace
    with monkeypatch.context() as broken:
        broken.setattr(Path, cut_at, fail)
        assert counted(own.collect(), "a") == 7
        assert counted(own.collect(), "a") == 7
    assert counted(own.collect(), "a") == 7
    assert counted(own.collect(), "a") == 7


def test_series_of_another_release_are_shown_and_outlive_it(own: Counting, start: Start) -> None:
    other = start("removed", "a")
    other.count("removed", 3)
    assert counted(own.collect(), "removed") == 3
    other.kill()
    assert counted(own.collect(), "removed") == 3


def test_a_metric_that_another_release_counts_in_another_form_is_left_out(own: Counting, tmp_path: Path) -> None:
    other = Metric(TOOK.name, "histogram", "Other bounds.", (), (3.0,))
    content = encode_head([(other, ()), (COUNTED, ("a",))]) + b"\n[1, 1, 1, 1]"
    (tmp_path / f"1-x{SNAPSHOT}").write_bytes(content)
    snapshot = own.collect()
    assert snapshot.numbers(TOOK) == [0, 0, 0, 0]
    assert counted(snapshot, "a") == 1


HEAD = encode_head([(COUNTED, ("a",))])


@pytest.mark.parametrize(
    "content",
    [b"", b"x", b"\0" * 16, b"[]\n[]", HEAD, HEAD + b"\n[]", HEAD + b'\n["1"]', HEAD + b"\n1", b"[" * 100_000],
    ids=lambda content: repr(content[:12]),
)
def test_malformed_files_are_logged_once_and_count_nothing(
    own: Counting, tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / f"1-x{SNAPSHOT}").write_bytes(content)
    (tmp_path / f"2-x{SNAPSHOT}").mkdir()
    os.mkfifo(tmp_path / f"3-x{SNAPSHOT}")
    own.counted["a"].add(2)
    for _ in range(3):
        assert counted(own.collect(), "a") == 2
    assert [record.getMessage() for record in caplog.records] == ["a metrics file cannot be read"]


@given(st.recursive(st.none() | st.integers() | st.text(max_size=3), lambda inner: st.lists(inner, max_size=4)))
def test_a_file_of_any_other_form_is_a_value_error(part: object) -> None:
    good = {"metrics": [["n", "counter", "", [], []]], "series": [[0]], "folded": []}
    for head, numbers in ((part, [1]), *(({**good, name: part}, [1]) for name in good), (good, part)):
        with contextlib.suppress(ValueError):
            decode(f"{json.dumps(head)}\n{json.dumps(numbers)}".encode())


def test_a_file_is_read_as_it_was_written() -> None:
    series = ((COUNTED, ("/ä\ud800",)), (TOOK, ()))
    content = encode_head(series, ["1-a"]) + b"\n[3, 1, 2, 3, 0.25]"
    assert decode(content) == Content(series, ("1-a",), [3, 1, 2, 3, 0.25])


def test_without_a_directory_or_when_it_is_gone_a_process_shows_its_own(
    own: Counting, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    alone = Counting(None, "a")
    own.process.share()
    for counting in (alone, own):
        counting.counted["a"].add(2)
    for path in tmp_path.iterdir():
        path.unlink()
    tmp_path.rmdir()
    for counting in (alone, own):
        assert counted(counting.collect(), "a") == 2
        counting.counted["a"].add(1)
        assert counted(counting.collect(), "a") == 3
    assert len(caplog.records) == 1


def test_without_room_for_its_file_a_process_counts_alone_and_says_so(
    own: Counting, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(path: Path, content: bytes) -> int:
        raise OSError(28, "No space left on device")

    own.counted["a"].add(2)
    with monkeypatch.context() as broken:
        broken.setattr(Path, "write_bytes", full)
        for _ in range(2):
            assert counted(own.collect(), "a") == 2
    assert "No space left" in caplog.records[0].__dict__["floodgate_fields"]["reason"]
    assert len(caplog.records) == 1
    assert counted(Counting(tmp_path).collect(), "a") == 0
    own.process.share()
    assert counted(Counting(tmp_path).collect(), "a") == 2, "tried again"


def test_a_series_has_as_many_labels_as_its_metric() -> None:
    with pytest.raises(ValueError, match="has the labels"):
        Metrics().counter(COUNTED)
