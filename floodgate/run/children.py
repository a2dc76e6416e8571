"""Child processes that end with us, whatever ends us.

Owns how a command is wrapped for that. Must not know which programs it starts.
"""

from __future__ import annotations

import os
import signal
import sys

# Asks Linux for a signal when the parent's thread ends, and becomes the command. A program of its own instead of
# `preexec_fn`, which may deadlock where the parent has threads. The parent may have ended before the request was made.
_BIND = """
import ctypes, os, sys
PR_SET_PDEATHSIG = 1
parent, sig = map(int, sys.argv[1:3])
ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, sig)
if os.getppid() != parent:
    sys.exit(1)
os.execv(sys.argv[3], sys.argv[3:])
"""


def bound_to_us(command: list[str], sig: signal.Signals) -> list[str]:
    """Return a command that gets `sig` when this thread ends (Linux; elsewhere the command itself)."""
    if sys.platform != "linux":
        return command
    return [sys.executable, "-I", "-S", "-c", _BIND, str(os.getpid()), str(int(sig)), *command]
