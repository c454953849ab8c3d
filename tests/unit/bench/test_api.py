"""The bench as its callers meet it: acts, looks, errors, the token. The charger behind it is whole, time is virtual."""

import asyncio
import json
from typing import Any

import pytest

from emulator.bench.acts import ACTS
from emulator.bench.app import BODY_BYTES_MAX
from emulator.bench.faults import FAULTS_MAX
from emulator.bench.stream import READERS_MAX
from tests.unit.bench.desk import BEGAN, SECRET, SERIAL, SITE_SECRET, Desk, at_the_bench


def test_a_charge_from_plug_to_plug() -> None:
    async def story(desk: Desk) -> None:
        await desk.until("device.online")
        status, done = await desk.ask("POST", "/plug-in", {"energy_wanted_kwh": 1, "max_current_a": 16})
        assert status == 200 and done["began"] == BEGAN
        await desk.until("device.charging", after=done["after"])
        await asyncio.sleep(60)
        _, seen = await desk.ask("GET", "/snapshot")
        assert (seen["charge"]["state"], seen["charge"]["power_w"]) == ("charging", 11040.0)
        assert seen["charge"]["car"]["energy_wanted_kwh"] == 1.0
        assert seen["observations"]["710"]["value"] == "3"
        assert (await desk.ask("POST", "/unplug"))[0] == 200
        await asyncio.sleep(10)
        (session,) = desk.world.cloud.store.device(SERIAL).sessions.values()
        assert session.energy_kwh > 0.1

    at_the_bench(story)


def test_the_power_is_pulled_and_given_back() -> None:
    async def story(desk: Desk) -> None:
        await desk.until("device.online")
        assert await desk.ask("POST", "/power-on") == (409, {"error": "power-on: the power was not pulled here"})
        assert (await desk.ask("POST", "/power-off"))[0] == 200
        await asyncio.sleep(5)
        assert await desk.ask("GET", "/health") == (503, {"online": False, "why": "the power is off"})
        assert await desk.ask("POST", "/power-off") == (409, {"error": "power-off: the power is off already"})
        _, seen = await desk.ask("GET", "/snapshot")
        assert (seen["powered"], seen["online"], seen["lease"]) == (False, False, None)
        _, done = await desk.ask("POST", "/power-on")
        await desk.until("device.online", after=done["after"])
        assert await desk.ask("GET", "/health") == (200, {"online": True})
        status, done = await desk.ask("POST", "/reboot", {"off_s": 3})
        assert (status, done["off_s"]) == (200, 3)
        await desk.until("device.online", after=done["after"])
        assert (await desk.ask("GET", "/snapshot"))[1]["boot"]["power_ons"] == 3

    at_the_bench(story)


def test_faults_of_charger_link_and_site() -> None:
    async def story(desk: Desk) -> None:
        await desk.until("device.online")
        drift_ppm = desk.charger.env.rtc.drift_ppm
        status, down = await desk.ask("POST", "/faults", {"kind": "link.down"})
        assert (status, down["id"]) == (201, 1)
        await desk.until("boot.link.failed", after=down["after"])
        assert (await desk.ask("GET", "/health"))[1]["why"].startswith("link failed: no_carrier")
        await desk.ask("POST", "/faults", {"kind": "site.block", "port": 8883, "for_s": 30})
        await desk.ask("POST", "/faults", {"kind": "device.rtc_drift", "ppm": 100.0})
        _, listed = await desk.ask("GET", "/faults")
        assert [(each["id"], each["fault"]["kind"]) for each in listed["faults"]] == [
            (1, "link.down"),
            (2, "site.block"),
            (3, "device.rtc_drift"),
        ]
        await asyncio.sleep(31)
        assert await desk.ask("DELETE", "/faults/2") == (404, {"error": "fault 2: no such fault, or it is over"})
        status, healed = await desk.ask("DELETE", "/faults/1")
        assert status == 200
        await desk.until("device.online", after=healed["after"])
        assert (await desk.ask("DELETE", "/faults"))[1]["healed"] == [3]
        assert desk.charger.env.rtc.drift_ppm == pytest.approx(drift_ppm)
        assert (await desk.ask("GET", "/faults"))[1]["faults"] == []

    at_the_bench(story)


