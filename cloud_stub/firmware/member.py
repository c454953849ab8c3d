"""One charger in a campaign: what it said, and what that makes of it. Decisions alone.

A charger asks where the firmware is, fetches it, says in observation 830 how that ended and in a line of its log why,
boots and reports what runs as 911 (zaptec.md section 14). The form of 830 and of the log is invented
(`emulator.device.upgrade`); whatever else they hold is no news.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import IntEnum, StrEnum

from emulator.wire.manifest import parse_version
from emulator.wire.messages import Collection, DeviceEvent, Message, Observation
from emulator.wire.update_reason import FirmwareError, UpdateReason

DETAIL_CHARACTERS_MAX = 200

_LOG = re.compile(r"\[ota_metrics\] @\S{1,40} ([a-z_]{1,40}): (.*)", re.ASCII | re.DOTALL)


class Number(IntEnum):
    """Observations that tell of updates (zaptec.md section 17.1)."""

    SECURITY_LOG = 830
    MAINBOARD_VERSION = 908
    COMPUTER_VERSION = 911


class Standing(StrEnum):
    """How a charger stands in a campaign."""

    WAITING = "waiting"
    """Its stage has not come."""
    OFFERED = "offered"
    """It would get the release if it asked."""
    DOWNLOADING = "downloading"
    """It has asked."""
    INSTALLING = "installing"
    """It has verified and stored the release, and is about to boot it."""
    INSTALLED = "installed"
    """It reports the release as what runs."""
    FAILED = "failed"

    @property
    def busy(self) -> bool:
        """Whether it has begun, so that something must be heard of it in time."""
        return self in (Standing.DOWNLOADING, Standing.INSTALLING)


class Mishap(StrEnum):
    """Why a charger failed, where it is none of its own `UpdateReason`."""

    REJECTED = "rejected"
    """It refused the release and has not said why."""
    ROLLED_BACK = "rolled_back"
    """It had installed the release, and another one runs."""
    SILENT = "silent"
    """It began, and nothing was heard of it in time."""
    CALL_REFUSED = "call_refused"
    """It answered the command to update with another status than 200."""


REASONS = frozenset(UpdateReason) | frozenset(Mishap)


@dataclass(frozen=True, slots=True)
class Asked:
    """It has asked where the firmware is, and was told."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """It says that it has verified the release."""


@dataclass(frozen=True, slots=True)
class Refused:
    """It says that it has refused the release, or somebody says for it why it failed."""

    reason: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Runs:
    """It says which firmware runs in its computer module."""

    version: str


@dataclass(frozen=True, slots=True)
class MainboardRuns:
    """It says which firmware runs in its mainboard."""

    version: str


News = Asked | Accepted | Refused | Runs | MainboardRuns


@dataclass(frozen=True, slots=True)
class Member:
    """A charger in a campaign. `position` is its place in the order of turns; `since_s` is since when it stands so."""

    serial: str
    position: int
    stage: int
    standing: Standing = Standing.WAITING
    since_s: float = 0.0
    reason: str = ""
    detail: str = ""
    computer: str = ""
    mainboard: str = ""
    called: bool = False
    """The command to update has been called on it."""


def news_in(message: Message) -> Iterator[News]:
    """What a message of a charger says about updates."""
    match message:
        case Observation(id=Number.SECURITY_LOG, value=value):
            yield from _logged(value)
        case Observation(id=Number.COMPUTER_VERSION, value=value):
            yield Runs(value[:DETAIL_CHARACTERS_MAX])
        case Observation(id=Number.MAINBOARD_VERSION, value=value):
            yield MainboardRuns(value[:DETAIL_CHARACTERS_MAX])
        case Collection(observations):
            for observation in observations:
                yield from news_in(observation)
        case DeviceEvent(message=line):
            match = _LOG.match(line)
            if match and match[1] in REASONS:
                yield Refused(match[1], match[2][:DETAIL_CHARACTERS_MAX])


def moved(member: Member, news: News, version: str, now_s: float) -> Member:
    """How a charger stands after news of it, in a campaign for this version. News may come late, and again."""
    standing = member.standing
    match news:
        case Asked() if standing is Standing.OFFERED:
            return _to(member, Standing.DOWNLOADING, now_s)
        case Accepted() if standing is Standing.DOWNLOADING:
            return _to(member, Standing.INSTALLING, now_s)
        case Refused() if standing is Standing.OFFERED or standing.busy:
            return failed(member, news, now_s)
        case Refused(reason, detail) if member.reason == Mishap.REJECTED and reason != Mishap.REJECTED:
            return replace(member, reason=reason, detail=detail)
        case Runs(computer):
            return _running(replace(member, computer=computer), version, now_s)
        case MainboardRuns(mainboard):
            return replace(member, mainboard=mainboard)
    return member


def failed(member: Member, why: Refused, now_s: float) -> Member:
    """The same charger, which has failed."""
    return replace(_to(member, Standing.FAILED, now_s), reason=why.reason, detail=why.detail)


def offered(member: Member, version: str, now_s: float) -> Member:
    """The same charger, whose stage has come; one that runs the release already is done with it."""
    if member.standing is not Standing.WAITING:
        return member
    return _running(_to(member, Standing.OFFERED, now_s), version, now_s)


def _running(member: Member, version: str, now_s: float) -> Member:
    """What it makes of a charger that it runs this firmware."""
    standing = member.standing
    if _same(member.computer, version):
        if standing in (Standing.WAITING, Standing.INSTALLED):
            return member
        return replace(_to(member, Standing.INSTALLED, now_s), reason="", detail="")
    if standing in (Standing.INSTALLING, Standing.INSTALLED):
        return failed(member, Refused(Mishap.ROLLED_BACK, f"{member.computer} runs"), now_s)
    return member


def _to(member: Member, standing: Standing, now_s: float) -> Member:
    return replace(member, standing=standing, since_s=now_s)


def _same(one: str, other: str) -> bool:
    try:
        return parse_version(one) == parse_version(other)
    except FirmwareError:
        return one == other


def _logged(value: str) -> Iterator[News]:
    try:
        fields = json.loads(value)
    except (ValueError, RecursionError):
        return
    if isinstance(fields, dict) and fields.get("Name") == "OTA":
        match fields.get("Description"):
            case "Accepted":
                yield Accepted()
            case "Rejected":
                yield Refused(Mishap.REJECTED)
