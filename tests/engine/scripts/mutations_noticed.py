"""By which scenario each deliberate mistake was noticed: it is tried first.

Owns a hint: where it is out of date, the other scenarios of the module are tried.
"""

from __future__ import annotations

_NOTICED = """
a_ghost_past_its_validity_does_nothing: a ghost admit does nothing
an_override_pauses_and_limits_until_it_goes: never above the limit; never above the limit within a batch
never_more_in_flight_than_the_limit_within_a_batch_and_between: what a batch admits waits; no sample is a quarter of
    the budget; refusals are counted; a fifth of the queue
without_a_live_worker_nothing_is_admitted: nothing without a worker
an_admission_takes_a_slot_and_lays_the_marker: an admission lays the baton; one baton
a_dearer_route_gets_fewer_turns: turns by start tag
a_removed_task_gives_its_turn_back: turns by weight; a turn is given back
a_flow_that_was_idle_starts_at_the_virtual_time_and_not_before_it: virtual time moves
what_runs_and_is_cancelled_keeps_its_slot_until_its_handler_ends: a mark ends with its task; places follow; a told
    worker stops
what_waits_again_after_a_try_says_so_when_it_is_removed: a started run is a try
the_newest_start_sets_the_limit: the newest start decides
a_batch_counts_what_it_admits_over_all_kinds_of_a_route: a baton that lies means that all are busy; what was
    expected fades
a_route_that_runs_as_many_as_may_and_ends_none_is_stalled: no place is free where all run that may; as many places
    as may run; a stall closes the door; what may not run is parked; what a batch lets run counts
running_tasks_use_up_the_free_places: running tasks take places
it_fades_over_two_seconds_or_four_run_times: it fades over four run times
what_a_queue_has_shown_is_forgotten_over_ten_seconds_without_one: what a queue showed is forgotten; an empty queue
    begins the time
it_is_remembered_as_long_as_the_queue_stands: as long as it stands it is not
a_stall_without_saturation_is_none: a stall needs saturation; a third of the slack; overload begins after a budget
the_bound_has_fallen_to_half_after_twice_the_budget: the bound falls
the_bound_never_falls_below_two_run_times: to two run times and no further
what_finds_nobody_in_the_system_is_admitted: whoever finds nobody comes in
garbage_in_any_figure_is_as_if_it_were_absent: garbage is no number
a_queue_that_was_empty_is_so_for_both_sorts: an admission marks
those_refused_are_forgotten_over_ten_seconds: refusals are forgotten
a_deadline_that_has_passed_is_late_and_says_nothing_of_others: past its deadline says nothing of others
a_lower_class_may_wait_less_long: a class's share of the time
the_critical_pass_what_others_have_waiting: the critical pass what others have waiting; the critical wait for each
    other; nobody else passes
a_lower_class_fills_less_of_the_limit: a class's share of the limit
a_tenant_holds_three_quarters_of_the_places_at_most: a tenant's three quarters; a tenant over kinds
a_key_of_a_tenant_ends_by_itself: a tenant's tasks are noted; a tenant's key ends
what_has_just_overrun_is_still_held: an overrun is still the tenant's
a_thousand_tenants_leave_nothing_behind: a tenant gives back
what_overran_unseen_is_held_again_when_it_is_looked_at: an overrun stays with its tenant
a_lower_class_waits_for_the_whole_queue_too: a tenant waits for its own turns; a class waits for the others too; who
    is served first
only_as_many_overtake_as_wait: no longer than four fifths of the slack; all that asked lately take turns; only those
    that wait overtake
a_tenants_place_is_among_those_whose_turn_comes_before: who came in with the same batch
what_waits_of_other_routes_does_not_count: no more than the route's queue
what_is_parked_takes_turns_too: the parked are served first too; a place within the third
who_asked_within_ten_turns_shares_them: lately is not always; lately is not now
a_clock_that_begins_anew_knows_no_turns_of_before: a new clock, new tags; a new clock begins; the turns' key ends
every_route_forgets_the_turns_of_an_earlier_clock: a clock that went back is new
names_that_come_once_do_not_fill_the_memory: names do not fill the memory
a_tenant_that_holds_nothing_is_not_behind_itself: a tag is ahead by what is held
what_is_cancelled_gives_its_turn_back: a tenant's turn is given back
who_has_just_been_served_has_nothing_waiting: turns are counted by what is held
a_ghost_claim_takes_nothing_and_leaves_the_marker: a ghost claim takes nothing
who_is_not_registered_takes_nothing_and_is_told: only the registered claim; a claim that leaves work lays the baton
what_expired_while_it_waited_is_answered_and_not_run: what expired is not run
a_claim_leases_what_waits_and_hands_over_the_blob: what is leased waits no more
a_claim_takes_its_room_its_share_and_its_bytes: a claim marks what it leaves
a_completion_whose_lease_is_gone_changes_nothing: a gone lease changes nothing
a_completion_frees_the_slot_and_replies_once: a task ends with its slot
the_mean_follows_the_samples_and_a_late_run_counts_a_whole_budget: a late run counts whole
renewal_extends_what_it_names_and_says_what_is_gone: a gone lease is told
a_started_task_without_tries_left_is_lost_with_a_copy: no more starts than tries
what_had_not_started_goes_back_uncounted: what goes back wakes somebody
a_claim_that_never_arrived_goes_back_uncounted_at_join: a claim unheard of is uncounted; a lost completion is a try;
    known leases stay
a_queue_that_nobody_has_seen_standing_is_no_backlog: a mark where no place is free; pace while a queue stands
an_admission_sets_the_mark_only_where_no_place_is_free: the first mark stands
detached_tasks_are_measured_apart: detached statistics apart
a_claim_that_empties_the_queue_takes_the_mark_away: an emptied queue has no mark
a_claim_that_empties_the_queue_takes_the_mark_of_both_sorts: of neither sort
a_report_whose_lease_is_gone_changes_no_figure: a gone lease measures nothing
a_failure_of_a_client_that_left_is_no_sample: a cancelled run is no sample; no sample, no mean
only_answers_in_time_are_done: a late run is not done
a_quick_failure_is_no_sample_and_as_much_of_a_completion_as_it_took_of_a_run: a failure is not late; a quick failure
    is no whole completion; a quick failure is no sample
a_failure_that_took_longer_is_a_sample_and_a_whole_completion: a slow failure is no more than one; a slow failure is
    a sample
quick_failures_alone_are_weighed_by_a_quarter_of_the_budget: without a mean, of a quarter of the budget
every_completion_moves_the_mark_while_some_wait: pace while some wait for places; every completion moves the mark
what_is_parked_waits_for_the_places_that_come_free: what is parked waits for places
the_pace_fades_over_four_run_times_where_these_are_longer: the pace fades
the_pace_of_an_earlier_queue_is_forgotten_over_ten_seconds: an earlier queue's pace is forgotten
a_clock_that_stepped_back_measures_no_negative_time: no negative time
the_marker_is_looked_at_before_the_first_write: the parked can leave
what_is_cancelled_leaves_no_result: a cancelled run gets no reply
a_batch_of_detached_and_other_tasks_is_answered_each_its_way: a result is kept
the_answer_of_a_detached_task_is_kept_and_sent: a result is kept for a while
whoever_waits_for_a_large_answer_is_told_that_it_is_kept: a large answer is not sent as well
a_look_says_whether_it_waits_runs_or_has_ended: a result has ended; what waits does not run; nor what is parked
a_look_at_what_was_told_to_stop_knows_nothing_of_it: what is told to stop is unknown
a_look_at_what_is_stranded_says_that_it_waits: nor what stands aside
a_task_without_any_connection_keeps_its_result_and_sends_nothing: without a connection nothing is sent
what_is_parked_lays_no_marker: what is parked wakes nobody
what_a_claim_drops_makes_way: a claim makes way
a_cancelled_run_keeps_its_place_until_it_ends: a completion brings the next
a_completion_brings_the_next_with_a_marker: a completion lays the baton; never more than may run follow
what_was_lost_makes_way: what is lost makes way; what join loses makes way
what_is_parked_past_its_deadline_is_expired_and_answered: what is parked expires
a_dead_worker_makes_way_when_its_lease_ends: reap makes way
who_waits_and_leaves_makes_way: who leaves makes way
a_limit_that_is_gone_lets_all_follow: a limit that is gone is gone
a_parked_task_without_its_blob_frees_its_slot_and_the_next_follows: garbage takes nobody's place
garbage_among_the_parked_is_dropped_and_takes_nobodys_place: only what has a slot follows
an_idle_pool_with_nothing_parked_keeps_no_clock: newcomers do not overtake the parked
a_lane_that_nobody_serves_ends_with_what_is_parked: the parked keep their lane
a_lane_that_was_forgotten_is_walked_again_for_what_goes_back: a forgotten lane is walked again
garbage_that_would_let_too_many_run_is_dropped_by_reap: garbage that lets too many run goes
a_large_one_is_cut_and_says_so: a lost task is cut; what is cut says so
the_least_is_one: as many as may be are kept; not about as many; the setting decides
a_lost_task_is_kept_whole_with_its_tries: they end
a_claim_drops_what_waits_for_a_gateway_that_is_gone_and_tells_it: what waits for nobody is not started; its gateway
    is told
a_gateway_without_a_record_is_there: no record is no absence; who is there is not gone
after_a_gap_nobody_is_gone_before_a_reap: nobody is gone who could not say so; nor before a reap was late
after_a_gap_nobody_is_gone_for_one_lease: nor after mercy began
after_a_step_of_the_clock_nobody_is_gone_before_a_reap: nor after a clock stepped back
what_had_started_is_started_again: what had started is started again
a_presence_from_before_a_step_of_the_clock_ends: slots come free without a claim; none lasts beyond a minute
parked_behind_others_too: of the parked, too
not_before_the_grace_has_passed: not in the grace
more_than_a_batch_is_dropped_with_the_next_reap: a batch of them; and then the rest
a_presence_is_remembered_for_two_hours: presences end; they are kept for two hours
a_batch_is_moved_at_once: 202s leave a lane that nobody serves; a batch of stranded ones; and more of them; its
    contract stays
nothing_is_stranded_in_the_grace_after_an_interruption: not in the grace of registrations; what is stranded comes
    home; the lane is written down
no_more_run_than_may_when_both_releases_are_there: what is stranded takes no place; it is promoted as others are
until_somebody_agrees_they_keep_their_slots_and_nobody_else_waits_for_them: nor one that others follow into; nor
    does it stand in a queue; who disagrees gets none
who_waits_on_a_connection_is_left_to_its_gateway: only 202s
what_is_parked_is_stranded_when_its_turn_comes_and_the_next_follows: no parked 202 goes to nobody; and the next one
    follows
they_are_run_by_another_release_that_agrees_about_the_route: so is what follows it
their_turn_is_the_present_of_the_new_pool: in the present of the new pool; in their order
they_expire_and_say_so: what is stranded expires
garbage_among_them_is_dropped: what is stranded can leave
a_contract_stays_while_a_task_of_its_routes_does: without tasks it ends
but_not_for_longer_than_two_hours: after two hours it ends; two hours since it was served
a_contract_that_is_served_again_is_not_unserved: a contract that is served is not unserved
a_short_lease_cuts_no_long_lease: nobody cuts what is not its own
an_outage_beside_a_long_lease_ends_no_short_one: the shortest lease says what is a gap
an_outage_beside_a_short_lease_ends_no_long_one: the longest lease says how long mercy lasts; mercy is not cut
a_step_of_the_clock_beside_a_long_lease: a short lease ends soon after a step; a short registration, too
a_name_from_outside_says_nothing_extreme: a lease is no more than a minute
a_cancelled_run_is_told_to_its_holder_alone: a claim notes who runs it
a_claim_notes_who_runs_it_since_when_and_its_time_out: of which sort it is
whatever_ends_a_run_ends_its_note: an end ends its note; so does a release; so does a reclaim
who_leaves_is_told_of_what_it_still_runs: who left is looked for apart; its holder is told
what_a_leaving_worker_still_runs_takes_no_place_of_those_that_stay: who leaves takes its runs along
a_worker_that_serves_again_takes_its_runs_with_it: who comes back brings them
what_a_dead_worker_ran_takes_no_place_of_those_that_live: the dead hold no places; whoever lapsed is looked at
garbage_in_the_place_of_notes_loses_no_answer: garbage for notes loses no answer
a_note_of_what_runs_no_more_goes_with_the_next_reap: what is not noted is
notes_of_a_group_that_left_end_by_themselves: its notes end
what_a_leaving_worker_does_not_name_is_noted_once: what no lane tells of is found
a_free_place_that_nobody_has_taken_yet_is_counted_at_its_own_pace: the runs of others take places; a pool without a
    free place bounds the pace; a place that is free is one
the_sum_is_made_anew_soon: the others' runs end; those that end in time; a sum lasts not long; not even the first,
    if it would be late
its_own_runs_are_counted_at_its_own_pace: a route's own part is not the others'; own runs count
what_was_taken_since_the_sum_counts_as_its_own: what came since the sum
without_a_sample_the_others_take_their_time_out: a time-out without a sample
a_refusal_tells_the_pace_at_which_the_others_usually_end: retry at the usual pace
a_post_of_a_dead_worker_is_lost_within_a_lease_and_a_second: a dead worker's run ends
a_clock_that_steps_back_ends_no_lease: mercy; mercy when the clock stepped back
a_registration_is_in_danger_sooner_than_a_lease: who could not renew stays; registrations are in danger sooner
a_contract_is_forgotten_when_no_lane_of_it_is_served: no grace without a gap
a_grace_is_bounded_when_the_clock_steps_back: a grace ends
what_overruns_its_deadline_keeps_its_slot_and_is_expired_when_its_worker_dies: an overrun keeps its slot
a_marker_that_died_with_its_taker_is_laid_again: a lost baton is laid again
a_registration_that_ends_takes_its_places_with_it: places are counted again
"""
FIRST = {
    promise: f"test_{scenario}"
    for scenario, promises in (line.split(": ") for line in _NOTICED.replace("\n    ", " ").strip().splitlines())
    for promise in promises.split("; ")
}
"""The scenario of each promise."""