def test_there_is_an_end_to_faults() -> None:
    async def story(desk: Desk) -> None:
        for _ in range(FAULTS_MAX):
            assert (await desk.ask("POST", "/faults", {"kind": "device.rtc_battery"}))[0] == 201
        status, refused = await desk.ask("POST", "/faults", {"kind": "device.rtc_battery"})
        assert (status, refused["error"]) == (409, f"faults: more than {FAULTS_MAX} are active; delete some")
        assert len((await desk.ask("DELETE", "/faults"))[1]["healed"]) == FAULTS_MAX

    at_the_bench(story)


def test_what_the_installer_sets() -> None:
    async def story(desk: Desk) -> None:
        await desk.until("device.online")
        _, done = await desk.ask("POST", "/local", {"mode": "ethernet"})
        assert done["changed"] == ["mode"]
        await desk.until("device.online", after=done["after"])
        assert (await desk.ask("GET", "/snapshot"))[1]["link"]["mode"] == "ethernet"

    at_the_bench(story)


def test_a_card_is_shown() -> None:
    async def story(desk: Desk) -> None:
        await desk.until("device.online")
        desk.charger.configure({"120": "1"})
        desk.charger.report_all()
        await asyncio.sleep(5)
        await desk.ask("POST", "/plug-in")
        await asyncio.sleep(30)
        assert desk.charger.snapshot().state == "requesting"
        _, shown = await desk.ask("POST", "/card", {"uid": "04a1b2c3"})
        assert (shown["shown"], shown["tag"]) == ("waits", "nfc-04A1B2C3")
        await asyncio.sleep(30)
        _, seen = await desk.ask("GET", "/snapshot")
        assert seen["charge"]["state"] == "charging"
        assert seen["charge"]["card"] == {"required": True, "tag": "nfc-04A1B2C3", "waits": False}
        assert seen["observations"]["722"]["value"] == "nfc-04A1B2C3"

    at_the_bench(story)


def test_a_snapshot_shows_everything_but_secrets() -> None:
    async def story(desk: Desk) -> None:
        desk.charger.configure({"863": "ocpp-password-of-16"})
        await desk.until("device.online")
        _, seen = await desk.ask("GET", "/snapshot")
        text = json.dumps(seen)
        assert SITE_SECRET not in text and "ocpp-password" not in text and SECRET not in text
        assert (seen["local"]["plc_key"], seen["settings"]["863"]) == ("***", "***")
        assert (seen["serial"], seen["online"], seen["firmware"]["version"]) == (SERIAL, True, "5.3.0.3")
        assert seen["lease"]["address"] == seen["link"]["address"]
        assert seen["link"]["carrier"]["mode"] == "wifi"
        assert seen["clock"]["trusted"] and seen["clock"]["now"].startswith("2026-06-01T12:00")
        assert [row["stage"] for row in seen["boot"]["stages"]][-1] == "firmware"
        assert seen["data"]["up"] > 0
        assert seen["observations"]["911"] == {
            "name": "ComputerAppVersion",
            "value": "5.3.0.3",
            "at": seen["observations"]["911"]["at"],
        }
        assert seen["after"] == desk.timeline.last

    at_the_bench(story)


