"""The campaign routes of the control API.

====================================  =============================================================================
``POST /campaigns``                   begin one; the body is that of `Wanted`
``GET /campaigns``                    all of them, the oldest first, and how many changes could not be saved
``GET /campaigns/{id}``               one: its plan, its state, and how many chargers of each stage stand how
``PATCH /campaigns/{id}``             ``{"action": "pause" | "resume" | "abort"}``
``DELETE /campaigns/{id}``            end it, if it is not over, and forget it
``GET /campaigns/{id}/devices``       its chargers by serial: ``?standing=failed&after=ZPR000100&limit=100``
====================================  =============================================================================
"""

from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import Field
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from cloud_stub.control_body import Body, read
from cloud_stub.firmware.campaign import DEADLINE_S, RATE_PER_S_MAX, STAGES_MAX, Action, Limit, Plan, Stage, Targets
from cloud_stub.firmware.campaign_table import Kept
from cloud_stub.firmware.campaigns import Campaigns, UnknownCampaign
from cloud_stub.firmware.member import Member, Standing
from cloud_stub.firmware.offer import Offer
from cloud_stub.firmware.package import IMAGE_BYTES
from cloud_stub.firmware.shelf import offer_of
from emulator.errors import UsageError

PAGE_MAX = 1_000
NAMED_MAX = 10_000
"""Serials, or installations, that one campaign may name."""
WEEK_S = 7 * 86_400.0

Answer = Callable[[Request], Awaitable[JSONResponse]]
Percent = Field(100.0, gt=0, le=100)
Seconds = Field(0.0, ge=0, le=WEEK_S)
Share = Field(1.0, gt=0, le=1)


class WantedTargets(Body):
    """See `Targets`."""

    serials: list[str] = Field(default=[], max_length=NAMED_MAX)
    installations: list[str] = Field(default=[], max_length=NAMED_MAX)
    percent: float = Percent


class WantedStage(Body):
    """See `Stage`."""

    percent: float = Percent
    wait_s: float = Seconds
    success_share: float = Share


class WantedLimit(Body):
    """See `Limit`."""

    failure_share: float = Field(Limit().failure_share, gt=0, le=1)
    count_min: int = Field(Limit().count_min, ge=1)


class Wanted(Body):
    """Body of POST /campaigns: see `Plan`."""

    id: str | None = None
    version: str | None = Field(None, min_length=1, max_length=64)
    image: str | None = Field(None, min_length=1, max_length=4096)
    signer: str = "firmware"
    size_bytes: int = Field(IMAGE_BYTES, ge=1)
    security_counter: int = Field(1, ge=0)
    targets: WantedTargets = Field(default_factory=lambda: WantedTargets.model_validate({}))
    stages: list[WantedStage] = Field([WantedStage.model_validate({})], min_length=1, max_length=STAGES_MAX)
    halt: WantedLimit = Field(default_factory=lambda: WantedLimit.model_validate({}))
    command: Literal[200, 201] | None = None
    calls_per_s: float = Field(1.0, gt=0, le=RATE_PER_S_MAX)
    deadline_s: float = Field(DEADLINE_S, gt=0, le=WEEK_S)

    def plan(self) -> Plan:
        """The same as a plan. UsageError: no or two releases, an image that is none, stages that do not grow."""
        return Plan(
            self._offer(),
            Targets(tuple(self.targets.serials), tuple(self.targets.installations), self.targets.percent),
            tuple(Stage(**stage.model_dump()) for stage in self.stages),
            Limit(**self.halt.model_dump()),
            self.command,
            self.calls_per_s,
            self.deadline_s,
        )

    def _offer(self) -> Offer:
        match self.version, self.image:
            case str(version), None:
                return Offer(version, self.signer, self.size_bytes, self.security_counter)
            case None, str(image):
                return offer_of(image)
            case _:
                raise UsageError("body: give either version or image")


class Change(Body):
    """Body of PATCH /campaigns/{id}."""

    action: Action = Field(strict=False)


