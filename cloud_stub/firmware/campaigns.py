"""The campaigns of a cloud: what each charger is offered, what comes of it, and when the next are offered it.

Campaigns live on in the hub's state: a cloud that was killed goes on where it was. Chargers are heard through the
vendor's backend, and called through direct methods.
"""

import asyncio
import itertools
import re
from collections.abc import Awaitable, Callable, Iterable, Iterator

from cloud_stub.firmware.calls import Calls, CallsSeen, Methods
from cloud_stub.firmware.campaign import Action, Course, Plan, State, Targets, acted, decided, drawn, stage_of
from cloud_stub.firmware.campaign_table import CampaignTable, Kept
from cloud_stub.firmware.live import Live
from cloud_stub.firmware.member import Asked, Member, Mishap, News, Refused, Standing, news_in
from cloud_stub.firmware.offer import Offer
from cloud_stub.state.errors import HubError
from emulator.clock import Utc
from emulator.errors import UsageError
from emulator.wire.messages import Message

CAMPAIGNS_MAX = 64
LIVE_MAX = 16
"""Campaigns that are not over."""
LOOK_S_MIN, LOOK_S_MAX = 0.05, 60.0
"""Between two looks at campaigns that are not over."""
COMMAND_OK = 200
REPORT = 503
"""Has a charger say once more what it runs (zaptec.md section 8.2)."""
ASKED_PER_S = 20.0
ASKED_AFTER_S = 60.0
"""After a start, until chargers that have begun, and may have reported while nobody listened, are asked to report. One
that has only just installed the release has booted it by then."""

Find = Callable[[Targets], Awaitable[list[str]]]
"""Gives the serials that a campaign is about, before the lot."""
RunsOf = Callable[[str], str]
"""Gives the firmware that a charger said it runs; empty: it was not heard of."""
Check = Callable[[Offer], object]
"""Raises UsageError for a release that cannot be made."""

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)


class UnknownCampaign(UsageError):
    """There is no such campaign."""


