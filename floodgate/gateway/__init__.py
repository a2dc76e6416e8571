"""The gateway's side of the engine; these names are what `gateway_app/` uses."""

from floodgate.gateway.app import join
from floodgate.gateway.call import call
from floodgate.gateway.identity import caller_of
from floodgate.gateway.outcomes import CallError, DeadlineExceeded, HandlerFailed, Lost, Refused
from floodgate.gateway.rate_limit import limit

__all__ = ["CallError", "DeadlineExceeded", "HandlerFailed", "Lost", "Refused", "call", "caller_of", "join", "limit"]
