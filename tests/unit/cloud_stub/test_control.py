import asyncio
from base64 import b64decode
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from random import Random
from typing import Any

import httpx
import pytest

from cloud_stub.bus.api import VERSION, Delivery, LocalBus
from cloud_stub.control import Control
from cloud_stub.control_services import FAULTS_MAX, FirmwareOffer
from cloud_stub.hub.memory import hub_memory
from cloud_stub.hub.methods import MethodError, MethodResult
from cloud_stub.site.ntp import NtpServer
from cloud_stub.site.ntp_faults import Kiss
from cloud_stub.state.database import State
from cloud_stub.state.errors import ErrorCode
from cloud_stub.state.registry import derived_keys
from cloud_stub.store import Observed, Store
from emulator.errors import UsageError
from emulator.faults import Injected, fault_from
from emulator.wire.address import Address
from emulator.wire.messages import CompletedSession

NOON = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)
SERIAL = "ZPR000001"


class Log:
    """What devices did at an endpoint."""

    def __init__(self) -> None:
        self.entries = [{"t": 2.0, "event": "connect"}, {"t": 3.0, "event": "close"}]

    async def device_history(self, device_id: str) -> list[dict[str, Any]]:
        return self.entries if device_id == SERIAL else []

    async def forget_device(self, device_id: str) -> None:
        self.entries = []


class Portal:
    """A control API over real collaborators; commands go to `answer`."""

    def __init__(self) -> None:
        self.memory = hub_memory(State(), derived_keys(b"s" * 32), lambda: NOON)
        self.registry = self.memory.registry
        self.store = Store()
        self.bus = LocalBus()
        self.now_s = 0.0
        self.ntp = NtpServer(label="a", rng=Random(1), utc=lambda: NOON, now=lambda: self.now_s)
        self.offers: list[tuple[str | None, str | None, str]] = []
        self.calls: list[tuple[str, str, Any, float]] = []
        self.answer: MethodResult | Exception = MethodResult(200, None)
        self.log = Log()
        self.listed: tuple[tuple[str, ...], tuple[str, ...]] | None = None
        self.control = Control(
            services={"ntp": [self.ntp]},
            memory=self.memory,
            store=self.store,
            bus=self.bus,
            invoke=self._invoke,
            inject=self._inject,
            offer=self._offer,
            publish=self._publish,
            device_logs=[self.log, self.log],
            pages={"/ready": lambda: {"ready": True}},
        )

    async def _invoke(self, device_id: str, name: str, payload: Any, timeout_s: float) -> MethodResult:
        self.calls.append((device_id, name, payload, timeout_s))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def _inject(self, data: Mapping[str, Any]) -> Injected:
        return self.ntp.inject(fault_from(data, {fault.kind: fault for fault in NtpServer.FAULTS}))

    def _publish(self, roots: str, firmware_keys: Sequence[str], revoked: Sequence[str]) -> int:
        if roots != "both":
            raise UsageError(f"bundle {roots}: not known")
        self.listed = (tuple(firmware_keys), tuple(revoked))
        return 9

    def _offer(self, wanted: FirmwareOffer) -> dict[str, Any]:
        if wanted.signer not in ("firmware", "foreign"):
            raise UsageError(f"signer {wanted.signer}: no such signer")
        self.offers.append((wanted.version, wanted.image, wanted.signer))
        return {"version": wanted.version or "5.5.0.0", "signer": None}

    def run(self, story: Callable[[httpx.AsyncClient], Awaitable[None]]) -> None:
        async def main() -> None:
            await self.bus.start()
            transport = httpx.ASGITransport(app=self.control.app())
            async with httpx.AsyncClient(transport=transport, base_url="http://control") as client:
                await story(client)

        asyncio.run(main())


@pytest.fixture
def portal() -> Portal:
    return Portal()


async def expect(client: httpx.AsyncClient, status: int, method: str, path: str, body: Any = None) -> Any:
    response = await client.request(method, path, json=body) if body is not None else await client.request(method, path)
    assert response.status_code == status, response.text
    answer = response.json()
    if status >= 400:
        assert isinstance(answer["error"], str) and "\n" not in answer["error"] and answer["error"]
    return answer


