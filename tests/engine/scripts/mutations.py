"""Deliberate mistakes in the scripts, by the promise that each breaks and the tests that notice first.

Owns their texts. One that is no longer in its script makes its test fail: renew
it with the script.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Mutation:
    """In `script` ('*': each), `old` becomes `new`; `promise` is what breaks."""

    promise: str
    script: str
    old: str
    new: str

    @property
    def edits(self) -> tuple[tuple[str, str, str], ...]:
        return ((self.script, self.old, self.new),)


MUTATIONS: dict[str, tuple[Mutation, ...]] = {
    "admission": (
        Mutation("a ghost admit does nothing", "admit", "now > valid_until", "false"),
        Mutation(
            "never above the limit", "admit", "state.slots >= share * state.limit", "state.slots > share * state.limit"
        ),
        Mutation("never above the limit within a batch", "admit", "= state.slots + 1, state", "= state.slots, state"),
        Mutation("what a batch admits waits", "admit", "state.waiting + 1\n    wait_ms", "state.waiting\n    wait_ms"),
        Mutation("nothing without a worker", "admit", "tonumber(last[2]) > now", "true"),
        Mutation("an admission lays the baton", "admit", "if not lanes[lane].marker then", "if false then"),
        Mutation("one baton", "admit", "if not lanes[lane].marker then", "if true then"),
        Mutation("turns by start tag", "admit", "turn.finish = tag + turn.step", "turn.finish = tag"),
        Mutation("turns by weight", "admit", "or 10) / class.weight", "or 10)"),
        Mutation(
            "no sample is a quarter of the budget",
            "admit",
            "statistics.mean_ms or budget_ms / 4",
            "statistics.mean_ms or 1",
        ),
        Mutation(
            "refusals are counted",
            "admit",
            "state.refused, state.changed = state.refused + 1, true",
            "state.changed = true",
        ),
        Mutation("a fifth of the queue", "admit", "(5 * class.rate)", "class.rate"),
        Mutation("virtual time moves", "claim", "string.format('%.17g', virtual)", "0"),
        Mutation(
            "a mark ends with its task", "complete", "if any_attempts then call('HDEL'", "if false then call('HDEL'"
        ),
        Mutation("places follow", "renew", "    count_concurrency(lane)\n", ""),
        Mutation("a started run is a try", "release", "ARGV[i + 3] == '1'", "false"),
        Mutation("a told worker stops", "cancel", "set_attempts(id, CANCELLED)", ""),
        Mutation("a turn is given back", "cancel", "-math.max(1, mean_ms) / t.weight", "0"),
        Mutation("the newest start decides", "declare", "started >= version", "true"),
    ),
    "estimated wait": (
        Mutation("a baton that lies means that all are busy", "admit", "lane.marker or state.running", "state.running"),
        Mutation("no place is free where all run that may", "admit", " or state.running >= max_running", ""),
        Mutation(
            "as many places as may run",
            "admit",
            "local most = math.min(lane.concurrency, max_running)",
            "local most = lane.concurrency",
        ),
        Mutation(
            "running tasks take places",
            "admit",
            "math.min(lane.free or lane.concurrency - state.running, max_running - state.running)",
            "most",
        ),
        Mutation("what was expected fades", "admit", "1 - busy_ms / math.max(2000, 4 * mean_ms)", "1"),
        Mutation("it fades over four run times", "admit", "busy_ms / math.max(2000, 4 * mean_ms)", "busy_ms / 2000"),
        Mutation(
            "what a queue showed is forgotten",
            "admit",
            "local kept = remembered(statistics.measured_at, last_completion or now)",
            "local kept = 1",
        ),
        Mutation(
            "as long as it stands it is not",
            "admit",
            "remembered(statistics.measured_at, last_completion or now)",
            "remembered(statistics.measured_at, now)",
        ),
        Mutation("a stall closes the door", "admit", "if class.saturated and last_completion then", "if false then"),
        Mutation(
            "a stall needs saturation",
            "admit",
            "if class.saturated and last_completion then",
            "if last_completion then",
        ),
        Mutation("a third of the slack", "admit", "(budget_ms - mean_ms) / 3", "(budget_ms - mean_ms) / 2"),
        Mutation("the bound falls", "admit", "class.max_wait_ms * budget_ms / full", "class.max_wait_ms"),
        Mutation("to two run times and no further", "admit", "math.min(class.max_wait_ms, 2 * mean_ms)", "0"),
        Mutation("overload begins after a budget", "admit", "if full > budget_ms then", "if full > 0 then"),
        Mutation(
            "an empty queue begins the time",
            "admit",
            "if state.waiting == 0 then state.queued_since, state.last_completions = now, {} end",
            "",
        ),
        Mutation(
            "whoever finds nobody comes in", "admit", "class.position <= 0 or state.slots == 0", "class.position <= 0"
        ),
        Mutation(
            "what may not run is parked", "admit", "state.max_running and state.unparked >= state.max_running", "false"
        ),
        Mutation("what a batch lets run counts", "admit", "state.max_running and state.unparked + 1", "state.unparked"),
    ),
    "refusals": (
        Mutation("garbage is no number", "*", "n and n >= 0 and n < 1e15 and n or nil", "n"),
        Mutation("an admission marks", "admit", "state.last_completions[class.sort] = now end", "end"),
        Mutation("refusals are forgotten", "admit", "/ 10000), false", "/ 1e9), false"),
        Mutation(
            "past its deadline says nothing of others", "admit", "deadline > now and state.waiting", "state.waiting"
        ),
    ),
    "classes": (
        Mutation(
            "a class's share of the time",
            "admit",
            "local too_long = class.position > share * class.max_wait_ms",
            "local too_long = class.position > class.max_wait_ms",
        ),
        Mutation("the critical pass what others have waiting", "admit", "class.weight > UNDECLARED_WEIGHT", "false"),
        Mutation(
            "the critical wait for each other",
            "admit",
            "    too_long = class.position > share",
            "    too_long = class.position > 99 * share",
        ),
        Mutation("nobody else passes", "admit", "class.weight > UNDECLARED_WEIGHT", "class.weight > 0"),
        Mutation(
            "a class's share of the limit", "admit", "state.slots >= share * state.limit", "state.slots >= state.limit"
        ),
    ),
    "tenants": (
        Mutation("a tenant's three quarters", "admit", "0.75 * share * state.limit", "share * state.limit"),
        Mutation(
            "a tenant over kinds", "admit", "tenant_inflight[class.tenant] = tenant_inflight[class.tenant] + 1", ""
        ),
        Mutation("a tenant's tasks are noted", "admit", "on_loose('ZADD', unpack(w))", ""),
        Mutation("a tenant's key ends", "admit", "call('PEXPIRE', key, 7200000)", ""),
        Mutation("an overrun is still the tenant's", "admit", "key, '-inf', now - 10000)", "key, '-inf', now)"),
        Mutation("a tenant gives back", "complete", "on_loose('ZREM', inflight, id)", ""),
        Mutation("an overrun stays with its tenant", "reap", "on_loose('ZADD', inflight, at, id)", ""),
    ),
    "turns": (
        Mutation("a tenant waits for its own turns", "admit", "class.tenant and turn_of(class).sharers > 1", "false"),
        Mutation("no longer than four fifths of the slack", "admit", "2.4 * third", "1.5 * third"),
        Mutation("a class waits for the others too", "admit", "if share == 1 then return end", "do return end"),
        Mutation(
            "all that asked lately take turns", "admit", "own * math.min(turn.sharers - 1, class.state.waiting)", "0"
        ),
        Mutation(
            "only those that wait overtake",
            "admit",
            "math.min(turn.sharers - 1, class.state.waiting)",
            "(turn.sharers - 1)",
        ),
        Mutation(
            "who is served first",
            "admit",
            "math.min(class.position, first + state.waiting - state.waiting_before + 1 - class.free)",
            "class.position",
        ),
        Mutation(
            "who came in with the same batch", "admit", "first + state.waiting - state.waiting_before + 1", "first + 1"
        ),
        Mutation("no more than the route's queue", "admit", "math.min(class.position, first", "(first"),
        Mutation(
            "the parked are served first too",
            "admit",
            "if state.max_running then first",
            "if false then first",
        ),
        Mutation("a place within the third", "admit", "if class.position > third", "if class.position > 9 * third"),
        Mutation("lately is not always", "admit", "turn.virtual - RECENT_TURNS * turn.step", "turn.virtual - 1e12"),
        Mutation("lately is not now", "admit", "local RECENT_TURNS = 10", "local RECENT_TURNS = 0"),
        Mutation("a new clock, new tags", "admit", "long_ago or '+inf'", "long_ago or '-inf'"),
        Mutation("a new clock begins", "admit", "if not turn.virtual then add('clock', turn.clock, 0, '') end", ""),
        Mutation("a clock that went back is new", "admit", "(num(s[1]) or 0) > turn.virtual", "false"),
        Mutation("names do not fill the memory", "admit", "others > MOST_SHARERS", "false"),
        Mutation("a tag is ahead by what is held", "admit", "(tenant_inflight[class.tenant] + 1) * turn.step", "1e12"),
        Mutation(
            "a tenant's turn is given back",
            "cancel",
            "tenant_key(t.flow) and turns_key(t.lane, t.route, t.weight) or ",
            "",
        ),
        Mutation(
            "turns are counted by what is held", "admit", "math.min(tenant_inflight[class.tenant], ", "math.max(0, "
        ),
        Mutation("the turns' key ends", "admit", "for key in pairs(writes.turns) do", "for key in pairs({}) do"),
    ),
    "runs": (
        Mutation("a ghost claim takes nothing", "claim", "now <= valid_until", "true"),
        Mutation("only the registered claim", "claim", "if not serving then", "if false then"),
        Mutation("what expired is not run", "claim", "or t.deadline <= now or is_abandoned", "or is_abandoned"),
        Mutation("a claim that leaves work lays the baton", "claim", "end\nsignal_ready()\nout[3]", "end\nout[3]"),
        Mutation("what is leased waits no more", "claim", "call('ZREM', unpack(ids))", ""),
        Mutation("a claim marks what it leaves", "claim", "call('HSETNX', statistics", "call('HGET', statistics"),
        Mutation("a gone lease changes nothing", "complete", "if held then", "if true then"),
        Mutation("a task ends with its slot", "complete", "call('HDEL', P .. 'tasks', id)", ""),
        Mutation("a late run counts whole", "complete", "if in_time ~= '1' then", "if false then"),
        Mutation("a gone lease is told", "renew", "if not call('ZSCORE', running, lease) then", "if false then"),
        Mutation("no more starts than tries", "release", "used >= t.attempts", "used > t.attempts"),
        Mutation("what goes back wakes somebody", "release", "touched[t.lane] = true", ""),
        Mutation("a claim unheard of is uncounted", "reclaim", "(tonumber(serial) or 0) <= last", "true"),
        Mutation("a lost completion is a try", "reclaim", "(tonumber(serial) or 0) <= last", "false"),
        Mutation("known leases stay", "reclaim", "and not known[lease]", ""),
    ),
    "statistics": (
        Mutation(
            "a mark where no place is free",
            "admit",
            "if class.saturated and not state.last_completions",
            "if not state.last_completions",
        ),
        Mutation(
            "the first mark stands",
            "admit",
            "if class.saturated and not state.last_completions[class.sort] then",
            "if class.saturated then",
        ),
        Mutation("detached statistics apart", "*", "and '~' .. name or name", "and name or name"),
        Mutation(
            "an emptied queue has no mark",
            "claim",
            "call('HDEL', statistics, 'last_completion_at', '~last_completion_at')",
            "",
        ),
        Mutation(
            "of neither sort",
            "claim",
            "'last_completion_at', '~last_completion_at')",
            "field(t.flow, 'last_completion_at'))",
        ),
        Mutation("a gone lease measures nothing", "complete", "if b.ended then measure", "if true then measure"),
        Mutation("a cancelled run is no sample", "complete", "if wanted and sample", "if sample"),
        Mutation(
            "a late run is not done",
            "complete",
            "math.max(run, budget)\n",
            "math.max(run, budget) b.in_time = b.in_time + 1\n",
        ),
        Mutation("no sample, no mean", "complete", "if sampled then", "if true then"),
        Mutation("a failure is not late", "complete", "elseif failed == '1' then", "elseif false then"),
        Mutation("a quick failure is no whole completion", "complete", "math.min(1, failure.run / usual)", "1"),
        Mutation(
            "a slow failure is no more than one", "complete", "math.min(1, failure.run / usual)", "failure.run / usual"
        ),
        Mutation("a quick failure is no sample", "complete", "if failure.run > usual then", "if true then"),
        Mutation("a slow failure is a sample", "complete", "if failure.run > usual then", "if false then"),
        Mutation("without a mean, of a quarter of the budget", "complete", "failure.budget / 4", "1"),
        Mutation("pace while some wait for places", "complete", "if b.saturated then", "if true then"),
        Mutation("what is parked waits for places", "complete", "or parked_count(route) > 0", ""),
        Mutation("pace while a queue stands", "complete", "if last_completion and in_system(", "if in_system("),
        Mutation("every completion moves the mark", "complete", "note('last_completion_at', now)", ""),
        Mutation("the pace fades", "complete", "math.exp(-passed / math.max(2000, 4 * mean_ms))", "1"),
        Mutation("an earlier queue's pace is forgotten", "complete", "* remembered(num(h[6]), last_completion)", ""),
        Mutation("no negative time", "complete", "math.max(0, now - last_completion)", "now - last_completion"),
        Mutation("the parked can leave", "cancel", "+ call('ZREM', P .. 'parked:' .. t.route, id)", ""),
    ),
    "detached": (
        Mutation("a cancelled run gets no reply", "complete", "and wanted and answer", "and answer"),
        Mutation("a result is kept", "complete", "if ttl_s then keep_result(", "if false then keep_result("),
        Mutation("a result is kept for a while", "complete", ", 'EX', ttl_s)", ")"),
        Mutation(
            "a large answer is not sent as well", "complete", "== 'string' then\n    bytes", "== '' then\n    bytes"
        ),
        Mutation("a result has ended", "poll", "if type(result) == 'string' then", "if false then"),
        Mutation("what is told to stop is unknown", "poll", " or attempts_of(id) == CANCELLED", ""),
        Mutation("what waits does not run", "poll", "call('ZSCORE', P .. 'waiting:' .. t.lane, id) or", ""),
        Mutation("nor what is parked", "poll", "call('ZSCORE', P .. 'parked:' .. t.route, id)", "nil"),
        Mutation(
            "nor what stands aside", "poll", "or call('ZSCORE', P .. 'stranded:'", "or call('ZSCORE', P .. 'slot:'"
        ),
        Mutation("without a connection nothing is sent", "complete", "if process == '' then return end", ""),
    ),
    "running": (
        Mutation("what is parked wakes nobody", "admit", "if not parked then touched", "if true then touched"),
        Mutation("a claim makes way", "claim", "  send_replies()\n  promote()", "  send_replies()"),
        Mutation("a completion brings the next", "complete", "send_replies()\npromote()", "send_replies()"),
        Mutation("a completion lays the baton", "complete", "promote()\nsignal_ready()", "promote()"),
        Mutation("never more than may run follow", "complete", "max_running - in_system(route) + left", "max_running"),
        Mutation("what is lost makes way", "release", "promote()\nsignal_ready()", "signal_ready()"),
        Mutation("what join loses makes way", "reclaim", "promote()\nsignal_ready()", "signal_ready()"),
        Mutation("what is parked expires", "reap", "lane, id) + call('ZREM', parked_key, id)", "lane, id)"),
        Mutation("reap makes way", "reap", "promote()\nsweep", "sweep"),
        Mutation("who leaves makes way", "cancel", "promote()\nsignal_ready()", "signal_ready()"),
        Mutation("a limit that is gone is gone", "declare", "call('HDEL', statistics, 'max_running')", ""),
    ),
    "parked": (
        Mutation("garbage takes nobody's place", "complete", "until again == 0 or left == 0", "until true"),
        Mutation(
            "only what has a slot follows", "complete", "local t = has[i] and load_task(id)", "local t = load_task(id)"
        ),
        Mutation("newcomers do not overtake the parked", "reap", "if n == 0 and not still_parked or", "if n == 0 or"),
        Mutation("the parked keep their lane", "reap", "elseif n == 0 and not still_parked then", "elseif n == 0 then"),
        Mutation("a forgotten lane is walked again", "reap", "call('SADD', P .. 'lanes', t.lane)", ""),
        Mutation(
            "garbage that lets too many run goes", "reap", "malformed + call('ZREM', parked_key, id)", "malformed"
        ),
    ),
    "dead": (
        Mutation("a lost task is cut", "release", "string.sub(blob, 1, LETTER_BYTES)", "blob"),
        Mutation("what is cut says so", "release", "if #blob > LETTER_BYTES then", "if false then"),
        Mutation("as many as may be are kept", "release", "'MAXLEN', most,", "'MAXLEN', 1000,"),
        Mutation("not about as many", "release", "'MAXLEN', most,", "'MAXLEN', '~', most,"),
        Mutation("the setting decides", "reap", ", 'dead_entries', dead_entries)", ")"),
        Mutation("they end", "release", "redis.pcall('EXPIRE', P .. 'dead', 604800)", ""),
    ),
    "gateways": (
        Mutation("what waits for nobody is not started", "claim", "or is_abandoned(id, t, now) then", "then"),
        Mutation("its gateway is told", "claim", "and 'expired' or 'dropped'", "and 'expired' or 'expired'"),
        Mutation("no record is no absence", "claim", "inbox)) or 1e15", "inbox)) or 0"),
        Mutation("who is there is not gone", "claim", "if presences[inbox] > now then", "if false then"),
        Mutation("nobody is gone who could not say so", "claim", "if lease_grace == nil then", "if false then"),
        Mutation("nor after mercy began", "claim", "now < grace_until or", ""),
        Mutation("nor before a reap was late", "claim", " or now - last > gap", ""),
        Mutation("nor after a clock stepped back", "claim", "or now < last", ""),
        Mutation("what had started is started again", "claim", " and not attempts_of(id) end", " end"),
        Mutation("slots come free without a claim", "reap", "if drop_abandoned(", "if false and drop_abandoned("),
        Mutation("of the parked, too", "reap", "drop_from(P .. 'parked:' .. route)", ""),
        Mutation("not in the grace", "reap", "if in_lease_grace(now) then return false end", "in_lease_grace(now)"),
        Mutation("a batch of them", "reap", "if dropped >= batch then return end", ""),
        Mutation("and then the rest", "reap", "return dropped >= batch", "return false"),
        Mutation("presences end", "reap", "call('ZREMRANGEBYSCORE', key, '-inf', now - 7200000)", ""),
        Mutation("they are kept for two hours", "reap", "now - 7200000)", "now)"),
        Mutation("none lasts beyond a minute", "reap", "now + 60001", "now + 1e12"),
    ),
    "stranded": (
        Mutation(
            "202s leave a lane that nobody serves",
            "reap",
            "if now >= registration_grace_until then strand_unserved(batch) end",
            "",
        ),
        Mutation(
            "not in the grace of registrations",
            "reap",
            "if now >= registration_grace_until then strand",
            "if true then strand",
        ),
        Mutation("what is stranded comes home", "reap", "if bring_home(batch) then more = 1 end", ""),
        Mutation("what is stranded takes no place", "admit", " - call('ZCARD', P .. 'stranded:' .. route)", ""),
        Mutation("nor one that others follow into", "reap", " - call('ZCARD', P .. 'stranded:' .. route)", ""),
        Mutation(
            "nor does it stand in a queue",
            "claim",
            "if in_system(t.route) <=",
            "if call('ZCARD', P .. 'slots:' .. t.route) <=",
        ),
        Mutation("only 202s", "reap", "string.sub(t.inbox, 1, 1) == '=' and ", ""),
        Mutation("no parked 202 goes to nobody", "complete", "if t and is_stranded(t) then", "if false then"),
        Mutation("and the next one follows", "complete", "return dropped + stranded", "return dropped"),
        Mutation("who disagrees gets none", "reap", "digest_of(release, route) == digest", "true"),
        Mutation("the lane is written down", "reap", "if home ~= t.lane then move(id, home) end", ""),
        Mutation("so is what follows it", "reap", "string.sub(blob, at + 1) or ''", "''"),
        Mutation(
            "it is promoted as others are",
            "reap",
            "call('ZADD', P .. 'parked:' .. route, virtual",
            "call('ZADD', P .. 'waiting:' .. home, virtual",
        ),
        Mutation("in the present of the new pool", "reap", "pool_of(home), '')) or 0", "pool_of(t.lane), '')) or 0"),
        Mutation("in their order", "reap", " + moved / 1000, id)", ", id)"),
        Mutation("a batch of stranded ones", "reap", "if moved >= batch then return true end", ""),
        Mutation("and more of them", "reap", "moved >= batch then return true", "moved >= batch then return false"),
        Mutation(
            "what is stranded expires",
            "reap",
            "+ call('ZREM', P .. 'stranded:' .. route, t.lane .. '#' .. id) > 0",
            "> 0",
        ),
        Mutation(
            "what is stranded can leave",
            "cancel",
            "+ call('ZREM', P .. 'stranded:' .. t.route, t.lane .. '#' .. id) > 0",
            "> 0",
        ),
        Mutation("its contract stays", "reap", "if needed then return end", ""),
        Mutation("without tasks it ends", "reap", "    needed = false\n", ""),
        Mutation("after two hours it ends", "reap", "release) < 7200000", "release) < 1e15"),
        Mutation("two hours since it was served", "reap", "'unserved', 'LT', now", "'unserved', now"),
        Mutation(
            "a contract that is served is not unserved",
            "reap",
            "if served[release] then call('ZREM', P .. 'unserved', release) else",
            "if not served[release] then",
        ),
    ),
    "leases": (
        Mutation(
            "nobody cuts what is not its own", "reap", "local own = lease_of(z[i], lease_ms)", "local own = lease_ms"
        ),
        Mutation("the shortest lease says what is a gap", "reap", "shortest / 2", "longest / 2"),
        Mutation(
            "the longest lease says how long mercy lasts",
            "reap",
            "lease_grace_until = now + longest",
            "lease_grace_until = now + lease_ms",
        ),
        Mutation(
            "mercy is not cut",
            "reap",
            "math.min(lease_grace_until, now + longest)",
            "math.min(lease_grace_until, now + lease_ms)",
        ),
        Mutation(
            "a short lease ends soon after a step", "reap", "lease_ms, 2 * shortest)\n", "lease_ms, 2 * longest)\n"
        ),
        Mutation("a short registration, too", "reap", "2 * shortest, silent", "2 * longest, silent"),
        Mutation("a lease is no more than a minute", "reap", "math.min(60000, ms)", "ms"),
    ),
    "holders": (
        Mutation("a claim notes who runs it", "claim", "on_loose('HSET', unpack(holders))", "do end"),
        Mutation("of which sort it is", "claim", "(sort == t.route and '' or '~')", "''"),
        Mutation("an end ends its note", "complete", "remove_all_holders()\nsend_replies", "send_replies"),
        Mutation("so does a release", "release", "remove_all_holders()\nsend_replies", "send_replies"),
        Mutation("so does a reclaim", "reclaim", "remove_all_holders()\nsend_replies", "send_replies"),
        Mutation("who left is looked for apart", "cancel", "{ P .. 'holders:left' }", "{}"),
        Mutation("its holder is told", "cancel", "return string.match(entry, '^[^ ]+')", "return nil"),
        Mutation("who leaves takes its runs along", "renew", "if id and moved then", "if false then"),
        Mutation(
            "who comes back brings them", "renew", "if not serves then from, to = to, from end", "from, to = to, from"
        ),
        Mutation(
            "the dead hold no places", "reap", "serving[consumer] and holders_key(lease) or", "holders_key(lease) or"
        ),
        Mutation("garbage for notes loses no answer", "complete", "on_loose('HDEL', file,", "call('HDEL', file,"),
        Mutation("what is not noted is", "reap", "changed or held ~= running", "changed"),
        Mutation("its notes end", "reap", "call('EXPIRE', file, 7200)", ""),
        Mutation("what no lane tells of is found", "reap", "  find_files(routes)\n", ""),
        Mutation("whoever lapsed is looked at", "reap", "changed or held ~= running", "held ~= running"),
        Mutation("the runs of others take places", "admit", "math.max(0, concurrency - n)", "concurrency"),
        Mutation(
            "a pool without a free place bounds the pace",
            "admit",
            "math.min(class.rate, class.pool_rate)",
            "class.rate",
        ),
        Mutation("the others' runs end", "admit", "(first <= now + class.third_ms and others or 0)", "0"),
        Mutation("those that end in time", "admit", "first <= now + class.third_ms and", "true and"),
        Mutation("a route's own part is not the others'", "admit", "if route ~= class.route then", "if true then"),
        Mutation("a place that is free is one", "admit", "class.state.running + lane.free +", "class.state.running +"),
        Mutation("own runs count", "admit", "(class.state.running + lane.free", "(lane.free"),
        Mutation("what came since the sum", "admit", "math.max(0, lane.running - lane.summed_running)", "0"),
        Mutation("a time-out without a sample", "admit", "s.mean)) or s.budget)", "s.mean)) or 1)"),
        Mutation("a sum lasts not long", "admit", "age >= 50 + 0.5", "age >= 5000 + 0.5"),
        Mutation(
            "not even the first, if it would be late",
            "admit",
            "(class.pool_rate or 1e15) * class.budget_ms >= 1",
            "true",
        ),
        Mutation("retry at the usual pace", "admit", "/ (class.usual_rate or class.rate)", "/ class.rate"),
    ),
    "reap": (
        Mutation("a dead worker's run ends", "reap", "requeue(id, true, now)", "requeue(id, false, now)"),
        Mutation("mercy", "reap", "if now >= lease_grace_until then", "if true then"),
        Mutation("mercy when the clock stepped back", "reap", "now >= last and now - last or", "now - last or"),
        Mutation("who could not renew stays", "reap", "silent > 0.6 * gap)", "false)"),
        Mutation("registrations are in danger sooner", "reap", "silent > 0.6 * gap)", "silent > gap)"),
        Mutation("no grace without a gap", "reap", "silent > 0.6 * gap)", "true)"),
        Mutation(
            "a grace ends",
            "reap",
            "math.min(registration_grace_until, now + 0.6 * longest)",
            "registration_grace_until",
        ),
        Mutation("an overrun keeps its slot", "reap", "if runs[id] then", "if false then"),
        Mutation("a lost baton is laid again", "reap", "touched[lane] = true", ""),
        Mutation("places are counted again", "reap", "    recount(lane)", ""),
    ),
}
"""By the module `test_…` in which it shows."""