@pytest.mark.parametrize(
    ("path", "body", "status", "why"),
    [
        ("/plug-in", {"phases": 7}, 400, "body: car: phases: 7 is not 1, 2 or 3"),
        ("/plug-in", {"colour": "red"}, 400, "body.colour: no such key"),
        ("/plug-in", {"phases": "many"}, 400, "body.phases: "),
        ("/plug-in", {"cable_a": -1.0}, 400, "body: car: cable_a: -1.0 is not a number from 0 on"),
        ("/unplug", {}, 409, "unplug: no car is connected"),
        ("/unplug", {"force": True}, 400, "body: force: "),
        ("/card", {}, 400, "body: uid: Field required"),
        ("/card", {"uid": "zz"}, 400, "uid: must be hex digits"),
        ("/card", {"uid": "04" * 40}, 400, "body: uid: "),
        ("/reboot", {"off_s": 0}, 400, "body: off_s: "),
        ("/reboot", {"off_s": "1"}, 400, "body: off_s: "),
        ("/local", {"mode": "pigeon"}, 400, "body: mode: "),
        ("/local", {"password": "short"}, 400, "body: password: "),
        ("/faults", {"kind": "link.down", "loss": 2}, 400, "body: loss: link.down has no such key"),
        ("/faults", {"kind": "link.down", "for_s": 0}, 400, "body: for_s: "),
        ("/faults", {"kind": "device.rtc_jump"}, 400, "body: by_s: "),
        ("/faults", {"kind": "device.rtc_lost", "who": "ZPR000009"}, 400, "body: who: "),
        ("/faults", {"kind": "dns.silence"}, 400, "body: kind: 'dns.silence' is none of the charger's"),
        ("/faults", {"kind": 3}, 400, "body: kind: 3 is none"),
        ("/faults", {}, 400, "body: kind: None is none"),
        ("/faults", [], 400, "body: must be a JSON object"),
        ("/nothing", {}, 404, "/nothing: Not Found"),
        ("/snapshot", {}, 405, "/snapshot: Method Not Allowed"),
    ],
)
def test_what_is_refused_is_told_in_one_line_that_names_the_key(path: str, body: Any, status: int, why: str) -> None:
    async def story(desk: Desk) -> None:
        await asyncio.sleep(60)
        before = desk.timeline.last
        got, refused = await desk.ask("POST", path, body)
        assert (got, list(refused)) == (status, ["error"])
        assert refused["error"].startswith(why) and "\n" not in refused["error"]
        assert desk.timeline.last == before

    at_the_bench(story)


@pytest.mark.parametrize(
    ("content", "status"),
    [(b"{", 400), (b"\xff", 400), (b"[" * 60_000, 400), (b" " * (BODY_BYTES_MAX + 1), 413), (b"", 200)],
)
def test_a_body_that_makes_no_sense(content: bytes, status: int) -> None:
    async def story(desk: Desk) -> None:
        answer = await desk.http.post("/reboot", content=content)
        assert answer.status_code == status
        assert (status == 200) == ("error" not in answer.json())

    at_the_bench(story)


NASTY = (
    '{"kind": "link.slow", "delay_s": NaN}',
    '{"kind": "link.slow", "delay_s": 1e400}',
    '{"kind": "device.rtc_jump", "by_s": -1e999}',
    '{"kind": "device.rtc_drift", "ppm": Infinity}',
    '{"kind": "link.flapping", "up_s": 1e-300}',
    '{"kind": "link.down", "who": "\\ud800"}',
    '{"kind": "\\ud800"}',
    '{"kind": ["link.down"]}',
    '{"kind": "site.block", "host": "\\u0000"}',
    '{"\\ud800": 1}',
    '{"": null}',
    '{"energy_wanted_kwh": 1e400}',
    '{"phases": true}',
    '{"phases": 1e2}',
    '{"received_kwh": -0.0, "max_current_a": 1e308, "cable_a": 1e308}',
    '{"ssid": "\\ud800"}',
    '{"fallback": "wifi"}',
    '{"fallback": [["wifi"]]}',
    '{"uid": "\\u0661\\u0660\\u0662\\u0663"}',
    '{"off_s": 1' + "0" * 5000 + "}",
    "null",
    "1e400",
    '"' + "x" * 1000 + '"',
)


