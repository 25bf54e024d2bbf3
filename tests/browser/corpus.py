"""What an attacker would store, in every field that one can store: a page shows it as text, or not at all.

``python -m tests.browser.corpus URL`` fills a store with it.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any, Final

import flowstore
from flowstore import BaseResultBackend, Progress, TaskError, TaskResult
from flowstore.text import MAX_ID_BYTES

MARK: Final = "trapmark"
"""No page has an element of this name, nor an attribute, unless text of the store became markup."""

CORPUS: Final = {
    "script": f"<script>alert('{MARK}')</script><{MARK}>",
    "image": f"<img src=x onerror=alert(1) {MARK}>",
    "svg": f"<svg/onload=alert(1) {MARK}><{MARK}/>",
    "double quote": f'"><{MARK} {MARK}="1" onmouseover="alert(1)" autofocus onfocus="alert(1)" x="',
    "single quote": f"'><{MARK} {MARK}='1' onfocus='alert(1)' x='",
    "unquoted": f" onfocus=alert(1) autofocus tabindex=0 {MARK}=1 ",
    "backtick": f"` onfocus=alert(1) {MARK}=1 `",
    "javascript": "javascript:alert(1)//",
    "data": "data:text/html,<script>alert(1)</script>",
    "jinja": "{{ 7 * 7 }}{% raw %}{{ config }}{{ ''.__class__.__mro__ }}",
    "expressions": "${7*7} #{7*7} <%= 7*7 %> [[7*7]] {{constructor.constructor('alert(1)')()}}",
    "title": f"</title><script>alert(1)</script><{MARK}>",
    "textarea": f"</textarea></script></style><{MARK}><!-- ",
    "comment": f"--><{MARK}><!--",
    "cdata": f"]]><{MARK}>",
    "css": "</style><style>*{display:none}</style>;background:url(javascript:alert(1));x:expression(1)",
    "htmx": f'<a hx-get="//evil.example/{MARK}" hx-trigger="load" {MARK}>x</a>',
    "frame": f"<iframe srcdoc='<script>alert(1)</script>' {MARK}></iframe>",
    "meta": f'<meta http-equiv="refresh" content="0;url=//evil.example/{MARK}">',
    "base": f'<base href="//evil.example/{MARK}/">',
    "form": f'<form action="//evil.example/" {MARK}><button autofocus>go</button></form>',
    "bidi": "user\u202egnp.exe\u2066nimda\u2069\u200f",
    "invisible": "a\u200bb\ufeffc\u00add\u2060e\U000e0041",
    "nul": f"nul\x00byte<\x00script>alert(1)</script><{MARK}>",
    "escape": "\x1b[31mred\x1b]0;title\x07\x9b31m\x08\x7f\r\nSet-Cookie: x=1",
    "line ends": "one\r\ntwo\u2028three\u2029four\x0bfive\x85six",
    "entities": "&lt;script&gt;alert(1)&lt;/script&gt;&#x3c;img src=x onerror=alert(1)&#x3e;&amp;",
    "half": f"<scr<script>ipt>alert(1)</scr</script>ipt><{MARK}<{MARK}>>",
    "slashes": "../../../etc/passwd/..%2f..%5c//evil.example",
    "address": "a/b?c=d&e=%zz#f;g=h+i j\\k",
    "percent": "%3Cscript%3Ealert(1)%3C/script%3E%00%0d%0a",
    "dots": "..",
    "query": 'status:failed "quoted" -name:x sort:-finished \\"',
    "formula": "=cmd|' /C calc'!A0",
    "long": "<b>" + "long " * 90,
    "wide": "W" * 400,
    "right to left": "שלום <b>עולם</b> مرحبا",
    "combining": "Z̸̢̛a̷͜l̴̕g̶o" * 6 + "e\u0301" * 20,
}


def as_id(text: str) -> str:
    """The text as far as it may be an identifier."""
    return text.encode()[:MAX_ID_BYTES].decode(errors="ignore")


def quoted(text: str) -> str:
    """As a value in a query."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def error_of(text: str, *, is_deep: bool = True) -> TaskError:
    """An error with the text in all that it says."""
    return TaskError(
        type=text,
        message=text,
        args=(text, 1, None),
        module=as_id(text),
        notes=(text, f"note {text}"),
        traceback=f'Traceback:\n  File "{text}", line 1, in {text}\n    {text}\n{text}: {text}',
        cause=error_of(text, is_deep=False) if is_deep else None,
        exceptions=(error_of(text, is_deep=False),) if is_deep else (),
        exceptions_left_out=3 if is_deep else 0,
    )


