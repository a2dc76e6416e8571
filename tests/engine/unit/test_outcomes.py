"""The table of failures has a row for whatever the queue can say, and each row says it in one way."""

from __future__ import annotations

import pytest

from floodgate.broker.commands import AdmitCode
from floodgate.broker.envelopes import TaskOutcome
from floodgate.gateway.outcomes import FAILURE_OF, Failure, Outcome, Refused
from floodgate.gateway.responses import respond

NO_FAILURE = {
    *(AdmitCode.ADMITTED, AdmitCode.GONE, AdmitCode.JOINED, AdmitCode.ENDED),
    *(TaskOutcome.DONE, TaskOutcome.KEPT, TaskOutcome.CHUNK, TaskOutcome.AGAIN),
}


def test_every_code_of_admit_and_every_end_of_a_task_is_one_failure() -> None:
    assert set(FAILURE_OF) == {*AdmitCode, *TaskOutcome} - NO_FAILURE
    told = [failure.row.told_by for failure in Failure if failure.row.told_by is not None]
    assert len(told) == len(set(told))


def test_titles_differ() -> None:
    assert len({failure.row.title for failure in Failure}) == len(Failure)


@pytest.mark.parametrize("failure", Failure)
def test_what_ran_or_may_have_run_is_never_asked_for_again(failure: Failure) -> None:
    response = respond(Outcome(failure=failure), "id")
    assert response.status_code == failure.row.status
    assert ("retry-after" in response.headers) == failure.is_refusal == (failure.row.status in (409, 429, 503))
    if failure.is_refusal:
        assert failure.row.raises is Refused
