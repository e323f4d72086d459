"""The commands that look at state and change it, over one small demo with its own Valkey."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from collections import defaultdict
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from subprocess import run
from typing import Any

import duckdb
import orjson
import pytest
from redis import Redis

from nurt.adapters.files.archive_lines import ArchiveWriter
from nurt.adapters.redis.embedded import embedded_state
from nurt.app.running import run_here
from nurt.cli.commands.profile import as_plain
from nurt.cli.opening import opened_state
from nurt.errors import NurtError
from nurt.flows.profiles import profiles
from nurt.inspect.profile_lookup import ProfileView
from nurt.settings import load_settings
from tests.command_line import Ran, run_nurt
from tests.envelopes import Topic
from tests.flows.test_halted_source import deploy

NURT = Path(sys.executable).with_name("nurt")
STRANGE_ID = 9_999
GENUINE_REFUSED = 2
"""Amounts with six decimals in the corpus."""
pytestmark = pytest.mark.services  # the demo starts a Valkey of its own
ENVIRONMENT = {**os.environ, "COLUMNS": "160"}


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A finished demo: its folder, to be read only, and what it printed.

    It is run again in small steps, so that customers are known before they turn out to be one.
    """
    folder = tmp_path_factory.mktemp("demo") / "out"
    printed = _run("demo", "--folder", str(folder), "--customers", "60")
    shutil.rmtree(folder / "data")
    (folder / "profiles.duckdb").unlink()
    settings = folder / "nurt.yaml"
    settings.write_text(settings.read_text().replace("rows_max: 1000", "rows_max: 100"))
    _run("run", "--config", str(settings))
    return folder, printed


def _run(*arguments: str) -> str:
    done = run([NURT, *arguments, "--debug"], capture_output=True, text=True, check=False, env=ENVIRONMENT)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def own_demo(demo: tuple[Path, str], tmp_path: Path) -> Path:
    """A copy of the demo, to be changed."""
    return Path(shutil.copytree(demo[0], tmp_path / "out"))


