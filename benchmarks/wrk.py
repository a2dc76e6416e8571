"""One run of wrk, and what it counted.

Owns wrk's command line and the script that makes it print exact values. Must
not know what is behind the port.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from string import Template

PATIENCE_S = 10
"""Slower answers count as errors."""

_SCRIPT = Template("""
local paths, ready, at = { $paths }, {}, 0
local json = $json
if $body_bytes > 0 then
  wrk.method, wrk.body = "POST", string.rep("x", $body_bytes)
  wrk.headers["Content-Type"] = "application/octet-stream"
elseif #json > 0 then
  wrk.method, wrk.body = "POST", json
  wrk.headers["Content-Type"] = "application/json"
end
function init(args)
  for i, path in ipairs(paths) do ready[i] = wrk.format(nil, path) end
end
if #paths > 1 then
  function request()
    at = at % #ready + 1
    return ready[at]
  end
end
function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format('\\n{"requests": %d, "duration_us": %d, "p50_us": %d, "p99_us": %d, "max_us": %d, ',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99), latency.max))
  io.write(string.format('"status": %d, "socket": %d}\\n', e.status, e.connect + e.read + e.write + e.timeout))
end
""")


class WrkFailed(Exception):
    """Wrk did not run to its end."""


@dataclass(frozen=True, slots=True)
class Load:
    """What one run of wrk saw; `status` counts answers from 400 on, `socket` errors of connections and time-outs."""

    requests: int
    duration_us: int
    p50_us: int
    p99_us: int
    max_us: int
    status: int
    socket: int

    @property
    def per_s(self) -> float:
        return self.requests * 1e6 / self.duration_us

    @property
    def errors(self) -> int:
        return self.status + self.socket


def is_missing() -> bool:
    """Tells whether wrk is not on the path."""
    return shutil.which("wrk") is None


def load(
    port: int, paths: Sequence[str], connections: int, seconds: float, *, body_bytes: int = 0, json_body: str = ""
) -> Load:
    """Asks for `paths` in turn over so many connections; with a body, by POST."""
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        listed = ", ".join(json.dumps(path) for path in paths)
        script.write(_SCRIPT.substitute(paths=listed, body_bytes=body_bytes, json=json.dumps(json_body)))
        script.flush()
        command = ["wrk", "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "--latency"]
        command += ["--timeout", f"{PATIENCE_S}s", "-s", script.name, f"http://127.0.0.1:{port}{paths[0]}"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    last = done.stdout.strip().rpartition("\n")[2]
    if done.returncode != 0 or not last.startswith("{"):
        raise WrkFailed(f"{' '.join(command)}: {done.stderr or done.stdout}")
    return Load(**json.loads(last))
