"""The installer's settings: kept in flash, changed on the bench or by command 300, and put on trial in diagnostics."""

import asyncio
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emulator.device.local_settings import FLASH_KEY, SWAP_TEST_S, LocalSettings
from emulator.device.local_text import LINES, MASK
from emulator.errors import UsageError
from emulator.flash import MemoryFlash
from emulator.local import FACTORY, Local, Mode
from emulator.trace import Recorder
from tests.unit.device.bench import BOOT_S, SERIAL, Bench, play

SECRETS = ("a-new-password", "a-new-plc-key")
TESTING = {"805": "1"}


def shown(trace: Recorder) -> str:
    return "".join(event.as_json() for event in trace.events)


def test_what_was_kept_is_newer_than_what_it_was_sold_with() -> None:
    flash = MemoryFlash()
    local = LocalSettings(flash, FACTORY)
    assert local.current is FACTORY
    kept = FACTORY.with_changes({"mode": "plc", "fallback": ["lte"], "plc_key": SECRETS[1]})
    local.keep(kept)
    assert LocalSettings(flash, FACTORY).current == kept


@given(st.binary(max_size=60))
def test_a_damaged_record_is_as_good_as_none(record: bytes) -> None:
    flash = MemoryFlash()
    flash.put(FLASH_KEY, record)
    assert LocalSettings(flash, FACTORY).current is FACTORY or Local.model_validate_json(record)


def test_a_change_of_the_link_is_dialled_at_once_and_survives_a_power_cut() -> None:
    flash = MemoryFlash()

    async def story(bench: Bench) -> None:
        await asyncio.sleep(60)
        assert bench.charger.configure_local({"mode": "lte"}) == {"mode"}
        await asyncio.sleep(BOOT_S + 1)
        assert bench.starts == ["link", "link"]
        assert bench.charger.snapshot().online

    bench = play(story, flash=flash)
    assert bench.events("device.local_settings") == [{"changed": ["mode"]}]
    assert LocalSettings(flash, FACTORY).current.mode is Mode.LTE


def test_a_link_that_is_being_dialled_is_given_up_for_the_new_one() -> None:
    async def story(bench: Bench) -> None:
        bench.reachable.clear()
        await asyncio.sleep(3600)
        bench.charger.configure_local({"ssid": "other"})
        await asyncio.sleep(1)
        assert bench.starts == ["link", "link"]
        bench.reachable.set()
        await asyncio.sleep(BOOT_S)
        assert bench.charger.snapshot().online and len(bench.hubs) == 1

    play(story)


@pytest.mark.parametrize(
    ("changes", "dials"),
    [
        ({"ssid": "site"}, 1),  # as it was
        ({"plc_key": SECRETS[1]}, 1),  # of a link that is not chosen
        ({"roaming": False}, 1),
        ({"password": SECRETS[0]}, 2),
        ({"fallback": ["plc"], "plc_key": SECRETS[1]}, 2),
    ],
)
def test_only_what_concerns_the_chosen_links_takes_them_down(changes: dict[str, object], dials: int) -> None:
    async def story(bench: Bench) -> None:
        await asyncio.sleep(60)
        bench.charger.configure_local(changes)
        await asyncio.sleep(60)
        assert len(bench.starts) == dials

    bench = play(story)
    assert not any(secret in shown(bench.trace) for secret in SECRETS)


def test_a_wrong_setting_is_refused_by_name_and_its_value_stays_secret() -> None:
    async def story(bench: Bench) -> None:
        with pytest.raises(UsageError) as refused:
            bench.charger.configure_local({"password": "short1"}, where="app")
        assert str(refused.value).startswith("app: password: ") and "short1" not in str(refused.value)
        with pytest.raises(UsageError, match="app: colour"):
            bench.charger.configure_local({"colour": "red"}, where="app")

    play(story)


# Command 300


