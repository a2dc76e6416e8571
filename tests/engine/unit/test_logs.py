"""Lines of the log: gathered ones are whole, in order, the same as others; what clients send does no harm in them."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from floodgate.declare.context import Caller
from floodgate.gateway.connections import LargeAnswers
from floodgate.gateway.middleware import RequestMiddleware, record_of
from floodgate.operations import logs

CHUNK = logs.CHUNK_BYTES
REQUEST = logging.getLogger("floodgate.request")


class Screen(io.RawIOBase):
    """Where standard error goes: keeps every write of the kernel's by itself."""

    def __init__(self, *, terminal: bool = False) -> None:
        self.writes: list[bytes] = []
        self.is_gone = False
        self._terminal = terminal

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return self._terminal

    def write(self, data: Any, /) -> int:
        if self.is_gone:
            raise BrokenPipeError
        self.writes.append(bytes(data))
        return len(data)

    @property
    def lines(self) -> list[str]:
        return b"".join(self.writes).decode().splitlines()

    @property
    def ids(self) -> list[str]:
        """What the lines are about: ids of requests, and texts of everything else."""
        return [line.get("request_id", line["event"]) for line in map(json.loads, self.lines)]


Configure = Callable[..., Screen]


@pytest.fixture
def configured(monkeypatch: pytest.MonkeyPatch) -> Iterator[Configure]:
    """Give what configures logging onto a screen; everything is as before afterwards.

    To be called in the test: pytest adds handlers of its own after the fixtures.
    """
    root, factory = logging.getLogger(), logging.getLogRecordFactory()
    level = root.level

    def configure(*, terminal: bool = False) -> Screen:
        screen = Screen(terminal=terminal)
        text = io.TextIOWrapper(io.BufferedWriter(screen), encoding="utf-8", line_buffering=True)
        monkeypatch.setattr(sys, "stderr", text)
        logs.configure()
        return screen

    yield configure
    root.handlers[:] = [handler for handler in root.handlers if not isinstance(handler, logs.Gatherer)]
    root.setLevel(level)
    logging.setLogRecordFactory(factory)
    logging.getLogger("floodgate").handlers.clear()
    REQUEST.handlers.clear()
    REQUEST.filters.clear()
    REQUEST.setLevel(logging.NOTSET)
    REQUEST.propagate = True


class Gateway:
    draining = False

    def count_other(self, status: int) -> None:
        pass


