"""``flowstore serve`` and ``metrics``."""

from __future__ import annotations

import sys

from flowstore.cli._desk import check_exists
from flowstore.cli._exits import Exit, usage
from flowstore.cli._settings import Common, settings_of


def serve(
    *,
    host: str = "127.0.0.1",
    port: int = 8787,
    auth: str | None = None,
    trusted_proxy: tuple[str, ...] = (),
    public_url: str | None = None,
    read_only: bool = False,
    no_auth_i_am_behind_a_proxy: bool = False,
    title: str = "flowstore",
    open: bool = False,
    common: Common | None = None,
) -> int:
    """Serve the page of an operator, until Ctrl-C.

    Parameters
    ----------
    host
        The address to listen on. Any but those of this machine needs --auth.
    port
        The port; 0: any that is free.
    auth
        Who may come in: basic:@FILE, token:@FILE, or header:NAME with --trusted-proxy. Without it a link to
        sign in is printed, which works once.
    trusted_proxy
        The address, or network, of a proxy that says who somebody is.
    public_url
        Where browsers reach it, if a proxy stands before it: https://ops.example.org/flow/
    read_only
        Nothing can be changed, and nothing is written: it may be a replica that it looks at.
    no_auth_i_am_behind_a_proxy
        Whoever can reach it may do everything.
    title
        Of the page.
    open
        Open the link in a browser.
    """
    from flowstore.web.serving import Serving, run

    settings = settings_of(common or Common())
    check_exists(settings.url)
    serving = Serving(
        url=settings.url,
        namespace=settings.namespace,
        host=host,
        port=port,
        auth=auth,
        trusted_proxies=trusted_proxy,
        public_url=public_url,
        is_read_only=read_only,
        is_open_to_all=no_auth_i_am_behind_a_proxy,
        title=title,
        opens_browser=open,
    )
    return run(serving)


async def metrics(*, names: int = 200, common: Common | None = None) -> int:
    """Print the metrics of the store for Prometheus, as one scrape of docs/prometheus.md.

    Of a store that cannot be reached they say so, and the exit code is 4.

    Parameters
    ----------
    names
        How many task names have series of their own.
    """
    from flowstore.integrations.prometheus import StoreMetrics

    settings = settings_of(common or Common())
    if common is not None and common.output not in (None, "table"):
        raise usage("-o: metrics have one format only, that of Prometheus")
    check_exists(settings.url)
    store = StoreMetrics(settings.url, names=names, namespace=settings.namespace, read_only=True)
    try:
        text, _ = await store.text()
    finally:
        await store.close()
    sys.stdout.write(text.decode())
    is_up = any(
        line.startswith(b"flowstore_store_up{") and line.endswith(b" 1.0") for line in text.splitlines()
    )
    return Exit.OK if is_up else Exit.UNREACHABLE
