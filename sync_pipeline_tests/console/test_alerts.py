"""Where alerts are sent, in the console; and each alert leads to a page that is there."""

from __future__ import annotations

from pathlib import Path

import pytest

from sync_pipeline.alerts.kinds import KINDS, path_of
from sync_pipeline.store.alerts import AlertKey
from sync_pipeline_tests.alerts.sinks import TOKEN, http_sink
from sync_pipeline_tests.console.browsing import Browser, browsing, consoling


def test_a_destination_is_added_tried_and_removed(setup_browser: Browser) -> None:
    """What goes wrong is reported; the address is on no page, also not in the form that is shown again."""
    assert "There are no destinations yet" in setup_browser.get("/settings/alerts").text
    with http_sink() as sink:
        added = setup_browser.post("/settings/alerts", {"name": "ops", "address": sink.address})
        assert "Alerts are sent to ops (JSON)" in added.text
        assert "ops took the test message" in setup_browser.post("/settings/alerts/test", {"name": "ops"}).text
        sink.status = 500
        assert "it answered 500" in setup_browser.post("/settings/alerts/test", {"name": "ops"}).text
    wrong = setup_browser.post("/settings/alerts", {"name": "ops", "address": f"nonsense://{TOKEN}"})
    assert "The address of ops cannot be used" in wrong.text
    assert "needs a short name" in setup_browser.post("/settings/alerts", {"name": "A b", "address": "x"}).text
    assert "Nothing is sent to ops any more" in setup_browser.post("/settings/alerts/remove", {"name": "ops"}).text
    assert "There is no destination" in setup_browser.post("/settings/alerts/remove", {"name": "ops"}).text
    assert sink.titles == ["Test of sync_pipeline"]
    assert [seen for seen in setup_browser.seen if TOKEN in seen] == []


def test_the_rules_on_figures_are_shown(tmp_path: Path) -> None:
    """Yours, those that are ready-made, and a mistake with its line; nothing of a file is run as HTML."""
    file = tmp_path / "rules.yaml"
    rule, subscription = "{above: 80, only: <b>Website</b>}", "{about: new_locations, every: at_once}"
    file.write_text(f"rules: {{budget: {rule}}}\nsubscriptions: {{places: {subscription}}}")
    with consoling(tmp_path / "home", SYNC_ALERT_RULES_FILE=str(file)) as console, browsing(console) as browser:
        browser.sign_in()
        page = browser.page("/settings/alerts")
        assert "use of the budget of a project (total): above 80 %" in page.text
        assert "<b>Website</b>" in page.text  # as text: the page has no such element
        assert "no time entry of a person for 2 working days" in page.text
        assert "new locations at once all destinations not yet" in page.text
        assert page.faults == []
        file.write_text("rules:\n  budget: {above: many}\n")
        assert "rules.yaml:2: rules.budget.above: found text 'many'" in browser.page("/settings/alerts").text


@pytest.mark.parametrize("kind", KINDS)
def test_each_alert_leads_to_a_page(browser: Browser, kind: str) -> None:
    """Of this console."""
    assert browser.get(path_of(AlertKey(kind, "users", "clockify"))).status_code == 200
