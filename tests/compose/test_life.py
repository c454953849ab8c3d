"""What chargers in containers are for: they charge cars, take new firmware, and are seen by a back office."""

import ssl
from base64 import b64decode
from datetime import timedelta

import httpx

from emulator.clock import system_utc
from emulator.wire.sas import sas_token
from tests.compose.stack import HTTPS, HUB, Stack, eventually

UPGRADE, STOP = 200, 502
NEW = "5.4.0.1"


def test_a_car_is_charged_and_the_session_reaches_the_cloud(stack: Stack) -> None:
    charger = stack.chargers[3]
    serial = charger.serial
    charger.bench.plug_in(energy_wanted_kwh=30.0, max_current_a=32.0, phases=3, start_delay_s=0.5)
    charger.bench.wait_for("device.charging", state="charging", within_s=60)
    eventually(lambda: charger.bench.snapshot()["charge"]["power_w"] > 0, within_s=30)
    assert stack.control(HUB, "POST", f"/devices/{serial}/methods/{STOP}")["status"] == 200
    charger.bench.wait_for("device.charging", state="paused", within_s=60)
    charger.bench.unplug()
    sessions = eventually(lambda: stack.control(HUB, "GET", f"/devices/{serial}")["sessions"], within_s=60)
    assert sessions


def test_new_firmware_is_downloaded_verified_and_runs(stack: Stack) -> None:
    charger = stack.chargers[4]
    serial = charger.serial
    assert charger.bench.snapshot()["firmware"]["version"] != NEW
    stack.control(HTTPS, "POST", "/firmware", {"version": NEW})
    assert stack.control(HUB, "POST", f"/devices/{serial}/methods/{UPGRADE}")["status"] == 200
    charger.bench.wait_for("update.verified", within_s=120)
    charger.bench.wait_for("update.installed", within_s=120)
    charger.bench.wait_for("boot.firmware.passed", within_s=120)
    assert charger.bench.snapshot()["firmware"]["version"] == NEW
    asked = stack.control(HTTPS, "GET", "/history/firmware")["history"]
    assert any(exchange["data"]["serial"] == serial for exchange in asked)


def test_a_back_office_on_the_internet_finds_the_chargers_at_the_hub(stack: Stack) -> None:
    """Over HTTPS, with its certificate verified, and with the token of a policy."""
    ready = stack.control(HUB, "GET", "/ready")
    policy = dict(part.split("=", 1) for part in ready["service_connection_string"].split(";"))
    host, expiry = policy["HostName"], system_utc() + timedelta(hours=1)
    key = b64decode(policy["SharedAccessKey"])
    token = sas_token(host, key, int(expiry.timestamp()), policy=policy["SharedAccessKeyName"])
    trusting = ssl.create_default_context(cadata=ready["anchors"]["ca"])
    with httpx.Client(verify=trusting, headers={"Authorization": token}, trust_env=False) as client:
        answer = client.get(f"https://{host}/devices", params={"api-version": "2021-04-12"})
    assert answer.status_code == 200, answer.text
    connected = {device["deviceId"] for device in answer.json() if device["connectionState"] == "Connected"}
    assert connected == {charger.serial for charger in stack.chargers}