@pytest.fixture
def nurt_command(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    return lambda *arguments: run_nurt(monkeypatch, capfd, *arguments)


@pytest.fixture
def asked(demo: tuple[Path, str], nurt_command: Callable[..., Ran]) -> Callable[..., Any]:
    """Ask the demo with --json; gives the document."""

    def ask(*arguments: str) -> Any:
        ran = nurt_command(*arguments, "--json", "--config", str(demo[0] / "nurt.yaml"))
        assert ran.code == 0, ran.err
        return json.loads(ran.out)

    return ask


def _query(folder: Path, query: str) -> list[Any]:
    with duckdb.connect(str(folder / "profiles.duckdb"), read_only=True) as tables:
        return tables.execute(query).fetchall()


def _views(folder: Path) -> list[ProfileView]:
    live = _query(folder, "SELECT id FROM profiles WHERE state = 'live' ORDER BY id")
    with opened_state(folder / "nurt.yaml") as state:
        found = [state.profiles.profile(bytes.fromhex(one)) for (one,) in live]
    assert found
    assert None not in found
    return [view for view in found if view is not None]


def _messages(folder: Path) -> int:
    return sum(1 for path in folder.rglob("messages.jsonl") for _ in path.open("rb"))


def test_the_demo_ends_with_a_customer_whom_several_systems_know(demo: tuple[Path, str]) -> None:
    assert "became" in demo[1]
    page = demo[1].split("Why this is one customer")[1]
    assert "joins A" in page
    assert {"shop_pl", "shop_de", "erp"} & set(page.split("Orders")[0].split()) >= {"erp"}


def test_the_counts_add_up_to_the_messages_of_the_input(demo: tuple[Path, str], asked: Callable[..., Any]) -> None:
    said = asked("stats")
    assert said["totals"]["messages"] == _messages(demo[0])
    outcomes: dict[str, int] = defaultdict(int)
    for count in said["counts"]:
        outcomes[count["outcome"]] += count["messages"]
    assert {name: number for name, number in said["totals"].items() if number and name != "messages"} == outcomes


def test_the_demo_plays_genuine_change_events_beside_the_simulated_ones(
    demo: tuple[Path, str], asked: Callable[..., Any]
) -> None:
    (row,) = [line for line in demo[1].splitlines() if line.startswith("genuine messages")]
    assert [int(word) for word in row.split()[2:]] == [76, 0, 158, 2, 236]
    assert re.search(r"genuine +quarantined +value_out_of_range +2", demo[1])
    topics = {count["topic"] for count in asked("stats")["counts"] if count["outcome"] == "folded"}
    assert {"pg.shop.customers", "my.magento.sales_order", "erp.ERPXL_DEMO.CDN.KntKarty"} <= topics
    assert asked("stats")["state"]["quarantined"] == GENUINE_REFUSED


def test_the_things_counted_are_those_that_the_analysts_tables_hold(
    demo: tuple[Path, str], asked: Callable[..., Any]
) -> None:
    stored = asked("stats", "--count")["stored"]
    ((profiles, accounts, identifiers),) = _query(
        demo[0],
        "SELECT count(*), (SELECT count(*) FROM profile_accounts), (SELECT count(DISTINCT (kind, value)) "
        "FROM profile_identifiers) FROM profiles",
    )
    assert stored["profiles"] == profiles
    assert stored["accounts"] == stored["memberships"] == accounts
    assert stored["identifiers"] == identifiers
    assert stored["rows_customer"] > 0


def test_a_customer_is_found_by_everything_that_points_at_them(
    demo: tuple[Path, str], asked: Callable[..., Any]
) -> None:
    views = [view for view in _views(demo[0]) if view.content["email"] and view.content["phone"]]
    view = max(views, key=lambda one: len(one.accounts))
    email, phone = view.content["email"]["value"], view.content["phone"]["value"]
    ways = [view.profile.hex(), view.accounts[0].account.hex(), f" {email.upper()} ", phone, f"{phone[:3]} {phone[3:]}"]
    ways += ["/".join((one.system, one.entity, *one.key)) for one in view.accounts]
    ways += [f"{one.system}/{one.key[0]}" for one in view.accounts if one.entity == "customer"]
    assert {way: asked("profile", way)["profile"] for way in ways} == dict.fromkeys(ways, view.profile.hex())


def test_a_national_number_is_read_in_the_countries_of_the_systems(
    demo: tuple[Path, str], asked: Callable[..., Any]
) -> None:
    phones = {one.content["phone"]["value"]: one for one in _views(demo[0]) if one.content["phone"]}
    polish = min(phone for phone in phones if phone.startswith("+48"))
    assert asked("profile", polish.removeprefix("+48"))["profile"] == phones[polish].profile.hex()


def test_a_merged_profile_leads_to_its_heir(demo: tuple[Path, str], asked: Callable[..., Any]) -> None:
    redirects = _query(demo[0], "SELECT id, redirect_to FROM profiles WHERE state = 'redirect'")
    assert redirects
    for old, heir in redirects:
        found = asked("profile", old)
        assert found["state"] == "live"
        assert old in found["trail"]
        assert heir in [found["profile"], *found["trail"]]


def test_the_links_that_are_shown_connect_all_accounts_of_a_customer(demo: tuple[Path, str]) -> None:
    for view in _views(demo[0]):
        reached = {view.accounts[0].account}
        for _ in view.accounts:
            for link in view.links:
                if reached & set(link.accounts):
                    reached |= set(link.accounts)
        assert reached == {account.account for account in view.accounts}, view.profile.hex()


def test_the_accounts_figures_add_up_to_the_customers(demo: tuple[Path, str]) -> None:
    for view in _views(demo[0]):
        sums: dict[tuple[str, str], list[Any]] = defaultdict(lambda: [0, Decimal(0)])
        for account in view.accounts:
            for row in account.orders:
                held = sums[row["currency"], row["market"]]
                held[0] += row["count"]
                held[1] += Decimal(row["gross"]) / 10_000
        shown = {(row["currency"], row["market"]): [row["count"], row["gross"]] for row in view.content["orders"]}
        assert sums == shown, view.profile.hex()


def test_every_page_can_be_shown(demo: tuple[Path, str], capfd: pytest.CaptureFixture[str]) -> None:
    from nurt.cli.profile_page import print_profile

    for view in _views(demo[0]):
        print_profile(view)
        json.dumps(as_plain(view), default=str)
    shown = capfd.readouterr().out
    assert shown.count("Why this is one customer") == len(_views(demo[0]))


def test_who_is_not_found_is_not_repeated(demo: tuple[Path, str], nurt_command: Callable[..., Ran]) -> None:
    config = str(demo[0] / "nurt.yaml")
    for who, said in (
        ("nobody@example.org", "read as email"),
        ("shop_pl/999999", "no account has this key"),
        ("00" * 16, "no profile or account has this id"),
        ("\x07", "no identifier"),
    ):
        ran = nurt_command("profile", who, "--config", config)
        assert ran.code == NurtError.exit_code
        assert said in ran.err
        assert "nobody@example.org" not in ran.err


def test_running_again_reads_nothing_twice(own_demo: Path, nurt_command: Callable[..., Ran]) -> None:
    config = str(own_demo / "nurt.yaml")
    before = json.loads(nurt_command("stats", "--json", "--config", config).out)
    assert nurt_command("run", "--config", config).code == 0
    after = json.loads(nurt_command("stats", "--json", "--config", config).out)
    assert after["counts"] == before["counts"]
    assert max(head["run"] for head in after["state"]["heads"].values()) == 2


def _add_unreadable_orders(folder: Path) -> list[str]:
    """Append two orders again, as if written with a schema that the registry lacks; returns their places."""
    lines = (folder / "archive" / "messages.jsonl").read_bytes().splitlines()
    topic = "shop_pl.magento.sales_order"
    orders = [line for line in map(orjson.loads, lines) if line["topic"] == topic and line["value_b64"]][-2:]
    places = []
    with ArchiveWriter(folder / "archive") as writer:
        for order in orders:
            value = b"\x00" + STRANGE_ID.to_bytes(4) + _bytes(order["value_b64"])[5:]
            offset = writer.write(topic, order["partition"], _bytes(order["key_b64"]), value, None, order["timestamp"])
            places.append(f"{topic}:{order['partition']}:{offset}")
    return places


def _bytes(text: str) -> bytes:
    from base64 import b64decode

    return b64decode(text)


def _teach_schema(folder: Path) -> None:
    """Give the registry the schema that it lacked: that of the topic's other messages."""
    path = folder / "archive" / "schemas.json"
    schemas = json.loads(path.read_text())
    subjects = json.loads((folder / "archive" / "subjects.json").read_text())
    (newest,) = subjects["shop_pl.magento.sales_order-value"][-1:]
    path.write_text(json.dumps({**schemas, str(STRANGE_ID): schemas[str(newest)]}))


def test_sound_state_is_not_called_damaged_and_damage_is_named(
    own_demo: Path, nurt_command: Callable[..., Ran], asked: Callable[..., Any]
) -> None:
    config = str(own_demo / "nurt.yaml")
    sound = nurt_command("state", "check", "--config", config)
    assert (sound.code, sound.out.split(" keys: ")[1].strip()) == (0, "no stored value is damaged.")
    with embedded_state(own_demo / "data" / "valkey") as url:
        server = Redis.from_url(url)
        keys = sorted(key for key in server.scan_iter(match=b"*}a*", count=1_000) if len(key.split(b"}a")[1]) == 16)
        server.set(keys[0], (server.get(keys[0]) or b"")[:-1])
        server.delete(keys[1])
        server.rpush(keys[1], b"no text")
        found = nurt_command("state", "check", "--json", "--config", config)
    named = {(one["kind"], one["id"]): one["why"] for one in json.loads(found.out)["damaged"]}
    ids = [key.split(b"}a")[1].hex() for key in keys[:2]]
    assert found.code == 10
    assert named == {("a", ids[0]): "a stored value is damaged", ("a", ids[1]): "a list (expected a string)"}
    shown = nurt_command("state", "check", "--config", config)
    assert shown.code == 10 and ids[0] in shown.out


def test_what_is_in_quarantine_can_be_seen_mended_and_requeued(
    own_demo: Path, nurt_command: Callable[..., Ran]
) -> None:
    config = str(own_demo / "nurt.yaml")

    def asked(*arguments: str) -> Any:
        ran = nurt_command(*arguments, "--json", "--config", config)
        assert ran.code == 0, ran.err
        return (
            [json.loads(line) for line in ran.out.splitlines()] if arguments[1:2] == ("list",) else json.loads(ran.out)
        )

    places = _add_unreadable_orders(own_demo)
    assert nurt_command("check", "--sample", "100000", "--config", config).code == 1
    assert nurt_command("run", "--config", config).code == 0
    strange = ("quarantine", "list", "--reason", "unknown_schema_id")
    listed = asked(*strange)
    assert sorted(row["place"] for row in listed) == sorted(places)
    assert {row["reason"] for row in listed} == {"unknown_schema_id"}
    assert asked("quarantine", "list", "--reason", "row_without_key") == []
    assert "key" not in asked("quarantine", "show", places[0])
    assert asked("quarantine", "show", places[0], "--bytes")["value"].startswith("00" + STRANGE_ID.to_bytes(4).hex())
    page = nurt_command("quarantine", "list", "--config", config).out
    assert "check `registry.url`" in page

    # not mended: it comes back to quarantine, at a place of its own
    assert asked("quarantine", "requeue", places[0]) == {"requeued": 1, "left": 1 + GENUINE_REFUSED}
    assert nurt_command("run", "--config", config).code == 0
    assert len(asked(*strange)) == 2

    _teach_schema(own_demo)
    assert asked("quarantine", "requeue", "--reason", "unknown_schema_id") == {"requeued": 2, "left": GENUINE_REFUSED}
    assert nurt_command("run", "--config", config).code == 0
    assert asked(*strange) == []
    totals = asked("stats")["totals"]
    assert totals["messages"] == _messages(own_demo)
    assert (totals["quarantined"], totals["requeued"]) == (3 + GENUINE_REFUSED, 3)
    assert "3 messages of the quarantined were requeued" in nurt_command("stats", "--config", config).out


def test_nothing_is_requeued_by_mistake(demo: tuple[Path, str], nurt_command: Callable[..., Ran]) -> None:
    config = str(demo[0] / "nurt.yaml")
    for arguments in ([], ["a:0:1", "--all"], ["no-place"], ["a:0:1"]):
        assert nurt_command("quarantine", "requeue", *arguments, "--config", config).code in (1, 2)


@pytest.mark.parametrize(
    "arguments",
    [["--all", "--reason", "unknown_schema_id"], ["--all", "--topic", "a"], ["a:0:1", "--all"], ["a:0:1", "-t", "a"]],
    ids=" ".join,
)
def test_a_requeue_takes_no_options_that_exclude_each_other(
    nurt_command: Callable[..., Ran], arguments: list[str]
) -> None:
    ran = nurt_command("quarantine", "requeue", *arguments, "--config", "not-there.yaml")
    assert ran.code == 2 and "exclude each other" in ran.err


def test_check_names_entries_that_no_topic_comes_to(own_demo: Path, nurt_command: Callable[..., Ran]) -> None:
    mapping = own_demo / "mapping.yaml"
    columns = "key: sku, fields: {sku: sku}"
    entry = f"  - {{match: 'shop_[a-z]+\\.nowhere', system: erp, entity: product, name: elsewhere, {columns}}}"
    mapping.write_text(mapping.read_text().replace("\ntopics:\n", f"\ntopics:\n{entry}\n", 1))
    said = json.loads(nurt_command("check", "--json", "--config", str(own_demo / "nurt.yaml")).out)
    assert len(said["entries_without_topic"]) == 1
    assert said["entries_without_topic"][0].endswith("shop_[a-z]+\\.nowhere")
    assert "shop_[a-z]+" in nurt_command("check", "--config", str(own_demo / "nurt.yaml")).out


def test_check_and_stats_count_what_where_leaves_out(own_demo: Path, nurt_command: Callable[..., Ran]) -> None:
    config = str(own_demo / "nurt.yaml")
    counted = json.loads(nurt_command("stats", "--json", "--config", config).out)
    assert counted["totals"]["left_out"] > 0
    assert counted["totals"]["messages"] == _messages(own_demo)
    assert "Left out by the mapping" in nurt_command("stats", "--config", config).out
    mapping = own_demo / "mapping.yaml"
    renamed = "optional: [renamed]\n    where: renamed = 1"  # of customers, the first entry
    mapping.write_text(mapping.read_text().replace("where: is_active = 1", renamed, 1))
    said = json.loads(nurt_command("check", "--json", "--config", config).out)
    customers = [topic for topic in said["topics"] if re.fullmatch("shop_.*customer_entity", topic["topic"])]
    assert customers and all(topic["absent"] == ["renamed"] and topic["left_out"] > 0 for topic in customers)
    assert "`where` leaves out rows that lack column renamed" in nurt_command("check", "--config", config).out


def test_check_and_stats_name_fields_whose_texts_are_no_identifier(
    tmp_path: Path, redis_url: str, nurt_command: Callable[..., Ran]
) -> None:
    topic = Topic({"id": "int", "email": "string"}, kind="mysql")
    for number, email in enumerate(("a@example.com", "a@example.com; b@example.com", "unbekannt", " ")):
        topic.upsert(row={"id": number, "email": email}, pos=100 + number)
    config = str(deploy(tmp_path, topic, redis_url))
    checked = json.loads(nurt_command("check", "--json", "--config", config).out)
    assert [one["unread"] for one in checked["topics"]] == [{"customer.email": 2}]
    assert "unbekannt" not in nurt_command("check", "--config", config).out
    for _ in range(2):  # the second run has read nothing more
        run_here(profiles, load_settings(Path(config)))
        counts = json.loads(nurt_command("stats", "--json", "--config", config).out)["counts"]
        unread = [(one["topic"], one["reason"], one["messages"]) for one in counts if one["outcome"] == "unread"]
        assert unread == [("s.t", "customer.email", 2)]
    said = nurt_command("stats", "--config", config).out
    assert "customer.email" in said and "unbekannt" not in said


def test_the_embedded_server_is_shared_and_ends_with_the_last_who_began_it(tmp_path: Path) -> None:
    import redis

    with embedded_state(tmp_path) as url:
        with embedded_state(tmp_path) as same:
            assert same == url
            redis.Redis.from_url(same).set("k", "v")
        assert redis.Redis.from_url(url).get("k") == b"v"
    with pytest.raises(redis.RedisError):
        redis.Redis.from_url(url).ping()
    with embedded_state(tmp_path) as again:
        assert redis.Redis.from_url(again).get("k") == b"v"
