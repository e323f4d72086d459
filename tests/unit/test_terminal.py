"""What rows and receivers say is shown, and steers no terminal: no title, no clipboard, no text turned around."""

from __future__ import annotations

import io
import logging
import re
import unicodedata
from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import orjson
import pytest
from rich.panel import Panel
from rich.status import Status
from rich.text import Text

from nurt.adapters.visible_text import VisibleFormatter, visible, visible_json, visible_lines
from nurt.cli import frame
from nurt.cli.commands.profile import as_plain
from nurt.cli.frame import SafeConsole, print_json, table_of
from nurt.cli.profile_page import print_profile
from nurt.cli.stock_page import print_order
from nurt.inspect.profile_lookup import AccountView, Link, ProfileView
from nurt.profiles.golden_record.write import FIELDS
from tests.command_line import Ran, run_nurt
from tests.contracts.published import rich

ATTACKS = {
    "title": "\x1b]0;owned\x07",
    "clipboard": "\x1b]52;c;b3duZWQ=\x07",
    "clear": "\x1b[2J\x1b[H",
    "c1": "\x9b2J\x9d0;owned\x9c",
    "override": "\u202egnp.exe",
    "isolate": "a\u2066\u2069\u200f\u061c",
    "carriage": "Anna\rOlga",
    "line": "Anna\nerased\x85\u2028a\u2029",
    "unseen": "A\u200bn\U000e0041na\x7f\x00",
    "half": "a\ud83d",
    "markup": "[/x][bold]a[/bold] [link=https://example.com]b[/link] :smile:",
}
TURNS = r"\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069"
STEERING = re.compile(rf"[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b\u2060-\u2064\ufeff\U000e0000-\U000e007f{TURNS}]")
IN_JSON = re.compile(rf"[\x00-\x09\x0b-\x1f\x7f-\x9f{TURNS}]")
NAMES = [
    *(
        "Łucja Żółć",
        "\u5c71\u7530",
        "\u05d9\u05d5\u05e1\u05e3",
        "\u0639\u0645\u0631",
        "O'Neil",
        "a\u0301",
        "na\xefve\xa0co",
    ),
    *("\U0001f469\u200d\U0001f467", "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645"),  # joiners shape what is seen
]


@pytest.fixture
def printed(monkeypatch: pytest.MonkeyPatch) -> Callable[[], str]:
    """What the commands' consoles got, as UTF-8."""
    out = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", newline="")
    for console in (frame.stdout, frame.stderr):
        monkeypatch.setattr(console, "_file", out)
        monkeypatch.setattr(console, "width", 160)

    def read() -> str:
        out.flush()
        return out.buffer.getvalue().decode()  # type: ignore[attr-defined]

    return read


def _is_harmless(text: str) -> bool:
    return STEERING.search(text) is None


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
def test_a_value_becomes_one_harmless_line(attack: str) -> None:
    told = visible(attack)
    assert _is_harmless(told) and "\n" not in told and told.encode()
    assert re.sub(r"\W", "", told)


def test_every_control_and_direction_of_unicode_is_a_sign() -> None:
    for code in range(0x110000):
        letter = chr(code)
        turns = unicodedata.bidirectional(letter) in ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")
        if unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp") or turns:
            assert visible(letter) != letter, hex(code)


@pytest.mark.parametrize(
    "name", ["Łucja Żółć", "山田", "יוסף", "عمر", "👩‍👩‍👧", "می‌خواهم", "O'Neil", "a\u0301", "naïve\xa0co"]
)
def test_names_of_people_are_as_they_were(name: str) -> None:
    assert visible(name) == name
    assert visible_json(orjson.dumps(name)) == orjson.dumps(name)


def test_lines_of_our_own_stay_lines() -> None:
    assert visible_lines("a\n\tb\x1b[2J") == "a\n\tb␛[2J"