@dataclass(frozen=True, slots=True)
class CampaignRoutes:
    """``/campaigns``."""

    campaigns: Campaigns

    def routes(self) -> list[Route]:
        """The routes."""
        one = "/campaigns/{id}"
        return [
            Route("/campaigns", _found(self._begin), methods=["POST"]),
            Route("/campaigns", _found(self._list), methods=["GET"]),
            Route(one, _found(self._show), methods=["GET"]),
            Route(one, _found(self._change), methods=["PATCH"]),
            Route(one, _found(self._remove), methods=["DELETE"]),
            Route(f"{one}/devices", _found(self._devices), methods=["GET"]),
        ]

    async def _begin(self, request: Request) -> JSONResponse:
        wanted = await read(request, Wanted)
        kept = await self.campaigns.begin(wanted.plan(), wanted.id)
        return JSONResponse(self._shown(kept), status_code=201)

    async def _list(self, request: Request) -> JSONResponse:
        shown = [self._shown(kept) for kept in self.campaigns]
        return JSONResponse({"campaigns": shown, "unsaved": self.campaigns.failures})

    async def _show(self, request: Request) -> JSONResponse:
        return JSONResponse(self._shown(self.campaigns.get(request.path_params["id"])))

    async def _change(self, request: Request) -> JSONResponse:
        action = (await read(request, Change)).action
        return JSONResponse(self._shown(self.campaigns.act(request.path_params["id"], action)))

    async def _remove(self, request: Request) -> JSONResponse:
        self.campaigns.remove(request.path_params["id"])
        return JSONResponse({"id": request.path_params["id"]})

    async def _devices(self, request: Request) -> JSONResponse:
        asked = request.query_params
        members = self.campaigns.page(
            request.path_params["id"],
            after=asked.get("after", ""),
            standing=_standing(asked.get("standing")),
            limit=_limit(asked.get("limit", "100")),
        )
        return JSONResponse({"devices": [_member(member) for member in members]})

    def _shown(self, kept: Kept) -> dict[str, Any]:
        counts, plan, course = self.campaigns.counts(kept.campaign_id), kept.plan.to_json(), kept.course
        stages = [
            stage | {"devices": {of.value: count for (at, of), count in counts.items() if at == number}}
            for number, stage in enumerate(plan.pop("stages"))
        ]
        devices = {of.value: sum(count for (_, at), count in counts.items() if at is of) for of in Standing}
        return {
            "id": kept.campaign_id,
            "state": course.state.value,
            "reason": course.reason,
            "stage": course.stage,
            "created": _time(kept.created_s),
            "devices": {"all": sum(devices.values())} | devices,
            "stages": stages,
            "calls": asdict(seen) if (seen := self.campaigns.calls(kept.campaign_id)) else None,
            **plan.pop("offer"),
            "halt": plan.pop("limit"),
            **plan,
        }


def no_campaigns(where: str) -> list[Route]:
    """What a control API that has none says of them: where they are."""

    async def elsewhere(request: Request) -> JSONResponse:
        raise HTTPException(404, f"campaigns: not here; {where}")

    methods = ["GET", "POST", "PATCH", "DELETE"]
    return [Route(path, elsewhere, methods=methods) for path in ("/campaigns", "/campaigns/{rest:path}")]


def _found(answer: Answer) -> Answer:
    """The same, with 404 for a campaign that does not exist."""

    async def endpoint(request: Request) -> JSONResponse:
        try:
            return await answer(request)
        except UnknownCampaign as error:
            raise HTTPException(404, str(error)) from None

    return endpoint


def _member(member: Member) -> dict[str, Any]:
    shown = asdict(member)
    since_s = shown.pop("since_s")
    return shown | {"since": _time(since_s) if since_s else None}


def _standing(text: str | None) -> Standing | None:
    if text is not None and text not in tuple(Standing):
        raise UsageError(f"standing: must be one of {', '.join(Standing)}")
    return None if text is None else Standing(text)


def _limit(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= 4 and 1 <= int(text) <= PAGE_MAX):
        raise UsageError(f"limit: must be 1 to {PAGE_MAX}")
    return int(text)


def _time(unix_s: float) -> str:
    return datetime.fromtimestamp(unix_s, UTC).isoformat(timespec="seconds")
