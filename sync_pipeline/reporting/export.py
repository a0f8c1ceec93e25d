"""Reports and lists as files for spreadsheets: names typed by people never become formulas there."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence
from typing import IO, Any, TextIO

from sync_pipeline.printable import spreadsheet_cell
from sync_pipeline.reporting.reports import Report

FORMATS = {"hours": "#,##0.00", "share": "0.0%", "used": "0.0%", "money": "#,##0.00", "count": "#,##0"}
KINDS = {
    **dict.fromkeys(("hours", "billable_hours", "estimate_hours"), "hours"),
    **dict.fromkeys(("billable_share", "budget_used", "estimate_used"), "share"),
    **dict.fromkeys(("amount", "cost", "margin", "budget", "revenue", "revenue_budget", "revenue_margin"), "money"),
    **dict.fromkeys(("entries", "people", "projects", "days_unread"), "count"),
}
"""What each column with numbers holds; the others hold texts."""
TOTAL = "Total"
WIDEST = 60
LONGEST_CELL = 32_767
"""Characters; Excel takes no more."""
NO_XML = re.compile("[\ud800-\udfff\ufffe\uffff]")
"""What makes a file that Excel calls damaged; the library writes other control characters as escapes."""


def lines_of(report: Report) -> list[dict[str, Any]]:
    """The rows and the totals, which are marked in the first column with names."""
    first = next(name for name in report.columns if not name.endswith("_id"))
    return [*report.rows, *({first: TOTAL, **each} for each in report.totals)]


def write_csv(report: Report, to: TextIO) -> None:
    """Comma-separated values, with a header."""
    _write_lines(to, report.columns, ([line.get(name) for name in report.columns] for line in lines_of(report)))


def csv_text(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """The same of any list."""
    text = io.StringIO()
    _write_lines(text, columns, rows)
    return text.getvalue()


def _write_lines(to: TextIO, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    out = csv.writer(to, lineterminator="\n")
    out.writerow(columns)
    out.writerows([spreadsheet_cell(value) for value in row] for row in rows)


def write_xlsx(report: Report, to: IO[bytes]) -> None:
    """One sheet with numbers as numbers, a header that stays in view, and the totals in bold."""
    from xlsxwriter import Workbook  # only here: a tenth of a second

    options = {"in_memory": True, "strings_to_formulas": False, "strings_to_urls": False}
    with Workbook(to, options) as book:
        sheet = book.add_worksheet(report.name)
        styles = {
            (kind, bold): book.add_format({"bold": bold, **({"num_format": shown} if shown else {})})
            for kind, shown in {**FORMATS, "": ""}.items()
            for bold in (False, True)
        }
        lines = lines_of(report)
        for place, name in enumerate(report.columns):
            sheet.write_string(0, place, name.replace("_", " "), styles["", True])
            sheet.set_column(place, place, _width(name, lines))
            for nr, line in enumerate(lines, 1):
                style = styles[KINDS.get(name, ""), nr > len(report.rows)]
                _write(sheet, (nr, place), line.get(name), style)
        sheet.freeze_panes(1, 0)
        sheet.autofilter(0, 0, len(report.rows), len(report.columns) - 1)


def _write(sheet: Any, place: tuple[int, int], value: Any, style: Any) -> None:
    if isinstance(value, str):
        sheet.write_string(*place, NO_XML.sub("\N{REPLACEMENT CHARACTER}", value)[:LONGEST_CELL], style)
    elif value is not None:
        sheet.write_number(*place, value, style)


def _width(name: str, lines: Sequence[dict[str, Any]]) -> int:
    return min(WIDEST, 2 + max(map(len, [name, *(str(line.get(name) or "") for line in lines)])))
