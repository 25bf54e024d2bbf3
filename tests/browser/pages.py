"""The pages of the shop, by their names, below the address of the server."""

from __future__ import annotations

from typing import Final

from flowstore.web.addresses import segment
from tests.browser.shop_day import SILENT_WORKER
from tests.browser.shop_errors import CARD_DECLINED, SMTP_TIMEOUT
from tests.browser.shop_events import IMPORT, NIGHTLY

PAGES: Final = {
    "overview": "",
    "overview of a week": "?window=7d",
    "tasks": "tasks",
    "tasks that failed": "tasks?q=status%3Afailed+name%3Amail.send_newsletter",
    "tasks, none": "tasks?q=name%3Anobody",
    "task": f"tasks/{IMPORT}",
    "task of a family": f"tasks/{segment(f'{NIGHTLY}/chunk-003')}",
    "runs": "runs",
    "run": f"runs/{NIGHTLY}",
    "errors": "errors",
    "error": f"errors/{SMTP_TIMEOUT.fingerprint}",
    "error that is ignored": f"errors/{CARD_DECLINED.fingerprint}",
    "names": "names",
    "name": "names/invoice.render",
    "workers": "workers",
    "worker": f"workers/{segment(SILENT_WORKER)}",
    "operations": "operations",
    "system": "system",
}
