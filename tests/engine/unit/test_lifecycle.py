"""The table of states: who may move a task where, and what becomes of its slot and its client."""

from __future__ import annotations

from floodgate.broker.lifecycle import FINAL, TRANSITIONS, Answer, Slot, State, allowed


def test_a_slot_is_taken_once_and_freed_at_every_end() -> None:
    for arrow in TRANSITIONS:
        expected = Slot.TAKEN if arrow.before is State.NONE else Slot.FREED if arrow.after in FINAL else Slot.KEPT
        assert arrow.slot is expected, arrow


def test_every_end_but_a_cancellation_is_answered_and_nothing_else_is() -> None:
    for arrow in TRANSITIONS:
        answered = arrow.after in FINAL and arrow.after is not State.CANCELLED
        assert (arrow.answer is not Answer.NONE) is answered, arrow


def test_nothing_leaves_a_final_state() -> None:
    assert not FINAL & {arrow.before for arrow in TRANSITIONS}


def test_each_arrow_stands_once() -> None:
    assert len({(arrow.before, arrow.after) for arrow in TRANSITIONS}) == len(TRANSITIONS)


def test_every_state_can_be_reached_and_left_or_is_final() -> None:
    reached = {arrow.after for arrow in TRANSITIONS}
    left = {arrow.before for arrow in TRANSITIONS}
    assert set(State) - reached == {State.NONE, State.STRAY}
    assert set(State) - left == FINAL


def test_only_an_admission_begins_and_only_a_claim_runs() -> None:
    assert allowed(State.NONE, State.WAITING, "admit")
    assert allowed(State.WAITING, State.RUNNING, "claim")
    assert not allowed(State.WAITING, State.RUNNING, "reap")
    assert not allowed(State.WAITING, State.DONE, "complete")
