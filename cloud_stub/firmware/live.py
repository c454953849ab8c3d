"""A campaign that is not over, with its chargers at hand. It decides what news of them change, and keeps nothing."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

from cloud_stub.firmware.campaign import Course, State, Tally, due_s
from cloud_stub.firmware.campaign_table import Kept
from cloud_stub.firmware.member import Asked, Member, Mishap, News, Refused, Standing, failed, moved, offered


class Live:
    """One campaign."""

    def __init__(self, kept: Kept, members: Iterable[Member], since_s: float = 0.0) -> None:
        """`since_s`: from when on it hears of its chargers. How long nobody listened is nobody's silence."""
        self.kept = kept
        self.members = {member.serial: member for member in members}
        """By serial, in the order of turns."""
        self._counts = Counter((member.stage, member.standing) for member in self.members.values())
        busy = sorted(
            (max(member.since_s, since_s), serial) for serial, member in self.members.items() if member.standing.busy
        )
        self._busy = {serial: since_s for since_s, serial in busy}
        """Who has begun, and since when something is due: the earliest first."""
        self._elsewhere: set[str] = set()
        """Whose update, if there is one, is not of this campaign: it has asked and got nothing, or something else."""
        self._opened = -1

    @property
    def running(self) -> bool:
        """Whether it offers anything to chargers that have not begun."""
        return self.kept.course.state is State.RUNNING

    def steer(self, course: Course) -> None:
        """Put it on another course."""
        self.kept = replace(self.kept, course=course)

    def tally(self) -> Tally:
        """Its chargers whose turn has come."""
        counts = Counter[Standing]()
        for (stage, standing), count in self._counts.items():
            if stage <= self.kept.course.stage:
                counts[standing] += count
        return Tally(counts.total(), counts[Standing.INSTALLED], counts[Standing.FAILED])

    def offers(self, serial: str) -> bool:
        """Whether a charger that asks gets the release: its turn has come, and unless it has begun, nothing holds the
        campaign."""
        standing = self.members[serial].standing
        return standing.busy or (self.running and standing is not Standing.WAITING)

    def hands_out(self, serial: str) -> bool:
        """Whether a charger may fetch the release."""
        return self.members[serial].standing is not Standing.WAITING

    def uncalled(self) -> list[str]:
        """Chargers that the command to update must be called on, in the order of turns."""
        return [serial for serial in self.members if self.wants_call(serial)]

    @property
    def busy(self) -> tuple[str, ...]:
        """Chargers that have begun."""
        return tuple(self._busy)

    def wants_call(self, serial: str) -> bool:
        """Whether the command must be called on this one."""
        member = self.members[serial]
        return member.standing is Standing.OFFERED and not member.called

    def open(self, now_s: float) -> list[Member]:
        """Offer the release to everybody whose turn has come; they are returned."""
        if not self.running or self._opened >= self.kept.course.stage:
            return []
        self._opened = self.kept.course.stage
        due = [member for member in self.members.values() if member.stage <= self._opened]
        version = self.kept.plan.offer.version
        opened = [offered(member, version, now_s) for member in due if member.standing is Standing.WAITING]
        for member in opened:
            self._put(member)
        return opened

    def hear(self, serial: str, news: Iterable[News], now_s: float) -> Member | None:
        """Take news of a charger; how it stands now, if that has changed."""
        before = member = self.members[serial]
        for each in news:
            if isinstance(each, Asked):
                self._elsewhere.discard(serial)
            elif isinstance(each, Refused) and serial in self._elsewhere:
                continue
            member = moved(member, each, self.kept.plan.offer.version, now_s)
        return self._changed(before, member)

    def called(self, serial: str, why: Refused | None, now_s: float) -> Member | None:
        """The command was called on a charger, which has refused it if there is a `why`."""
        before = self.members[serial]
        self._elsewhere.discard(serial)
        member = replace(before, called=True)
        if why is not None:
            member = moved(member, why, self.kept.plan.offer.version, now_s)
        return self._changed(before, member)

    def turned_away(self, serial: str) -> Member | None:
        """A charger has asked while the campaign is held; if it was called, it must be called again."""
        before = self.members[serial]
        self._elsewhere.add(serial)
        return self._changed(before, replace(before, called=False))

    def served_elsewhere(self, serial: str) -> None:
        """A charger has asked, and another campaign was about it."""
        self._elsewhere.add(serial)

    def silent(self, now_s: float) -> list[Member]:
        """Chargers that have begun and of which nothing was heard in time: they have failed."""
        late_s = now_s - self.kept.plan.deadline_s
        late = [serial for serial, since_s in self._busy.items() if since_s <= late_s]
        lost = [failed(self.members[serial], Refused(Mishap.SILENT, "no news in time"), now_s) for serial in late]
        for member in lost:
            self._put(member)
        return lost

    def due_s(self) -> float | None:
        """When time alone changes something; None: never."""
        ends = [due_s(self.kept.plan, self.kept.course)]
        if self._busy:
            ends.append(next(iter(self._busy.values())) + self.kept.plan.deadline_s)
        return min((end for end in ends if end is not None), default=None)

    def _changed(self, before: Member, member: Member) -> Member | None:
        if member == before:
            return None
        self._put(member)
        return member

    def _put(self, member: Member) -> None:
        before = self.members[member.serial]
        self.members[member.serial] = member
        self._counts[before.stage, before.standing] -= 1
        self._counts[member.stage, member.standing] += 1
        if member.standing is not before.standing:
            self._busy.pop(member.serial, None)
            if member.standing.busy:
                self._busy[member.serial] = member.since_s