@pytest.mark.parametrize("attack", [each for name, each in ATTACKS.items() if name != "half"])
def test_json_means_the_same_and_steers_nothing(attack: str, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    print_json({attack: [attack]})
    said = capfdbinary.readouterr().out
    assert orjson.loads(said) == {attack: [attack]}
    assert not IN_JSON.search(said.decode())


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
def test_a_console_shows_no_text_that_steers(attack: str, printed: Callable[[], str]) -> None:
    """Also not what a page forgot to make visible."""
    for thing in (attack, Panel(attack, title=Text(attack)), table_of(attack, (attack, "b"), [[attack, attack]])):
        frame.stdout.print(thing)
    assert _is_harmless(printed())


def test_markup_in_a_value_is_text(printed: Callable[[], str]) -> None:
    frame.stdout.print(ATTACKS["markup"])
    assert printed() == ATTACKS["markup"] + "\n"


def test_a_terminal_still_gets_colours_and_progress() -> None:
    out = io.StringIO()
    console = SafeConsole()
    console.file, console._force_terminal = out, True
    with Status("working", console=console):
        console.print("[bold]done[/bold]", markup=True)
    assert "\x1b[" in out.getvalue()


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
def test_a_profile_of_hostile_rows_is_shown(attack: str, printed: Callable[[], str]) -> None:
    print_profile(_profile(attack))
    assert _is_harmless(printed())
    assert printed().count("\n") < 80


def test_a_profile_of_hostile_rows_has_its_values_in_json() -> None:
    plain = as_plain(_profile(ATTACKS["title"]))
    assert plain["content"]["email"]["value"] == ATTACKS["title"]


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
def test_an_order_of_hostile_rows_is_shown(attack: str, printed: Callable[[], str]) -> None:
    names = ("number", "reference", "stage", "system", "channel", "market", "status")
    line = {**dict.fromkeys(("sku", "location"), attack), **dict.fromkeys(("ordered", "returned", "booked"), 1)}
    moments = {"shipped_at": None, "booked_at": None}
    texts = dict.fromkeys(("system", "number", "status", "carrier", "tracking"), attack)
    print_order(
        {
            **dict.fromkeys(names, attack),
            "placed_at": None,
            "lines": [{**line, "shipped": 0, "remaining": 1}],
            "documents": [{**texts, **moments}],
            "shipments": [{**texts, **moments}],
        }
    )
    assert _is_harmless(printed())


@pytest.mark.parametrize("attack", [each for each in ATTACKS.values() if "\x00" not in each and each != "\ud83d"])
def test_errors_repeat_nothing_that_steers(
    attack: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Also those of the command line itself: a script may paste what a customer typed."""
    for arguments in (["profile", f"--{attack}"], [attack], ["stats", "--flow", attack], ["profile", attack]):
        ran: Ran = run_nurt(monkeypatch, capfd, *arguments)
        assert ran.code != 0
        assert _is_harmless(ran.err + ran.out)


def test_a_log_line_steers_nothing() -> None:
    record = logging.LogRecord("nurt", logging.INFO, "", 0, "topic %s", ("\x1b]0;owned\x07",), None)
    assert VisibleFormatter("%(message)s").format(record) == "topic ␛]0;owned␇"


def _profile(text: str) -> ProfileView:
    content: dict[str, Any] = dict(rich(2, 1))
    for name in FIELDS:
        content[name] = {"value": text, "system": text, "row": "", "position": "", "rule": text}
    for name in ("identifiers", "addresses", "accounts", "orders", "products", "categories", "invoices", "consents"):
        content[name] = [
            {key: text if isinstance(value, str) else value for key, value in row.items()} for row in content[name]
        ]
    counts = {f"last_{days}_count": 1 for days in (30, 90, 365)}
    grosses = {f"last_{days}_gross": Decimal(1) for days in (30, 90, 365)}
    content["orders"] = [
        {
            **{"currency": text, "market": text, "count": 1, "gross": Decimal(1), "average": Decimal(1)},
            **{"first_on": date(2026, 1, 1), "last_on": date(2026, 1, 2), "cancelled": 1, "returned": 1, "open": 1},
            **{**counts, **grosses},
            **dict.fromkeys(("given_back", "net", "paid", "open_amount"), Decimal(1)),
        }
    ]
    content["consents"] = [{"purpose": text, "granted": True, "at": datetime(2026, 1, 1), "system": text}]
    content["realm"] = text
    orders = ({"count": 1, "gross": 10_000, "currency": text, "market": text},)
    account = AccountView(bytes(16), text, text, (text, text), ((text, text),), orders)
    other = AccountView(bytes([1]) * 16, text, text, (text,), (), ())
    link = Link(text, text, (account.account, other.account))
    return ProfileView(bytes(16), (), "live", 1, date(2026, 1, 1), content, (account, other), (link,))
