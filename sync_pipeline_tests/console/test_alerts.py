"""Where alerts are sent, in the console; and each alert leads to a page that is there."""

from __future__ import annotations

import pytest

from sync_pipeline.alerts.kinds import KINDS, path_of
from sync_pipeline.store.alerts import AlertKey
from sync_pipeline_tests.alerts.sinks import TOKEN, http_sink
from sync_pipeline_tests.console.browsing import Browser


def test_a_destination_is_added_tried_and_removed(desk_browser: Browser) -> None:
    """What goes wrong is told; the address is on no page, also not in the form that is shown again."""
    assert "Alerts are sent nowhere yet" in desk_browser.get("/settings/alerts").text
    with http_sink() as sink:
        added = desk_browser.post("/settings/alerts", {"name": "ops", "address": sink.address})
        assert "Alerts are sent to ops (JSON)" in added.text
        assert "ops took the test message" in desk_browser.post("/settings/alerts/test", {"name": "ops"}).text
        sink.status = 500
        assert "it answered 500" in desk_browser.post("/settings/alerts/test", {"name": "ops"}).text
    wrong = desk_browser.post("/settings/alerts", {"name": "ops", "address": f"nonsense://{TOKEN}"})
    assert "The address of ops cannot be used" in wrong.text
    assert "needs a short name" in desk_browser.post("/settings/alerts", {"name": "A b", "address": "x"}).text
    assert "Nothing is sent to ops any more" in desk_browser.post("/settings/alerts/remove", {"name": "ops"}).text
    assert "There is no destination" in desk_browser.post("/settings/alerts/remove", {"name": "ops"}).text
    assert sink.titles == ["Test of sync_pipeline"]
    assert [seen for seen in desk_browser.seen if TOKEN in seen] == []


@pytest.mark.parametrize("kind", KINDS)
def test_each_alert_leads_to_a_page(browser: Browser, kind: str) -> None:
    """Of this console."""
    assert browser.get(path_of(AlertKey(kind, "users", "clockify"))).status_code == 200