class Campaigns:
    """At most `CAMPAIGNS_MAX`; the oldest that is over is forgotten when there are more."""

    def __init__(
        self, table: CampaignTable, methods: Methods, utc: Utc, *, find: Find, runs: RunsOf, check: Check
    ) -> None:
        self._table = table
        self._methods = methods
        self._utc = utc
        self._find = find
        self._runs = runs
        self._check = check
        self._kept: dict[str, Kept] = {}
        self._live: dict[str, Live] = {}
        self._calls: dict[str, Calls] = {}
        self._asking: Calls | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.failures = 0
        """News that the hub's state did not take: what they change is lost when this process ends."""

    def start(self) -> None:
        """Go on with the campaigns that are not over. HubError when the state cannot be read."""
        self._kept = {kept.campaign_id: kept for kept in self._table.all()}
        now_s = self._utc().timestamp()
        for kept in self._kept.values():
            if not kept.course.state.over:
                self._live[kept.campaign_id] = Live(kept, self._table.members(kept.number), now_s)
        self._ask()
        self._look_at_all()

    async def stop(self) -> None:
        """Call nobody and look at nothing any more; what has been heard is kept."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        ending = tuple(self._calls.values()) + (() if self._asking is None else (self._asking,))
        self._asking = None
        self._calls.clear()
        self._live.clear()
        for calls in ending:
            await calls.end()

    # What people do

    async def begin(self, plan: Plan, campaign_id: str | None = None) -> Kept:
        """Begin a campaign. UsageError: its id is taken, its release cannot be made, or there are no such chargers."""
        self._check(plan.offer)
        serials = await self._find(plan.targets)
        chosen = self._free_id() if campaign_id is None else campaign_id
        if not _ID.fullmatch(chosen) or chosen in self._kept:
            raise UsageError(f"id: {chosen[:64]!r} is taken, or not 1 to 64 letters, digits, dots, dashes")
        if len(self._live) >= LIVE_MAX:
            raise UsageError(f"campaign {chosen}: {LIVE_MAX} campaigns are not over")
        turns = drawn(chosen, serials, plan.targets.percent)
        if not turns:
            raise UsageError("targets: there is no such charger")
        self._make_room()
        members = [
            Member(serial, position, stage_of(plan.stages, position, len(turns)), computer=self._runs(serial))
            for position, serial in enumerate(turns)
        ]
        kept = self._table.add(chosen, plan, Course(), self._utc().timestamp(), members)
        self._kept[chosen] = kept
        self._live[chosen] = Live(kept, members)
        self._look_at_all()
        return self.get(chosen)

    def get(self, campaign_id: str) -> Kept:
        """A campaign. UnknownCampaign."""
        live = self._live.get(campaign_id)
        kept = live.kept if live else self._kept.get(campaign_id)
        if kept is None:
            raise UnknownCampaign(f"campaign {campaign_id[:64]}: no such campaign")
        return kept

    def __iter__(self) -> Iterator[Kept]:
        """The campaigns, the oldest first."""
        return iter([self.get(campaign_id) for campaign_id in self._kept])

    def act(self, campaign_id: str, action: Action) -> Kept:
        """Pause, resume or abort one. UnknownCampaign, UsageError."""
        kept, live = self.get(campaign_id), self._live.get(campaign_id)
        if live is None:
            acted(kept.course, action, Live(kept, ()).tally())  # which is refused: it is over
            return kept
        self._steer(live, acted(kept.course, action, live.tally()))
        self._look_at_all()
        return self.get(campaign_id)

    def remove(self, campaign_id: str) -> None:
        """End one, if it is not over, and forget it. UnknownCampaign."""
        kept = self.get(campaign_id)
        if calls := self._calls.pop(campaign_id, None):
            calls.stop()
        self._table.remove(kept.number)
        del self._kept[campaign_id]
        self._live.pop(campaign_id, None)

    def counts(self, campaign_id: str) -> dict[tuple[int, Standing], int]:
        """How many chargers of each stage stand how. UnknownCampaign."""
        return self._table.counts(self.get(campaign_id).number)

    def page(self, campaign_id: str, *, after: str, standing: Standing | None, limit: int) -> list[Member]:
        """As `CampaignTable.page`. UnknownCampaign."""
        return self._table.page(self.get(campaign_id).number, after=after, standing=standing, limit=limit)

    def calls(self, campaign_id: str) -> CallsSeen | None:
        """How the calls of one go; None: it calls nobody now. UnknownCampaign."""
        self.get(campaign_id)
        calls = self._calls.get(campaign_id)
        return calls.seen if calls else None

    # What chargers do

    def offered(self, serial: str) -> Offer | None:
        """What a charger gets that asks now; None: no campaign is about it. The newest campaign counts."""
        for live in self._about(serial):
            if live.offers(serial):
                return live.kept.plan.offer
        return None

    def handed_out(self, serial: str, version: str) -> Offer | None:
        """The release of this version that a charger may fetch because of a campaign."""
        for live in self._about(serial):
            if live.hands_out(serial) and live.kept.plan.offer.version == version:
                return live.kept.plan.offer
        return None

    def asked(self, serial: str) -> None:
        """A charger has asked, and was told what `offered` says. One that came in vain will be called again."""
        served = False
        for live in self._about(serial):
            if served:
                live.served_elsewhere(serial)
            elif live.offers(serial):
                self._hear(live, serial, (Asked(),))
                served = True
            elif changed := live.turned_away(serial):
                self._save(live, members=[changed])

    def heard(self, serial: str, message: Message) -> None:
        """A charger has said something."""
        lives = [live for live in self._live.values() if serial in live.members]
        if not lives:
            return
        news = tuple(news_in(message))
        for live in lives if news else ():
            self._hear(live, serial, news)

    def _about(self, serial: str) -> list[Live]:
        """The campaigns that a charger is in and that are not over, the newest first."""
        return [live for live in reversed(self._live.values()) if serial in live.members]

    def _hear(self, live: Live, serial: str, news: Iterable[News]) -> None:
        if changed := live.hear(serial, news, self._utc().timestamp()):
            self._save(live, members=[changed])
            self._look(live)
            self._set_timer()

    def _called(self, live: Live, serial: str, status: int) -> None:
        """The command was called. What comes when the campaign is held, or gone, does not count: it is called again."""
        if not live.running or self._live.get(live.kept.campaign_id) is not live:
            return
        why = Refused(Mishap.CALL_REFUSED, f"status {status}") if status != COMMAND_OK else None
        if changed := live.called(serial, why, self._utc().timestamp()):
            self._save(live, members=[changed])
            self._look(live)
            self._set_timer()

    # What time does

    def _look_at_all(self) -> None:
        for live in tuple(self._live.values()):
            if silent := live.silent(self._utc().timestamp()):
                self._save(live, members=silent)
            self._look(live)
        self._set_timer()

    def _look(self, live: Live) -> None:
        """Decide how a campaign goes on, until nothing changes."""
        while True:
            kept, now_s = live.kept, self._utc().timestamp()
            self._call(live, opened := live.open(now_s))
            if opened:
                self._save(live, members=opened)
            after = decided(kept.plan, kept.course, live.tally(), now_s)
            if after == kept.course:
                return
            self._steer(live, after)

    def _steer(self, live: Live, course: Course) -> None:
        """Put a campaign on another course."""
        live.steer(course)
        self._save(live, course=course)
        campaign_id = live.kept.campaign_id
        if course.state is not State.RUNNING and (calls := self._calls.pop(campaign_id, None)):
            calls.stop()
        if course.state.over:
            self._kept[campaign_id] = live.kept
            del self._live[campaign_id]

    def _call(self, live: Live, opened: list[Member]) -> None:
        """Call the command on those whose turn has come, and at first on all who were not called before."""
        plan, campaign_id = live.kept.plan, live.kept.campaign_id
        if plan.command is None or not live.running:
            return
        if calls := self._calls.get(campaign_id):
            calls.add(member.serial for member in opened)
            return
        calls = self._calls[campaign_id] = Calls(
            plan.command,
            plan.calls_per_s,
            methods=self._methods,
            wanted=live.wants_call,
            called=lambda serial, status: self._called(live, serial, status),
        )
        calls.add(live.uncalled())

    def _ask(self) -> None:
        """Have those who have begun say what they run."""

        def busy(serial: str) -> bool:
            return any(live.members[serial].standing.busy for live in self._about(serial))

        asking = self._asking = Calls(
            REPORT, ASKED_PER_S, methods=self._methods, wanted=busy, called=lambda serial, status: None
        )
        asking.add({serial: None for live in self._live.values() for serial in live.busy}, after_s=ASKED_AFTER_S)

    def _set_timer(self) -> None:
        """Look again when time changes something; a clock that is set meanwhile is noticed soon."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        due = [due_s for live in self._live.values() if (due_s := live.due_s()) is not None]
        if due:
            wait_s = min(max(min(due) - self._utc().timestamp(), LOOK_S_MIN), LOOK_S_MAX)
            self._timer = asyncio.get_running_loop().call_later(wait_s, self._look_at_all)

    def _save(self, live: Live, *, course: Course | None = None, members: Iterable[Member] = ()) -> None:
        try:
            self._table.save(live.kept.number, course, members)
        except HubError:
            self.failures += 1

    def _free_id(self) -> str:
        number = next(
            number for number in itertools.count(len(self._kept) + 1) if f"campaign-{number}" not in self._kept
        )
        return f"campaign-{number}"

    def _make_room(self) -> None:
        if len(self._kept) >= CAMPAIGNS_MAX:
            oldest = next(campaign_id for campaign_id in self._kept if campaign_id not in self._live)
            self._table.remove(self._kept.pop(oldest).number)
