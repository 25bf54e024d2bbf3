"""Fault injection: breaks what a backend depends on, deliberately and reproducibly.

``Proxy`` sits between client and server: delays, stalls, cuts. ``ShuffleLoop`` is an event loop that runs
ready tasks in random order. ``cancel_at_each_await`` cancels a call at each of its awaits.
``UnreliableHints`` loses, doubles and delays the hints of an engine. ``EngineFaults`` also makes its verbs
fail, before or after they are carried out, with any error that a storage may raise (``FAILURES``). ``Mute``
keeps all hints to itself, ``CutLine`` until it is mended.

``Recorder`` and ``History`` record the calls of clients and check that they are linearizable; ``crowd`` is a
crowd of such clients.
"""

from flowstore.testing.faults.cancelling import cancel_at_each_await
from flowstore.testing.faults.crowd import crowd
from flowstore.testing.faults.engine import FAILURES, EngineFaults, ProcessDied
from flowstore.testing.faults.hints import CutLine, Mute, UnreliableHints
from flowstore.testing.faults.history import History, NotExplained, Recorder
from flowstore.testing.faults.proxy import Proxy
from flowstore.testing.faults.shuffling import ShuffleLoop

__all__ = [
    "FAILURES",
    "CutLine",
    "EngineFaults",
    "History",
    "Mute",
    "NotExplained",
    "ProcessDied",
    "Proxy",
    "Recorder",
    "ShuffleLoop",
    "UnreliableHints",
    "cancel_at_each_await",
    "crowd",
]