async def request(request_id: str, path: str = "/", *, route: str = "GET /", caller: str | None = None) -> None:
    """Let one request pass the middleware; `route` is empty for a plain one."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        record = record_of(scope)
        record.route, record.outcome, record.predicted_ms = route, "done", 3
        record.caller = None if caller is None else Caller(caller)
        await send({"type": "http.response.start", "status": 200})

    async def nothing(*_: Any) -> None:
        pass

    scope = {"type": "http", "method": "GET", "path": path, "headers": [(b"x-request-id", request_id.encode())]}
    await RequestMiddleware(app, nothing, Gateway(), LargeAnswers(0))(scope, nothing, nothing)  # type: ignore[arg-type]


class TestGathered:
    async def test_lines_are_written_together_and_soon(self, configured: Configure) -> None:
        screen = configured()
        with logs.gathering():
            for number in range(10):
                await request(str(number))
            assert screen.writes == []

            until_s = time.monotonic() + 5
            while not screen.writes and time.monotonic() < until_s:
                await asyncio.sleep(0.01)

            assert len(screen.writes) == 1
            assert screen.ids == [str(number) for number in range(10)]

    async def test_no_write_is_so_long_that_a_pipe_would_cut_it(self, configured: Configure) -> None:
        screen = configured()
        with logs.gathering():
            for number in range(300):
                await request(str(number), "/größe/" + "ö" * (number % 7) * 20, route="")

        assert screen.ids == [str(number) for number in range(300)]
        assert max(map(len, screen.writes)) <= CHUNK
        assert all(data.endswith(b"\n") for data in screen.writes)
        assert len(screen.writes) < 50

    async def test_lines_stand_in_order_with_everything_else(self, configured: Configure) -> None:
        screen = configured()
        with logs.gathering():
            await request("1")
            logging.getLogger("floodgate.gateway").error("something broke")
            await request("2")
            await asyncio.to_thread(logging.getLogger("mine").warning, "from a thread")
            await request("3")

        assert screen.ids == ["1", "something broke", "2", "from a thread", "3"]

    async def test_lines_come_whole_however_many_threads_write_meanwhile(self, configured: Configure) -> None:
        screen = configured()

        def write() -> None:
            for number in range(200):
                logging.getLogger("mine").info("%s", number)

        with logs.gathering():
            threads = asyncio.gather(*(asyncio.to_thread(write) for _ in range(3)))
            for number in range(500):
                await request(f"r{number}")
                if number % 10 == 0:
                    await asyncio.sleep(0)
            await threads

        assert [each for each in screen.ids if each.startswith("r")] == [f"r{number}" for number in range(500)]
        assert len(screen.ids) == 500 + 3 * 200

    async def test_a_line_is_the_same_as_one_that_is_written_at_once(self, configured: Configure) -> None:
        screen = configured()
        odd = {"path": '/tea "and" \\cake/ö\x1b[1m', "route": "", "caller": 'ann "the\nfirst"'}
        await request("plain")
        await request("odd", **odd)

        with logs.gathering():
            await request("plain")
            await request("odd", **odd)

        lines = [list(json.loads(line, object_pairs_hook=list)) for line in screen.lines]
        assert [line[1:] for line in lines[:2]] == [line[1:] for line in lines[2:]]
        assert [name for name, _ in lines[0]] == [name for name, _ in lines[2]]
        assert all(len(line[0][1]) == len("2026-01-01T00:00:00.000Z") for line in lines)

    async def test_after_the_end_each_is_written_at_once(self, configured: Configure) -> None:
        screen = configured()
        with logs.gathering():
            await request("1")
        await request("2")

        assert screen.ids == ["1", "2"]

    async def test_what_one_loop_left_undone_does_not_keep_the_next_from_it(self, configured: Configure) -> None:
        screen = configured()

        def serve(number: int) -> None:
            async def one() -> None:
                with logs.gathering():
                    await request(str(number))
                    if number:
                        await asyncio.sleep(3 * logs.FLUSH_S)
                        assert len(screen.ids) == number + 1, "its time came"

            asyncio.run(one())

        for number in range(2):
            await asyncio.to_thread(serve, number)

        assert screen.ids == ["0", "1"]

    async def test_a_stream_that_is_gone_harms_no_request(self, configured: Configure) -> None:
        screen = configured()
        with logs.gathering():
            screen.is_gone = True
            for _ in range(50):  # more than one chunk
                await request("1")
            await asyncio.sleep(2 * logs.FLUSH_S)
            screen.is_gone = False
            await request("2")

        assert screen.ids[-1] == "2"


def on_root(seen: logging.Handler) -> None:
    logging.getLogger().addHandler(seen)


def on_ours(seen: logging.Handler) -> None:
    logging.getLogger("floodgate").addHandler(seen)


def on_requests(seen: logging.Handler) -> None:
    REQUEST.addHandler(seen)


class TestOnesOwnLogging:
    @pytest.mark.parametrize("add", [on_root, on_ours, on_requests])
    async def test_a_handler_gets_a_record_per_request_in_the_midst_of_it(
        self, configured: Configure, add: Callable[[logging.Handler], None]
    ) -> None:
        screen = configured()
        records: list[Any] = []
        own = logging.Handler()
        own.emit = records.append  # type: ignore[method-assign, assignment]

        with logs.gathering():
            await request("1")
            add(own)
            await request("2")
            logging.getLogger().removeHandler(own)

        assert [record.floodgate_fields["request_id"] for record in records] == ["2"]
        assert screen.ids == ["1", "2"]

    async def test_a_filter_is_asked(self, configured: Configure) -> None:
        screen = configured()
        REQUEST.addFilter(lambda record: record.floodgate_fields["request_id"] != "2")  # type: ignore[attr-defined]

        with logs.gathering():
            for request_id in "123":
                await request(request_id)

        assert screen.ids == ["1", "3"]

    async def test_a_level_turns_them_off(self, configured: Configure) -> None:
        screen = configured()
        REQUEST.setLevel(logging.WARNING)

        with logs.gathering():
            await request("1")

        assert screen.lines == []

    async def test_a_formatter_shapes_them(self, configured: Configure) -> None:
        screen = configured()
        logging.getLogger().handlers[0].setFormatter(logging.Formatter("mine: %(message)s"))

        with logs.gathering():
            await request("1")

        assert screen.lines == ["mine: request"]

    async def test_a_factory_makes_the_records(self, configured: Configure) -> None:
        configured()
        made: list[str] = []

        def factory(*arguments: Any, **named: Any) -> logging.LogRecord:
            made.append(arguments[0])
            return logging.LogRecord(*arguments, **named)

        logging.setLogRecordFactory(factory)
        with logs.gathering():
            await request("1")

        assert made == ["floodgate.request"]


class TestWhatClientsSend:
    BAD = "/\x1b]0;owned\x07\x9b31m\r\nlevel=error forged=yes\u2028\ud800/"

    @pytest.mark.parametrize("terminal", [False, True])
    async def test_is_cut(self, configured: Configure, terminal: bool) -> None:
        screen = configured(terminal=terminal)

        with logs.gathering():
            await request("1", "/" + "x" * 65_536, route="")

        (line,) = screen.lines
        assert len(line) < 1000

    @pytest.mark.parametrize("terminal", [False, True])
    async def test_neither_moves_the_cursor_nor_forges_a_line(self, configured: Configure, terminal: bool) -> None:
        screen = configured(terminal=terminal)

        with logs.gathering():
            await request("1", self.BAD, route="", caller=self.BAD[:-2])

        (line,) = b"".join(screen.writes).decode().rstrip("\n").split("\n")
        assert line.isprintable()
        assert r"\x1b]0;owned\x07" in (line if terminal else json.loads(line)["route"])

    async def test_in_a_traceback_does_not_move_the_cursor_either(self, configured: Configure) -> None:
        screen = configured(terminal=True)

        try:
            raise ValueError(f"bad: {self.BAD[:-2]}")
        except ValueError:
            logging.getLogger("mine").exception("failed")

        assert all(line.isprintable() for line in screen.lines if "forged" not in line)
        assert "\x1b" not in "\n".join(screen.lines)
        assert "Traceback" in screen.lines[1], "lines stay lines"
