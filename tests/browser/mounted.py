"""An application that has the page of an operator among its own: ``uvicorn tests.browser.mounted:app``."""

from __future__ import annotations

import os

from fastapi import FastAPI

from flowstore.web import ANYONE_DANGEROUS, create_app

app = FastAPI()
page = create_app(
    os.environ["SHOP_STORE"],
    access=lambda request: ANYONE_DANGEROUS,
    public_url=os.environ.get("SHOP_PUBLIC_URL") or None,
)


@app.get("/")
def root() -> dict[str, str]:
    return {"this": "shop"}


app.mount(os.environ["SHOP_PREFIX"], page)