def value_of(text: str) -> dict[str, Any]:
    """A value with the text as value, as key, and in what is nested."""
    return {
        text: text,
        "list": [text, [text, {text: [text]}], (text,)],
        "bytes": text.encode(),
        "long": text * 40,
    }


def fields_of(text: str, number: int) -> dict[str, Any]:
    """All that a record may say besides its state."""
    short = as_id(text)
    return {
        "task_name": short,
        "worker_id": short,
        "labels": [short, as_id(f"label:{text}")],
        "args": (text, value_of(text)),
        "kwargs": {text: value_of(text), "plain": text},
        "meta": {text: text, "header": text},
        "root_id": None,
        "parent_id": None,
    }


async def fill(url: str, namespace: str = "default") -> list[str]:
    """The ids of what is stored, one for each text, and of its steps."""
    ids: list[str] = []
    async with flowstore.connect(url, namespace=namespace) as backend:
        for number, text in enumerate(CORPUS.values()):
            ids += await _store(backend, text, number)
        await _act(backend)
        await backend.app.register({"name": CORPUS["script"], CORPUS["image"]: CORPUS["svg"]})
        for text in CORPUS.values():
            await backend.app.data.set(as_id(text), value_of(text))
    return ids


async def _store(backend: BaseResultBackend, text: str, number: int) -> list[str]:
    """A family of three: failed after a retry, under way, and successful."""
    task_id, fields = as_id(text), fields_of(text, number)
    await backend.workers.register(
        task_id, host=as_id(text), pid=number + 1, labels=fields["labels"], info={text: text, "version": text}
    )
    task = TaskResult.pending(task_id, **fields)
    await backend.store(task_id, task)
    task = TaskResult.running(task, progress=Progress(done=1, total=2, note=text))
    await backend.store(task_id, task)
    await backend.history.record(task_id, as_id(text), {text: text, "message": text})
    await backend.store(task_id, TaskResult.retrying(task, error_of(text)))
    task = TaskResult.running(task, retries=1)
    await backend.store(task_id, TaskResult.failed(task, error_of(f"{text} again"), result=value_of(text)))
    await backend.data.set(task_id, as_id(text), value_of(text))
    await backend.checkpoints.save(task_id, value_of(text))
    under_way, done = as_id(f"1 {text}"), as_id(f"2 {text}")
    step = TaskResult.running(
        under_way, **{**fields, "parent_id": task_id}, progress=Progress(done=1, total=2, note=text)
    )
    await backend.store(under_way, step)
    await backend.cancel(under_way, text)
    await backend.store(done, TaskResult.success(done, value_of(text), **{**fields, "parent_id": under_way}))
    return [task_id, under_way, done]


async def _act(backend: BaseResultBackend) -> None:
    """Operations and decisions, with their reasons and who made them."""
    for group, text in zip(await backend.errors.groups(limit=200), CORPUS.values(), strict=False):
        decide = backend.errors.resolve if len(text) % 2 else backend.errors.ignore
        await decide(group.id, by=as_id(text), reason=text)
    for text in CORPUS.values():
        query = f"status:success name:{quoted(as_id(text))}"
        options: dict[str, Any] = {"reason": text, "by": as_id(text), "dry_run": False}
        await backend.actions.apply("label", query, add=[as_id(f"added {text}")], **options)


if __name__ == "__main__":
    asyncio.run(fill(sys.argv[1]))
