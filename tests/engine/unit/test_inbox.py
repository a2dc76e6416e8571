"""What the inbox of a gateway counts: a reply is unclaimed when nobody ever waited for it."""

from __future__ import annotations

from typing import Any

import pytest

from floodgate.broker.envelopes import TaskOutcome, TaskReply, pack_reply
from floodgate.gateway.inbox import Inbox

NOBODYS, CLAIMED = "abc.nobodys", "abc.claimed"


def values(*ids: str) -> list[bytes]:
    return [part for id in ids for part in (b"r", pack_reply(TaskReply(id, TaskOutcome.DONE, 200)))]


@pytest.fixture
def inbox() -> Inbox:
    waiting = {CLAIMED}

    class Waiting:
        def deliver(self, reply: TaskReply) -> bool:
            if reply.task_id not in waiting:
                return False
            waiting.remove(reply.task_id)
            return True

    unused: Any = None
    dispatcher: Any = Waiting()
    return Inbox(unused, "inbox:p", dispatcher, unused)


def test_what_was_delivered_before_its_entry_was_handled_is_claimed(inbox: Inbox) -> None:
    for _ in range(3):
        inbox.peek(values(CLAIMED))
    inbox.handle([(b"1-0", values(CLAIMED))])
    assert inbox.unclaimed == 0


def test_what_nobody_waited_for_counts_once_however_often_it_was_seen(inbox: Inbox) -> None:
    for _ in range(3):
        inbox.peek(values(NOBODYS, CLAIMED))
    assert inbox.unclaimed == 0
    inbox.handle([(b"1-0", values(NOBODYS, CLAIMED))])
    assert inbox.unclaimed == 1


def test_a_reply_that_came_twice_is_unclaimed_once(inbox: Inbox) -> None:
    inbox.peek(values(CLAIMED))
    inbox.handle([(b"1-0", values(CLAIMED)), (b"2-0", values(CLAIMED))])
    assert inbox.unclaimed == 1