def test_nothing_that_can_be_said_breaks_the_bench() -> None:
    async def story(desk: Desk) -> None:
        await desk.until("device.online")
        for path in ("/faults", *(f"/{name}" for name in ACTS)):
            for body in NASTY:
                answer = await desk.http.post(path, content=body)
                assert answer.status_code in (200, 201, 400, 409), (path, body)
                if answer.status_code >= 400:
                    assert "\n" not in answer.json()["error"]
        await desk.ask("DELETE", "/faults")
        for path in ("/snapshot", "/faults", "/timeline"):
            assert (await desk.ask("GET", path))[0] == 200
        await asyncio.sleep(7200)
        assert desk.charger.snapshot().powered

    at_the_bench(story)


@pytest.mark.parametrize(
    "query",
    ["after=-1", "after=x", "after=1e3", f"after={2**53 + 1}", "wait_s=61", "wait_s=inf", "limit=0", "until=5"],
)
def test_a_question_that_makes_no_sense(query: str) -> None:
    async def story(desk: Desk) -> None:
        status, refused = await desk.ask("GET", "/timeline?" + query)
        assert status == 400 and refused["error"].startswith(f"query: {query.partition('=')[0]}: ")

    at_the_bench(story)


def test_without_the_token_nothing_is_told_but_health() -> None:
    async def story(desk: Desk) -> None:
        paths = ["/", "/snapshot", "/timeline", "/events", "/faults", "/nothing", *(f"/{name}" for name in ACTS)]
        for authorization in ("", "Bearer", f"Basic {SECRET}", f"Bearer {SECRET[:-1]}", "Bearer \xff"):
            for path in paths:
                for method in ("GET", "POST"):
                    headers = {b"Authorization": authorization.encode("latin-1")}
                    answer = await desk.http.request(method, path, headers=headers)
                    assert (answer.status_code, list(answer.json())) == (401, ["error"]), (method, path)
        assert (await desk.http.get("/health", headers={"Authorization": ""})).status_code == 503
        assert desk.charger.charge.outlet.car is None

    at_the_bench(story)


def test_without_a_token_in_force_everybody_may() -> None:
    async def story(desk: Desk) -> None:
        assert (await desk.ask("POST", "/plug-in"))[0] == 200
        assert await desk.ask("POST", "/plug-in") == (409, {"error": "plug-in: a car is connected already"})

    at_the_bench(story, token=None)


@pytest.mark.parametrize(("caller", "status"), [("10.9.0.7", 200), ("10.20.0.7", 403), ("127.0.0.1", 403)])
def test_a_bench_of_a_network_takes_calls_from_there_only(caller: str, status: int) -> None:
    async def story(desk: Desk) -> None:
        await desk.until("device.online") if status == 200 else await asyncio.sleep(60)
        for path in ("/health", "/snapshot"):
            got, answer = await desk.ask("GET", path)
            assert got == status
            assert status == 200 or answer == {"error": "caller: is not of the network 10.9.0.0/24"}

    at_the_bench(story, callers="10.9.0.0/24", caller=caller)


def test_the_first_page_lists_every_act() -> None:
    async def story(desk: Desk) -> None:
        _, contents = await desk.ask("GET", "/")
        assert contents["serial"] == SERIAL
        assert list(contents["acts"]) == [f"POST /{name}" for name in ACTS]
        assert all(contents["acts"].values())

    at_the_bench(story)


def test_only_so_many_wait_at_once() -> None:
    async def story(desk: Desk) -> None:
        await desk.ask("POST", "/power-off")
        await asyncio.sleep(5)
        after = desk.timeline.last
        waiting = [
            asyncio.ensure_future(desk.ask("GET", "/timeline", after=after, wait_s=60)) for _ in range(READERS_MAX)
        ]
        await asyncio.sleep(1)
        status, refused = await desk.ask("GET", "/timeline", after=after, wait_s=60)
        assert (status, refused["error"]) == (503, f"events: {READERS_MAX} readers wait already")
        await desk.ask("POST", "/power-on")
        for status, page in await asyncio.gather(*waiting):
            assert status == 200 and page["events"][0]["name"] == "device.power_on"

    at_the_bench(story)
