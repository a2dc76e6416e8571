"""What must hold between any two scripts, read from everything that the namespace holds.

Owns the comparison with the model; changes neither.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from tests.engine.leaks import leaks_in
from tests.engine.queueing import LANE, POOL, Queue, outcome, route_of
from tests.engine.scripts.model import Model
from tests.engine.snapshot import Snapshot, ids

NEW_POOL = "dec0de:a"
LANES = (LANE, f"{POOL}:5")
NEW_LANES = (f"{NEW_POOL}:0", f"{NEW_POOL}:5")
"""Of another release."""
ALL = (*LANES, *NEW_LANES)


def check(queue: Queue, model: Model, limits: Mapping[str, int], taken_markers: Collection[str]) -> None:
    """Raise `AssertionError` for whatever is not as it must be."""
    found = queue.snapshot()
    _slots_are_waiting_parked_and_running(found, model, limits)
    _nobody_is_parked_beside_an_idle_place(found, model, limits)
    _work_has_one_marker(found, taken_markers)
    _tenants_hold_what_they_have(found, model, queue.now_ms)
    _each_task_has_at_most_one_answer_and_the_right_one(found, model)
    _places_are_those_of_the_registered(found, model)
    _whoever_runs_a_task_is_noted(found, model)
    _records_name_their_tasks_and_whoever_waits(found, model)
    assert leaks_in(found) == []


def _slots_are_waiting_parked_and_running(found: Snapshot, model: Model, limits: Mapping[str, int]) -> None:
    waiting = [id for lane in ALL for id in ids(found, f"waiting:{lane}")]
    for lane in ALL:
        assert ids(found, f"waiting:{lane}") == model.waiting(lane), f"{lane}"
    assert ids(found, "tasks") == set(model.tasks)
    for route, limit in limits.items():
        names = ("slots", "parked", "stranded", "running")
        slots, parked, stranded, running = (ids(found, f"{name}:{route}") for name in names)
        mine = [id for id in waiting if route_of(id) == route]
        assert sorted(slots) == sorted([*running, *parked, *stranded, *mine])
        assert len(slots) <= limit
        assert (parked, stranded) == (model.parked(route), model.stranded(route))
        leases = set(found[f"running:{route}"].pairs) if running else set()
        assert leases == {task.lease for task in model.tasks.values() if task.route == route and task.lease}


def _nobody_is_parked_beside_an_idle_place(found: Snapshot, model: Model, limits: Mapping[str, int]) -> None:
    """That no more run than may, the model sees to: it parks whom it admits, and counts who follows."""
    for route in limits:
        most = model.most.get(route)
        assert f"parked:{route}" not in found or (most is not None and model.unparked(route) >= most)


def _work_has_one_marker(found: Snapshot, taken_markers: Collection[str]) -> None:
    for lane in ALL:
        markers = len(found[f"wake:{lane}"].items) if f"wake:{lane}" in found else 0
        assert markers <= 1
        assert markers or lane in taken_markers or f"waiting:{lane}" not in found


def _tenants_hold_what_they_have(found: Snapshot, model: Model, now_ms: int) -> None:
    most, least = model.tenants(now_ms)
    held = {
        name.removeprefix("tenant_inflight:"): ids(found, name) for name in found if name.startswith("tenant_inflight:")
    }
    assert held.keys() <= most.keys()
    for name, tasks in most.items():
        assert least.get(name, set()) <= held.get(name, set()) <= tasks


def _each_task_has_at_most_one_answer_and_the_right_one(found: Snapshot, model: Model) -> None:
    replies = [outcome(data) for name in found if name.startswith("inbox:") for data in found[name].items]
    assert sorted(replies) == sorted(model.answers.items())
    results = {name.removeprefix("result:"): stored for name, stored in found.items() if name.startswith("result:")}
    assert {id: outcome(stored.items[0])[1] for id, stored in results.items()} == model.kept


def _places_are_those_of_the_registered(found: Snapshot, model: Model) -> None:
    for lane in ALL:
        registered = {consumer for consumer in model.registered if lane in model.lanes[consumer]}
        places = found["concurrency"].pairs.get(lane, "0") if "concurrency" in found else "0"
        assert ids(found, f"serving:{lane}") == registered
        assert int(places) == sum(int(consumer.rpartition(".")[2]) for consumer in registered)


def _whoever_runs_a_task_is_noted(found: Snapshot, model: Model) -> None:
    """Once, in whatever file: what consumers run that serve no lane any more is filed apart."""
    files = {name: stored.pairs for name, stored in found.items() if name.startswith("holders:")}
    noted = [(id, entry.partition(" ")[0]) for entries in files.values() for id, entry in entries.items()]
    running = {id: task.lease.partition("#")[0] for id, task in model.tasks.items() if task.lease}
    assert sorted(noted) == sorted(running.items())


def _records_name_their_tasks_and_whoever_waits(found: Snapshot, model: Model) -> None:
    stored = {name.removeprefix("idempotency:"): found[name].pairs for name in found if name.startswith("idempotency:")}
    assert stored.keys() == model.records.keys()
    for name, record in model.records.items():
        waiting = {field: value for field, value in stored[name].items() if "." in field}
        assert (stored[name].get("task", ""), waiting) == (record.task, record.names)
        assert ("answer" in stored[name]) == bool(record.kept)