def test_the_text_of_all_settings_comes_first_and_an_empty_reply_after_it() -> None:
    async def story(bench: Bench) -> None:
        await asyncio.sleep(60)
        before = len(bench.sent)
        assert bench.command("300") == 200
        first, second = bench.sent[before:]
        assert first.topic == second.topic == "$iothub/methods/res/200/?$rid=7"
        assert second.payload == b""
        text = first.payload.decode()
        assert text.startswith('"[Device_Parameters]\nserial=' + SERIAL) and text.endswith('permanent_lock=0"')
        assert f"password={MASK}" in text and FACTORY.password not in text
        assert "communication_mode=Wifi" in text and "network_type=TN_3" in text
        assert text.count("\\n[") == 3
        with pytest.raises(json.JSONDecodeError):
            json.loads(text)

    play(story)


def test_every_line_that_can_be_written_reads_as_it_was_written() -> None:
    values = {
        "communication_mode": "PLC",
        "standalone_setting": "standalone",
        "network_type": "IT_3",
        "standalone_phase": "1",
        "hmi_brightness": "0.25",
        "name": "garage",
        "password": SECRETS[0],
        "permanent_lock": "1",
    }

    async def story(bench: Bench) -> None:
        await asyncio.sleep(60)
        for (section, key), line in LINES.items():
            before = line.read(bench.charger)
            if line.write is None:
                assert bench.command("300", [section, key, "1"]) == 400
                assert line.read(bench.charger) == before
            else:
                assert bench.command("300", [section, key, values.pop(key)]) == 200
                assert line.read(bench.charger) != before or line.read(bench.charger) == MASK
        assert values == {}
        assert (bench.charger.local.password, bench.charger.settings[715]) == (SECRETS[0], "2")

    assert SECRETS[0] not in shown(play(story).trace)


def test_the_reply_gets_out_before_the_link_goes_down() -> None:
    async def story(bench: Bench) -> None:
        await asyncio.sleep(60)
        assert bench.command("300", ["Wifi_Parameters", "name", "garage"]) == 200
        assert bench.charger.snapshot().online
        await asyncio.sleep(bench.charger.spec.profile.firmware.restart_delay_s + 0.1)
        assert not bench.charger.snapshot().online
        await asyncio.sleep(BOOT_S)
        assert bench.charger.snapshot().online

    play(story)


def test_debug_texts_change_the_link() -> None:
    async def story(bench: Bench) -> None:
        await asyncio.sleep(60)
        bench.command("800", ["Set LTE"])
        await asyncio.sleep(60)
        assert bench.charger.local.mode is Mode.LTE
        bench.command("800", ["Reconnect"])
        await asyncio.sleep(60)
        assert len(bench.starts) == 3

    play(story)


# The swap test


def test_in_diagnostics_mode_a_new_link_that_reaches_mqtt_is_kept() -> None:
    flash = MemoryFlash()

    async def story(bench: Bench) -> None:
        await asyncio.sleep(60)
        bench.desired(TESTING)
        bench.charger.configure_local({"mode": "lte", "fallback": ["wifi"]})
        assert LocalSettings(flash, FACTORY).current.mode is Mode.WIFI
        await asyncio.sleep(SWAP_TEST_S * 2)
        assert bench.charger.local.fallback == (Mode.WIFI,)
        assert len(bench.starts) == 2

    bench = play(story, flash=flash)
    assert bench.events("device.swap_test") == [{"mode": "lte", "within_s": SWAP_TEST_S}]
    assert bench.events("device.swap_kept") == [{"mode": "lte"}]
    assert LocalSettings(flash, FACTORY).current.mode is Mode.LTE


def test_in_diagnostics_mode_a_new_link_that_does_not_reach_mqtt_is_swapped_back() -> None:
    flash = MemoryFlash()

    async def story(bench: Bench) -> None:
        await asyncio.sleep(60)
        bench.desired(TESTING)
        bench.reachable.clear()
        bench.charger.configure_local({"mode": "lte"})
        await asyncio.sleep(SWAP_TEST_S - 1)
        assert bench.charger.local.mode == "lte"
        await asyncio.sleep(2)
        assert bench.charger.local.mode == "wifi"
        bench.reachable.set()
        await asyncio.sleep(BOOT_S)
        assert bench.charger.snapshot().online

    bench = play(story, flash=flash)
    (begun,), (back,) = bench.trace.where("device.swap_test"), bench.trace.where("device.swap_back")
    assert back.t - begun.t == pytest.approx(SWAP_TEST_S)
    assert back.data == {"mode": "wifi", "why": "timed_out"}
    assert LocalSettings(flash, FACTORY).current.mode is Mode.WIFI


