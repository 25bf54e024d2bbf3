"""The means to break what a backend stands on, on purpose and repeatably.

``Proxy`` stands between client and server: delays, stalls, cuts. ``ShuffleLoop`` runs what is ready in
another order. ``cancel_at_each_await`` ends a call wherever it can be ended. ``UnreliableHints`` loses,
doubles and delays what an engine reports to its waiters.

``Recorder`` and ``History`` write down what clients were told meanwhile, and find what no order of their
calls explains; ``crowd`` are such clients.
"""

from flowstore.testing.faults.cancelling import cancel_at_each_await
from flowstore.testing.faults.crowd import crowd
from flowstore.testing.faults.hints import UnreliableHints
from flowstore.testing.faults.history import History, NotExplained, Recorder
from flowstore.testing.faults.proxy import Proxy
from flowstore.testing.faults.shuffling import ShuffleLoop

__all__ = [
    "History",
    "NotExplained",
    "Proxy",
    "Recorder",
    "ShuffleLoop",
    "UnreliableHints",
    "cancel_at_each_await",
    "crowd",
]