def test_production_makes_one_or_many_and_can_be_repeated(portal: Portal) -> None:
    async def story(client: httpx.AsyncClient) -> None:
        (one,) = (await expect(client, 201, "POST", "/devices", {"serial": SERIAL}))["devices"]
        assert one["serial"] == SERIAL and len(b64decode(one["key"])) == 32
        many = (await expect(client, 201, "POST", "/devices", {"count": 3, "prefix": "ZPR"}))["devices"]
        assert [device["serial"] for device in many] == ["ZPR000001", "ZPR000002", "ZPR000003"] and many[0] == one
        listed = await expect(client, 200, "GET", "/devices")
        assert listed["devices"][0] == {"serial": SERIAL, "online": False} and len(listed["devices"]) == 3

    portal.run(story)


def test_a_device_shows_its_state_and_no_key(portal: Portal) -> None:
    async def story(client: httpx.AsyncClient) -> None:
        device = portal.registry.produce(SERIAL)
        state = portal.store.device(SERIAL)
        state.online = True
        state.observe(710, Observed("3", NOON))
        state.complete(CompletedSession("a", 1.5, NOON, NOON, True, False, "", "OCMF|{}"))
        shown = await expect(client, 200, "GET", f"/devices/{SERIAL}")
        assert shown["online"] and shown["observations"] == {"710": {"value": "3", "at": "2026-06-01T12:00:00+00:00"}}
        assert shown["sessions"][0]["energy_kwh"] == 1.5 and shown["twin"]["properties"]["desired"]["$version"] == 1
        assert "key" not in str(shown).lower() and device.primary_key.hex() not in str(shown)

    portal.run(story)


def test_a_method_is_called_and_the_answer_passed_on(portal: Portal) -> None:
    async def story(client: httpx.AsyncClient) -> None:
        portal.registry.produce(SERIAL)
        path = f"/devices/{SERIAL}/methods/501"
        portal.answer = MethodResult(400, {"why": "no car"})
        assert await expect(client, 200, "POST", path, {"payload": ["16", "4"], "timeout_s": 5}) == {
            "status": 400,
            "payload": {"why": "no car"},
        }
        await expect(client, 200, "POST", path)
        assert portal.calls == [(SERIAL, "501", ["16", "4"], 5.0), (SERIAL, "501", None, 30.0)]
        portal.answer = MethodError(ErrorCode.NOT_ONLINE, SERIAL)
        assert (await expect(client, 503, "POST", path))["code"] == 404103
        portal.answer = MethodError(ErrorCode.BAD_ARGUMENT, SERIAL)
        await expect(client, 400, "POST", path)

    portal.run(story)


def test_desired_properties_go_to_the_bus(portal: Portal) -> None:
    async def story(client: httpx.AsyncClient) -> None:
        portal.registry.produce(SERIAL)
        got: list[Delivery] = []
        await portal.bus.subscribe("hub/+/desired", got.append)
        await expect(client, 202, "PUT", f"/devices/{SERIAL}/desired", {"Settings": {"511": "10"}})
        pushed = b'{"Settings":{"511":"10"},"$version":2}'
        assert got == [Delivery(f"hub/{SERIAL}/desired", pushed, ((VERSION, "2"),))]
        await expect(client, 202, "PATCH", f"/devices/{SERIAL}/desired", {"Settings": None})
        assert got[-1].payload == b'{"Settings":null,"$version":3}'
        assert portal.memory.twins.get(SERIAL).desired.data == {}
        await expect(client, 400, "PUT", f"/devices/{SERIAL}/desired", [1])
        await portal.bus.stop()
        await expect(client, 503, "PUT", f"/devices/{SERIAL}/desired", {"a": 1})

    portal.run(story)