def test_a_restart_in_the_middle_of_the_test_swaps_back() -> None:
    async def story(bench: Bench) -> None:
        await asyncio.sleep(60)
        bench.desired(TESTING)
        bench.reachable.clear()
        bench.charger.configure_local({"mode": "lte"})
        await asyncio.sleep(60)
        bench.charger.reboot("test")
        await asyncio.sleep(SWAP_TEST_S * 2)
        assert bench.charger.local.mode is Mode.WIFI

    bench = play(story)
    assert bench.events("device.swap_back") == [{"mode": "wifi", "why": "restart"}]


def test_a_change_during_the_test_begins_it_anew_and_going_back_by_hand_ends_it() -> None:
    async def story(bench: Bench) -> None:
        await asyncio.sleep(60)
        bench.desired(TESTING)
        bench.reachable.clear()
        bench.charger.configure_local({"mode": "lte"})
        await asyncio.sleep(100)
        bench.charger.configure_local({"mode": "plc"})
        await asyncio.sleep(100)
        assert bench.charger.local.mode == "plc"
        bench.charger.configure_local({"mode": "wifi"})
        await asyncio.sleep(SWAP_TEST_S * 2)
        assert bench.charger.local.mode == "wifi"

    bench = play(story)
    assert [event["mode"] for event in bench.events("device.swap_test")] == ["lte", "plc"]
    assert bench.events("device.swap_back") == []


def test_whatever_else_is_set_during_the_test_it_has_an_end() -> None:
    async def story(bench: Bench) -> None:
        await asyncio.sleep(60)
        bench.desired(TESTING)
        bench.reachable.clear()
        bench.charger.configure_local({"mode": "lte"})
        await asyncio.sleep(100)
        bench.charger.configure_local({"ssid": "garage"})
        await asyncio.sleep(SWAP_TEST_S + 1)
        assert (bench.charger.local.mode, bench.charger.local.ssid) == ("wifi", FACTORY.ssid)

    assert len(play(story).events("device.swap_test")) == 2


def test_without_power_there_is_nothing_to_test() -> None:
    flash = MemoryFlash()

    async def story(bench: Bench) -> None:
        await asyncio.sleep(60)
        bench.desired(TESTING)
        restore = bench.charger.inject({"kind": "device.power_cut"})
        await asyncio.sleep(1)
        bench.charger.configure_local({"mode": "lte"})
        assert LocalSettings(flash, FACTORY).current.mode is Mode.LTE
        restore()
        await asyncio.sleep(60)
        assert bench.charger.snapshot().online

    assert play(story, flash=flash).events("device.swap_test") == []


@settings(max_examples=30)
@given(
    st.one_of(
        st.text(max_size=40),
        st.lists(st.text(max_size=40), max_size=4),
        st.tuples(st.sampled_from(sorted(LINES)), st.text(max_size=80)).map(lambda line: [*line[0], line[1]]),
    )
)
def test_whatever_is_written_is_taken_or_refused(payload: object) -> None:
    async def story(bench: Bench) -> None:
        await asyncio.sleep(60)
        assert bench.command("300", payload) in (200, 400)
        Local.model_validate(bench.charger.local.model_dump())
        await asyncio.sleep(60)
        assert bench.charger.snapshot().online

    play(story)


def test_a_change_that_the_power_cut_comes_before_needs_no_dialling() -> None:
    async def story(bench: Bench) -> None:
        await asyncio.sleep(60)
        bench.charger.configure_local({"mode": "lte"}, after_s=3.0)
        bench.charger.reboot("test")
        await asyncio.sleep(60)
        assert bench.charger.snapshot().online
        assert len(bench.starts) == 2

    play(story)
