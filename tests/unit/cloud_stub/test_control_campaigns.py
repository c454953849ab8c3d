"""The campaign routes of the control API."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

from cloud_stub.bus.api import LocalBus
from cloud_stub.control import Control
from cloud_stub.control_campaigns import CampaignRoutes
from cloud_stub.store import Store
from emulator.faults import FaultSet
from tests.unit.cloud_stub.firmware.roll_out import NEW, Charger, RollOut

Ask = Callable[..., Awaitable[Any]]


def told(site: RollOut, story: Callable[[Ask], Awaitable[None]]) -> None:
    """The story with a client of the control API, in virtual time."""

    async def main() -> None:
        control = Control(
            services={},
            memory=site.memory,
            store=Store(),
            bus=LocalBus(),
            invoke=site.invoke,
            inject=lambda fault: FaultSet.nothing(None),  # type: ignore[arg-type]
            offer=lambda wanted: {},
            publish=lambda roots, known, revoked: 1,
            routes=CampaignRoutes(site.campaigns).routes(),
        )
        transport = httpx.ASGITransport(app=control.app())
        async with httpx.AsyncClient(transport=transport, base_url="http://control") as client:

            async def ask(status: int, method: str, path: str, body: Any = None) -> Any:
                response = await client.request(method, path, json=body)
                assert response.status_code == status, response.text
                answer = response.json()
                assert status < 400 or ("\n" not in answer["error"] and answer["error"])
                return answer

            await story(ask)

    site.run(main)


def test_a_campaign_from_begin_to_end() -> None:
    site = RollOut(20)
    site.site = {"ZPR000003": Charger(refuses="expired")}

    async def story(ask: Ask) -> None:
        stages = [{"percent": 10, "wait_s": 60}, {"percent": 100}]
        body = {"id": "spring", "version": NEW, "targets": {"percent": 50}, "stages": stages, "command": 200}
        begun = await ask(201, "POST", "/campaigns", body | {"targets": {}, "halt": {"failure_share": 0.2}})
        assert begun["devices"] == {
            "all": 20, "waiting": 18, "offered": 2, "downloading": 0, "installing": 0, "installed": 0, "failed": 0,
        }  # fmt: skip
        assert begun["stages"][0] == {"percent": 10, "wait_s": 60, "success_share": 1, "devices": {"offered": 2}}
        assert begun["halt"] == {"failure_share": 0.2, "count_min": 10} and begun["version"] == NEW
        await asyncio.sleep(3_600)
        shown = await ask(200, "GET", "/campaigns/spring")
        assert (shown["state"], shown["devices"]["installed"], shown["devices"]["failed"]) == ("completed", 19, 1)
        assert (await ask(200, "GET", "/campaigns"))["campaigns"] == [shown]
        (bad,) = (await ask(200, "GET", "/campaigns/spring/devices?standing=failed"))["devices"]
        assert (bad["serial"], bad["reason"], bad["called"]) == ("ZPR000003", "expired", True)
        assert bad["since"].startswith("2026-06-01T12:")
        page = (await ask(200, "GET", "/campaigns/spring/devices?limit=2&after=ZPR000004"))["devices"]
        assert [each["serial"] for each in page] == ["ZPR000005", "ZPR000006"]
        assert await ask(200, "DELETE", "/campaigns/spring") == {"id": "spring"}
        assert (await ask(200, "GET", "/campaigns"))["campaigns"] == []

    told(site, story)


def test_people_pause_resume_and_abort() -> None:
    async def story(ask: Ask) -> None:
        await ask(201, "POST", "/campaigns", {"id": "c", "version": NEW})
        for action, state in (("pause", "paused"), ("resume", "running"), ("abort", "aborted")):
            assert (await ask(200, "PATCH", "/campaigns/c", {"action": action}))["state"] == state
        refused = await ask(400, "PATCH", "/campaigns/c", {"action": "resume"})
        assert refused["error"] == "action: cannot resume a campaign that is aborted"

    told(RollOut(1), story)


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({}, "version"),
        ({"version": 5}, "version"),
        ({"version": "nonsense"}, "nonsense"),
        ({"version": NEW, "id": "a b"}, "id"),
        ({"version": NEW, "id": ""}, "id"),
        ({"image": "\0"}, "no name of a file"),
        ({"version": NEW, "calls_per_s": "1"}, "calls_per_s"),
        ({"version": NEW, "stages": [{"percent": True}, {}]}, "stages.0.percent"),
        ({"version": NEW, "colour": "red"}, "colour"),
        ({"version": NEW, "command": 202}, "command"),
        ({"version": NEW, "calls_per_s": 0}, "calls_per_s"),
        ({"version": NEW, "deadline_s": 1e9}, "deadline_s"),
        ({"version": NEW, "targets": {"percent": 101}}, "targets.percent"),
        ({"version": NEW, "targets": {"serials": "all"}}, "targets.serials"),
        ({"version": NEW, "targets": {"installations": ["nowhere"]}}, "targets"),
        ({"version": NEW, "stages": []}, "stages"),
        ({"version": NEW, "stages": [{"percent": 50}]}, "stages"),
        ({"version": NEW, "stages": [{"percent": 0}, {}]}, "stages.0.percent"),
        ({"version": NEW, "halt": {"failure_share": 0}}, "halt.failure_share"),
        ({"version": NEW, "halt": {"count_min": 0}}, "halt.count_min"),
        ([], "object"),
    ],
)
def test_bad_input_is_refused_by_name(body: Any, named: str) -> None:
    async def story(ask: Ask) -> None:
        assert named in (await ask(400, "POST", "/campaigns", body))["error"]
        assert (await ask(200, "GET", "/campaigns"))["campaigns"] == []

    told(RollOut(1), story)


def test_what_does_not_exist_is_not_found() -> None:
    async def story(ask: Ask) -> None:
        assert "nobody" in (
            await ask(404, "POST", "/campaigns", {"version": NEW, "targets": {"serials": ["nobody"]}})
        )["error"]  # fmt: skip
        for method, path in (("GET", ""), ("DELETE", ""), ("GET", "/devices")):
            await ask(404, method, f"/campaigns/lost{path}")
        await ask(404, "PATCH", "/campaigns/lost", {"action": "pause"})
        await ask(201, "POST", "/campaigns", {"id": "c", "version": NEW})
        for query in ("standing=sad", "limit=0", "limit=1001", "limit=many"):
            await ask(400, "GET", f"/campaigns/c/devices?{query}")
        await ask(400, "PATCH", "/campaigns/c", {"action": "dance"})

    told(RollOut(1), story)
