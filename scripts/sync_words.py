"""What the docstrings of flowstore.sync say otherwise than those of the asynchronous classes."""

from __future__ import annotations

import re
from typing import Final

WORDS: Final = {
    "BaseResultBackend": (
        (
            "It opens by itself at the first call, or with ``async with``; once closed it stays closed, and "
            "calls raise BackendClosed. It lives in the event loop and the process in which it opened: calls "
            "from elsewhere raise WrongLoop or WrongProcess. When that loop is closed, it opens in the next "
            "one, with all that is stored; waits and iterations of the old one are over. Any call may raise "
            "StorageError when the storage fails.",
            "It opens by itself at the first call, or with ``with``; once closed it stays closed, and calls "
            "raise BackendClosed. It is closed at exit at the latest. Any number of threads may use it at "
            "the same time. It runs in an event loop in a thread of its own, where functions are called that "
            "are given to it, such as observers: these must not call it. After a fork a child process has "
            "a backend and a loop of its own, made from the same arguments; blocks and iterations that were "
            "begun before raise WrongProcess there. Where an event loop runs, calls raise LoopIsRunning, but "
            "in the cells of a notebook they work. KeyboardInterrupt ends any call at once, as if it had "
            "been cancelled. Any call may raise StorageError when the storage fails.",
        ),
    ),
    "BaseResultBackend.end_waits": (("in the next turn of the event loop", "soon after"),),
    "BaseResultBackend.update": (
        (
            "It is a plain function.",
            "It is called in the thread of the event loop, and must not call this backend.",
        ),
    ),
    "BaseResultBackend.watch": (
        (
            "There is no timeout: an id that is never stored is watched for ever, unless you put "
            "``asyncio.timeout`` around it.",
            "There is no timeout: an id that is never stored is watched for ever.",
        ),
    ),
    "Actions.on_requeue": (
        (
            "may be a coroutine function or a plain one, which is called in a thread.",
            "is called in a thread of its own, in which it may call this backend; or it is a coroutine "
            "function, which runs in the thread of the event loop.",
        ),
    ),
    "RunningRun.checkpoint_with": (
        (
            "after every ``checkpoint_every`` records.",
            "after every ``checkpoint_every`` records. It is called in the thread of the event loop, and "
            "must not call this backend.",
        ),
    ),
    "Datasets.save": (
        (
            "as they come, in chunks.",
            "as they come, in chunks. They are gone through in the thread of the caller.",
        ),
    ),
    "Runs.run": (
        ("``async with backend", "``with backend"),
        ("after asyncio.CancelledError", "after KeyboardInterrupt"),
    ),
    "BaseResultBackend.worker": (("``async with backend", "``with backend"),),
    "BaseResultBackend.track": (
        ("``async with backend", "``with backend"),
        ("as cancelled after asyncio.CancelledError;", "as cancelled after KeyboardInterrupt;"),
        (
            "Exceptions propagate, except for the CancelledError by which ``backend.cancel`` has interrupted "
            "the block. The outcome is stored even if the caller is cancelled in the meantime, and even if",
            "Exceptions propagate, except for the CancelledError of ``task.raise_if_cancelled``. The outcome "
            "is stored even if",
        ),
        (
            "See TrackOptions for the arguments.",
            "See TrackOptions for the arguments; ``interrupt`` raises ValueError, as a thread cannot be "
            "interrupted.",
        ),
        (
            " A coroutine or generator that is closed inside the block cannot await anything: the event loop "
            "stores it as cancelled soon after; if no loop runs, the task stays running, as if the process "
            "had died.",
            " A generator that is closed inside the block is stored as cancelled.",
        ),
    ),
    "BaseResultBackend.cancel": (
        (
            "by ``task.cancel_requested``, and with ``interrupt=True`` by CancelledError.",
            "by ``task.cancel_requested``; an asynchronous one with ``interrupt=True`` by CancelledError.",
        ),
    ),
    "RunningWorker": (("``async with backend", "``with backend"),),
    "RunningWorker.drain": (
        (
            "the tasks of asyncio that run what is left are cancelled, and ``on_cancel`` says what becomes "
            "of it; returns the ids of these, sorted. None: never. A block that catches CancelledError and "
            "goes on is waited for.",
            "the blocks that are left are asked to end, by ``task.cancel_requested`` and "
            "``task.raise_if_cancelled``, and ``on_cancel`` says what becomes of those that do; returns the "
            "ids of these, sorted. None: never. A block that goes on is waited for.",
        ),
    ),
    "TrackedTask.raise_if_cancelled": (
        (
            "End the block with asyncio.CancelledError if ``cancel_requested``. Outside it, the code goes "
            "on.",
            "End the block with asyncio.CancelledError, which it keeps, if ``cancel_requested``.",
        ),
    ),
    "TrackedTask.progress": (
        (
            " In a thread inside the block, as of ``asyncio.to_thread``, call it without ``await``: it "
            "returns when the report is written.",
            "",
        ),
    ),
    "AsyncResultsManager.use": (
        (
            "Calls in flight end in the place before, and are waited for.",
            "Calls in flight end in the place before, and are waited for; but a move from or to a backend of "
            "flowstore.sync must not come while other threads call.",
        ),
    ),
    "AsyncResultsManager": (
        (
            "or a backend, which stays the caller's to close;",
            "or a backend of flowstore.sync, which stays the caller's to close, and whose loop it shares;",
        ),
        (
            "It opens by itself at the first call, or with ``async with``.",
            "It opens by itself at the first call, or with ``with``, and is closed at exit at the latest. "
            "Any number of threads may use it at the same time; forks and running event loops are as for "
            "``flowstore.sync.ResultBackend``.",
        ),
    ),
}
"""From a class or method to phrases of its docstring, and what stands there instead."""
OF_LOOPS: Final = re.compile(r"\bawait(?!ed)|\basync(?!hronous|io)|\basyncio\.(?!CancelledError)|\bWrongLoop")
"""What must not be left in a docstring."""