@pytest.mark.parametrize(
    ("patch", "words"),
    [
        ([1], "body: patch is not a JSON object"),
        ({"a.b": 1}, "body: a key has a point"),
        ({"$other": 1}, "body: a key has a point, dollar sign"),
        ({"a": "x" * 5000}, "body: a text is over"),
        ({"a": 1 << 60}, "body: an integer is out of range"),
        ({"a": {"a": {"a": {"a": {"a": {"a": {"a": {"a": {"a": {"a": {"a": {}}}}}}}}}}}}, "body: nested deeper"),
        ({f"k{number}": "x" * 4000 for number in range(9)}, "body: section would be over"),
    ],
)
@pytest.mark.parametrize("method", ["PATCH", "PUT"])
def test_a_patch_that_the_hub_would_drop_is_refused(portal: Portal, method: str, patch: Any, words: str) -> None:
    async def story(client: httpx.AsyncClient) -> None:
        portal.registry.produce(SERIAL)
        got: list[Delivery] = []
        await portal.bus.subscribe("hub/+/desired", got.append)
        assert words in (await expect(client, 400, method, f"/devices/{SERIAL}/desired", patch))["error"]
        assert got == []

    portal.run(story)


def test_what_a_device_did_at_all_endpoints_is_shown_and_cleared(portal: Portal) -> None:
    async def story(client: httpx.AsyncClient) -> None:
        path = f"/devices/{SERIAL}/history"
        history = (await expect(client, 200, "GET", path))["history"]
        assert [entry["t"] for entry in history] == [2.0, 2.0, 3.0, 3.0]
        assert (await expect(client, 200, "DELETE", path))["history"] == history
        assert (await expect(client, 200, "GET", path))["history"] == []
        assert (await expect(client, 200, "GET", "/devices/nobody/history"))["history"] == []

    portal.run(story)


def test_history_is_shown_and_cleared(portal: Portal) -> None:
    async def story(client: httpx.AsyncClient) -> None:
        portal.ntp.record(Address("10.0.0.1", 123), "query", "reply", stratum=1)
        history = (await expect(client, 200, "GET", "/history/ntp"))["history"]
        assert history[0]["request"] == "query" and history[0]["data"] == {"stratum": 1}
        assert (await expect(client, 200, "DELETE", "/history/ntp"))["history"] == history
        assert (await expect(client, 200, "GET", "/history/ntp"))["history"] == []

    portal.run(story)


def test_faults_are_injected_listed_and_healed(portal: Portal) -> None:
    async def story(client: httpx.AsyncClient) -> None:
        fault = {"kind": "ntp.silence"}
        number = (await expect(client, 201, "POST", "/faults", fault))["id"]
        assert (await expect(client, 200, "GET", "/faults"))["faults"] == [{"id": number, "fault": fault}]
        assert len(portal.ntp.faults.active()) == 1
        await expect(client, 200, "DELETE", f"/faults/{number}")
        assert portal.ntp.faults.active() == []
        await expect(client, 404, "DELETE", f"/faults/{number}")

    portal.run(story)


def test_the_number_of_faults_is_limited(portal: Portal) -> None:
    async def story(client: httpx.AsyncClient) -> None:
        for _ in range(FAULTS_MAX):
            await expect(client, 201, "POST", "/faults", {"kind": "ntp.silence"})
        error = await expect(client, 400, "POST", "/faults", {"kind": "ntp.silence"})
        assert str(FAULTS_MAX) in error["error"]

    portal.run(story)


def test_faults_that_are_over_are_not_listed_and_do_not_count(portal: Portal) -> None:
    async def story(client: httpx.AsyncClient) -> None:
        for _ in range(FAULTS_MAX - 1):
            await expect(client, 201, "POST", "/faults", {"kind": "ntp.silence", "for_s": 5})
        once = await expect(client, 201, "POST", "/faults", {"kind": "ntp.kiss", "count": 1})
        await expect(client, 400, "POST", "/faults", {"kind": "ntp.silence"})
        portal.now_s = 5.0
        portal.ntp.faults.strikes(Kiss)
        assert (await expect(client, 200, "GET", "/faults"))["faults"] == []
        await expect(client, 404, "DELETE", f"/faults/{once['id']}")
        later = await expect(client, 201, "POST", "/faults", {"kind": "ntp.silence"})
        assert later["id"] > once["id"]

    portal.run(story)


