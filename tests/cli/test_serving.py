"""``flowstore metrics``, and what ``flowstore serve`` refuses; test_commands.py serves."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from tests.cli.support import invoke, seed


def test_metrics(shop: str, redis_url: str) -> None:
    seed(redis_url)
    for url in (shop, redis_url):
        ran = invoke("metrics", url=url)
        assert (ran.code, ran.err) == (0, "")
        families = {family.name: family for family in text_string_to_metric_families(ran.out)}
        tasks = {each.labels["status"]: each.value for each in families["flowstore_tasks"].samples}
        assert (tasks["failed"], tasks["pending"]) == (2, 1)


def test_metrics_have_one_format(shop: str) -> None:
    ran = invoke("metrics", "-o", "json", url=shop)
    assert (ran.code, "one format only" in ran.err) == (2, True)
    assert invoke("metrics", url=shop, FLOWSTORE_OUTPUT="json").code == 0


def test_metrics_of_what_is_down() -> None:
    ran = invoke("metrics", url="redis://127.0.0.1:1/0")
    assert ran.code == 4
    assert 'flowstore_store_up{namespace="default"} 0.0\n' in ran.out


def test_what_is_not_served(shop: str) -> None:
    """Nothing is open to others by mistake."""
    assert invoke("serve", url="sqlite:///none.db").code == 4
    ran = invoke("serve", "--host", "0.0.0.0", url=shop)
    assert (ran.code, "auth" in ran.err) == (2, True)
    assert invoke("serve", "--auth", "nonsense", url=shop).code == 2
    assert invoke("serve", "--port", "99999", url=shop).code == 2
