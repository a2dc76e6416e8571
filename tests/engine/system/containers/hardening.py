"""What every container must be denied, whichever service it plays. Must not know the services."""

from __future__ import annotations

import re

from tests.engine.system.containers.stack import Stack


def assert_unprivileged(stack: Stack, container: str) -> None:
    """Not root, and nobody, not even root, writes to its root file system or gets a privilege."""
    assert stack.inside(container, "id", "-u").strip() != "0"
    for user in ("", "0"):
        assert "ead-only" in stack.inside(container, "sh", "-c", "echo > /written", user=user, fails=True)
    status = stack.inside(container, "cat", "/proc/1/status")
    assert re.search(r"^CapEff:\t0+$", status, re.MULTILINE)
    assert re.search(r"^NoNewPrivs:\t1$", status, re.MULTILINE)


def assert_limited(stack: Stack, container: str) -> None:
    """Memory, processor, processes and log have an end, an init reaps, and a health check looks."""
    told = stack.inspect(container)
    host = told["HostConfig"]
    assert min(host["Memory"], host["NanoCpus"], host["PidsLimit"]) > 0
    assert set(host["LogConfig"]["Config"]) == {"max-size", "max-file"}
    assert host["Init"]
    assert told["Config"]["Healthcheck"]["Test"]
