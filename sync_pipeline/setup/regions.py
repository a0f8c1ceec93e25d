"""Where Clockify lives: the sandbox first, then its regions; whatever else is a custom address."""

from __future__ import annotations

from dataclasses import dataclass

from sync_pipeline.settings import SANDBOX_URL, Settings


@dataclass(frozen=True, slots=True)
class Region:
    """One of Clockify's homes; ``base_url`` as the set-up file has it."""

    name: str
    label: str
    base_url: str
    reports_url: str


SANDBOX = Region("sandbox", "The sandbox on this machine, with made-up data", SANDBOX_URL, SANDBOX_URL)
CUSTOM = "custom"


def _regional(name: str, label: str, prefix: str) -> Region:
    return Region(name, label, f"https://{prefix}.clockify.me/api/v1", f"https://{prefix}.clockify.me/report/v1")


REGIONS: tuple[Region, ...] = (
    SANDBOX,
    Region("global", "Global", "https://api.clockify.me/api/v1", "https://reports.api.clockify.me/v1"),
    _regional("eu", "European Union (Germany)", "euc1"),
    _regional("usa", "USA", "use2"),
    _regional("uk", "United Kingdom", "euw2"),
    _regional("au", "Australia", "apse2"),
)
KNOWN = {region.name: region for region in REGIONS}


def region_of(settings: Settings) -> str:
    """The name of the region these settings point at; ``custom`` for any other address."""
    here = (settings.clockify_base_url, settings.clockify_reports_url)
    if here == settings.sandbox_urls[:2]:
        return SANDBOX.name
    return next((region.name for region in REGIONS if here == (region.base_url, region.reports_url)), CUSTOM)
