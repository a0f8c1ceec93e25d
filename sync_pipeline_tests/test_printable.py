"""Text of others is shown in one line, without a character that commands, hides or reorders; JSON reads back unchanged."""

from __future__ import annotations

import csv
import io
import json
import sys
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sync_pipeline import terminal
from sync_pipeline.errors import ApiError, Request, SyncError
from sync_pipeline.printable import json_text, printable, spreadsheet_cell

VISIBLE = {0x600, 0x601, 0x602, 0x603, 0x604, 0x605, 0x6DD, 0x70F, 0x890, 0x891, 0x8E2, 0x110BD, 0x110CD} | set(
    range(0x13430, 0x13440)  # how hieroglyphs are arranged
)
"""Signs of Unicode's category "format" that people see: of numbers in Arabic, Syriac, Kaithi, of hieroglyphs."""
JOINERS = {0x200C, 0x200D}
UNSEEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}
PIECES = st.sampled_from(
    [
        *(
            "\\[/b]",
            "[/]",
            "[bold red]",
            "[link=http://evil.test]here",
            "\\",
            "[",
            ":smile:",
            "{x}",
            "%s",
            "$(id)",
            "`id`",
        ),
        *(
            "\x1b]0;title\x07",
            "\x1b]8;;http://evil.test\x1b\\here",
            "\x1b[2J",
            "\x9b31m",
            "\x9d0;t\x9c",
            "\x00",
            "\x7f",
        ),
        *("\u202egnp.exe", "\u2066", "\u200f", "\ufeff", "\n", "\r\n", "\nError: all is lost", "\t", "\u2028", "\x85"),
        *("Café", "מזל", "\U0001f468\u200d\U0001f469", "e\u0301", "\U000e0041", "'; DROP TABLE", "<b>"),
    ]
)
ALL = st.lists(PIECES | st.text(st.characters(exclude_categories=[]), max_size=10), max_size=4).map("".join)


def harmless(text: str) -> bool:
    """Whether a terminal shows all of it, in order and in one line."""
    return not [sign for sign in text if unicodedata.category(sign) in UNSEEN and ord(sign) not in VISIBLE | JOINERS]


def test_every_character_there_is() -> None:
    """Of all of Unicode: what is not seen is escaped, what is seen stays."""
    for code in range(sys.maxunicode + 1):
        shown, category = printable(chr(code)), unicodedata.category(chr(code))
        assert harmless(shown)
        if category not in UNSEEN | {"Cn"}:
            assert shown == chr(code) or unicodedata.category(chr(code)) in ("Lo", "Mn"), hex(code)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Café № 5 \U0001f468\u200d\U0001f469", "Café № 5 \U0001f468\u200d\U0001f469"),
        ("می\u200cخواهم", "می\u200cخواهم"),
        ("a\nb\tc\r", "a\\nb\\tc\\r"),
        ("\x1b]8;;http://evil\x1b\\x\x9b31m", "\\x1b]8;;http://evil\\x1b\\x\\x9b31m"),
        ("in\u202evoice\u2028", "in\\u202evoice\\u2028"),
        ("\U000e0041\ud800", "\\U000e0041\\ud800"),
        ("\\[/b][link=http://evil]", "\\[/b][link=http://evil]"),
    ],
)
def test_what_is_escaped(text: str, shown: str) -> None:
    """Escape sequences, bidi, line breaks, tags; letters, joiners and brackets stay."""
    assert printable(text) == shown


@given(ALL)
def test_json_reads_back(text: str) -> None:
    """Indented or not, as a key or as a value; and no line of it holds what a terminal obeys."""
    for indent in (None, 2):
        document = json_text({text: [text]}, indent=indent)
        assert all(harmless(line) for line in document.split("\n"))
        assert json.loads(document) == {text: [text]}


@given(ALL, ALL)
def test_an_error_is_one_line(message: str, other: str) -> None:
    """Message, fix, request and the sentence for a form, whatever they quote."""
    request = Request("Clockify", "GET", f"/{other}", 400, other, other)
    api = ApiError(message, request, fix=other)
    for text in (str(SyncError(message, fix=other)), str(api), api.sentence, str(request), api.message, api.fix):
        assert harmless(text)


@given(ALL)
@example("\\[/b] [/] [bold]x[/bold] :smile:")
def test_whatever_is_printed_is_printable(text: str) -> None:
    """Errors, warnings, notes, findings, tables - title, column and cell: no markup, no emoji code, no command."""
    output = io.StringIO()
    for console in (terminal.out, terminal.err):
        console.file = output
    try:
        for say in (terminal.problem, terminal.warning, terminal.notice, terminal.say):
            say(text)
        terminal.marked("ok", text)
        terminal.table(text, [{text or "x": text, "lines": terminal.Lines([text, text])}])
    finally:
        for console in (terminal.out, terminal.err):
            console.file = None  # type: ignore[assignment]  # the standard streams again
    assert all(harmless(line) for line in output.getvalue().split("\n"))
    said = output.getvalue().split("\n")
    assert said[0] == f"Error: {printable(text)}"


def test_the_title_of_a_narrow_table_stays_in_one_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    """An id above a table of short cells can be copied."""
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    with terminal.out.capture() as capture:
        terminal.table("6b074ef3912265b1f50da33d", [{"field": "site", "after": "-"}])
    assert capture.get().splitlines()[0] == "6b074ef3912265b1f50da33d"


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("name", ["=1", "\t=1", "\r=1", "\n=1", "a\r=1", "a\r\n=1", "a\n=1", "\uff1d1", "@x", "-1"])
def test_no_cell_of_a_spreadsheet_is_a_formula_or_a_second_row(name: str, end: str) -> None:
    """A spreadsheet ends a row at a CR that is not in quotes, and what follows would be a formula."""
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator=end).writerow([spreadsheet_cell("id"), spreadsheet_cell(name)])
    ((first, second),) = csv.reader(text.getvalue().splitlines(keepends=True))
    assert (first, second.replace("\n", "").removeprefix("'")) == ("id", name.replace("\r", "").replace("\n", ""))
    assert not second.startswith(("=", "\t", "\r", "\n", "\uff1d", "@", "-"))