def test_a_trust_bundle_is_published(portal: Portal) -> None:
    async def story(client: httpx.AsyncClient) -> None:
        assert await expect(client, 201, "POST", "/bundle", {"roots": "both"}) == {"version": 9, "roots": "both"}
        assert portal.listed == ((), ())
        await expect(client, 400, "POST", "/bundle", {"roots": "none"})
        await expect(client, 400, "POST", "/bundle", {})

    portal.run(story)


def test_a_trust_bundle_may_list_and_revoke_firmware_keys(portal: Portal) -> None:
    async def story(client: httpx.AsyncClient) -> None:
        body = {"roots": "both", "firmware_keys": ["firmware", "firmware-next"], "revoked": ["firmware"]}
        assert await expect(client, 201, "POST", "/bundle", body) == {"version": 9, **body}
        assert portal.listed == (("firmware", "firmware-next"), ("firmware",))
        for wrong in ("firmware", [7], ["firmware"] * 9):
            error = await expect(client, 400, "POST", "/bundle", {"roots": "both", "firmware_keys": wrong})
            assert "firmware_keys" in error["error"]

    portal.run(story)


def test_firmware_is_offered(portal: Portal) -> None:
    async def story(client: httpx.AsyncClient) -> None:
        await expect(client, 200, "POST", "/firmware", {"version": "5.4.0.0"})
        await expect(client, 200, "POST", "/firmware", {"version": "5.5.0.0", "signer": "foreign"})
        handed_out = await expect(client, 200, "POST", "/firmware", {"image": "image.bin"})
        assert handed_out == {"version": "5.5.0.0", "signer": None}
        assert portal.offers == [
            ("5.4.0.0", None, "firmware"),
            ("5.5.0.0", None, "foreign"),
            (None, "image.bin", "firmware"),
        ]
        for body in ({}, {"version": "5.4", "image": "image.bin"}, {"image": "image.bin", "size_bytes": 5}):
            await expect(client, 400, "POST", "/firmware", body)
        await expect(client, 400, "POST", "/firmware", {"version": "5.5.0.0", "signer": "me"})

    portal.run(story)


def test_further_pages_are_served(portal: Portal) -> None:
    async def story(client: httpx.AsyncClient) -> None:
        assert await expect(client, 200, "GET", "/ready") == {"ready": True}

    portal.run(story)


@pytest.mark.parametrize(
    ("status", "method", "path", "body", "words"),
    [
        (404, "GET", "/nowhere", None, "Not Found"),
        (405, "DELETE", "/devices", None, "Method Not Allowed"),
        (404, "GET", "/devices/ZPR9", None, "device ZPR9: no such device"),
        (404, "POST", "/devices/ZPR9/methods/501", None, "ZPR9"),
        (404, "PUT", "/devices/ZPR9/desired", {}, "ZPR9"),
        (404, "GET", "/history/smtp", None, "service smtp: no such service; there are ntp"),
        (400, "POST", "/devices", {}, "either serial or count"),
        (400, "POST", "/devices", {"serial": "a", "count": 1}, "either serial or count"),
        (400, "POST", "/devices", {"count": 0}, "body: count"),
        (400, "POST", "/devices", {"count": "3"}, "body: count"),
        (400, "POST", "/devices", {"colour": "red"}, "body: colour"),
        (400, "POST", "/devices", {"serial": "a b"}, "device id 'a b'"),
        (400, "POST", "/devices", [], "body: object"),
        (400, "POST", "/faults", {"kind": "ntp.what"}, "ntp.what"),
        (400, "POST", "/faults", [], "JSON object"),
        (400, "POST", "/firmware", {"version": ""}, "body: version"),
    ],
)
def test_bad_input_gets_one_line(portal: Portal, status: int, method: str, path: str, body: Any, words: str) -> None:
    async def story(client: httpx.AsyncClient) -> None:
        assert words in (await expect(client, status, method, path, body))["error"]

    portal.run(story)


def test_bodies_that_are_no_json_or_too_large(portal: Portal) -> None:
    async def story(client: httpx.AsyncClient) -> None:
        for content, status in ((b"{", 400), (b"\xff", 400), (b"[" * 100_000, 400), (b" " * (2 << 20), 413)):
            response = await client.post("/faults", content=content)
            assert response.status_code == status and response.json()["error"]

    portal.run(story)
