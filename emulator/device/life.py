"""One life of the charger, from power-on to reboot: connect, greet the hub, report and obey.

Three tasks rest here while nothing happens: this one, which sleeps until the next report is due, and the keepers of
lease and clock. Messages from the hub are handled where they arrive; a task is made only to connect and to update.
"""

import asyncio
from dataclasses import asdict
from typing import TYPE_CHECKING

from emulator.boot.address import release_lease
from emulator.boot.state import Boot
from emulator.device.alarm import Alarm
from emulator.device.commands import obey
from emulator.device.dial import Dial, Sequence
from emulator.device.observations import ECHO, GREETING, REQUEST
from emulator.device.reporter import Beat, Interval, Report, Reporter, Sample
from emulator.device.settings import parse_desired
from emulator.device.update import Installed, Rejected
from emulator.device.upgrade import Result, UpdateFirmware, upgrade
from emulator.device.usage import DataUsage, until_midnight_s
from emulator.errors import NetError, NetReason
from emulator.flash.faulty import until_cut
from emulator.local import Local
from emulator.machines.charge_modes import State
from emulator.machines.watchdog import Bark, Watchdog
from emulator.net.hub import HubConnection
from emulator.wire.iothub import DesiredPatch, HubTopicError, MethodCall, TwinResponse, parse_cloud_topic
from emulator.wire.messages import EventType, Observation, collection, event, observation, pulse

if TYPE_CHECKING:
    from emulator.device.charger import Charger

SESSION_PAUSE_S = 0.05  # between finished sessions (zaptec.md section 10)
TWIN_OK = 200
OPERATION_MODE, PULSE_INTERVAL, COMPLETED_SESSION = 710, 147, 723
DIAGNOSTICS_LOG, DATA_USAGE = (807,), (822,)


class Life:
    """What a reboot forgets, and the loop that lives on it."""

    __slots__ = (
        "_alarm",
        "_charger",
        "_connections",
        "_greeted",
        "_tasks",
        "_update_firmware",
        "_wanted",
        "_watchdog",
        "boot",
        "dial",
        "reporter",
        "updating",
        "usage",
    )

    def __init__(
        self, charger: "Charger", boot: Boot, now: float, *, sequence: Sequence, update_firmware: UpdateFirmware
    ) -> None:
        self.boot = boot
        self._tasks = asyncio.TaskGroup()
        self.dial = Dial(boot, sequence, self._greet, self.wake, self._tasks)
        self.reporter = Reporter(boot.spec.profile.telemetry, now)
        self.updating = False
        self._charger = charger
        self._update_firmware = update_firmware
        self._alarm = Alarm()
        self._wanted: dict[tuple[int, ...], None] = {}
        self._connections = 0
        self._greeted = False
        self._watchdog = Watchdog(boot.spec.profile.watchdog, now)
        rtc = boot.env.rtc
        self.usage = DataUsage(boot.env.flash, boot.env.meter.totals, rtc.now(), trusted=rtc.trusted)
        """Bytes per day."""
        boot.noticed = self._link_seen

    def wake(self) -> None:
        """Something changed: look at once what is due."""
        self._alarm.ring()

    def want(self, *sets: tuple[int, ...]) -> None:
        """Send these sets of observations soon, a message each."""
        self._wanted.update(dict.fromkeys(sets))
        self.wake()

    def redial(self, local: Local) -> None:
        """Connect anew by these settings of the installer."""
        self.boot.local = local
        self.dial.redial()

    def start_update(self) -> None:
        """Begin a firmware update beside everything else."""
        self.updating = True
        self._tasks.create_task(self._update())

    async def run(self) -> None:
        """Live for ever; cancel to end."""
        async with self._tasks:
            if self.boot.slots.pending:
                self._tasks.create_task(self._prove())
            while True:
                self._alarm.reset()
                self._watch_hub()
                self._mind_watchdog()
                self._mind_date()
                self._charger.charge.serve_car()
                await self._report()
                await self._rest()

    async def shut_down(self, *, release: bool) -> None:
        """End the hub session in order, as a reboot on purpose does; with `release` give the lease back too."""
        self.usage.save()
        if self.boot.hub is not None:
            await self.boot.hub.close()
        if release:
            await release_lease(self.boot)

    def _watch_hub(self) -> None:
        uplink = self._charger.uplink
        if uplink.online:
            return
        if uplink.hub is not None:
            uplink.hub = None
            why, detail = self.dial.why_lost()
            self._charger.env.trace.emit("device.offline", why=why.value, detail=detail)
        self.dial.start()

    def _mind_watchdog(self) -> None:
        charger = self._charger
        bark = self._watchdog.see(
            asyncio.get_running_loop().time(),
            online=charger.uplink.online,
            link_seen=self.boot.link_seen,
            car=charger.charge.outlet.car is not None,
            charging=charger.charge.machine.state is State.CHARGING,
        )
        if bark is not None and charger.reboot("watchdog", log=_in_words(bark)):
            charger.env.trace.emit("device.watchdog", **asdict(bark))

    def _link_seen(self) -> None:
        """The first link of this life has come up: the watchdog is due sooner. Nothing else is, so nobody wakes."""
        self._mind_watchdog()
        due = self._watchdog.deadline()
        if due is not None:
            self._alarm.bring_forward(due)

    def _mind_date(self) -> None:
        rtc = self._charger.env.rtc
        over = self.usage.turn(rtc.now(), trusted=rtc.trusted)
        if over is not None:
            day = over.day.isoformat()
            self._charger.env.trace.emit("device.data_day", day=day, up=over.up_bytes, down=over.down_bytes)
            self.want(DATA_USAGE)

    async def _greet(self, hub: HubConnection) -> None:
        """Say hello on a new connection (zaptec.md section 4).

        NetError: it has ended, or the hub does not acknowledge. All of it is said again on the next one.
        """
        uplink = self._charger.uplink
        hub.on_message = self._received
        await uplink.subscribe(hub)
        self._connections += 1
        payloads = [event(EventType.INFORMATION, f"Connected: {self._connections}")]
        if not self._greeted:
            uplink.ask_twin(hub, self.boot.spec.profile.hub.first_twin_rid)
            sets = (*GREETING, ECHO, DIAGNOSTICS_LOG)
            payloads += [payload for ids in sets if (payload := self._compose(ids)) is not None]
        elif self._charger.charge.machine.state is State.REQUESTING:
            self.want(REQUEST)  # the cloud may have missed it, or its answer was lost
        delivered = await uplink.deliver(hub, payloads)
        if hub.closed.done():
            raise NetError(NetReason.CLOSED, "the hub ended the session while it was greeted")
        if delivered < len(payloads):
            raise NetError(NetReason.TIMED_OUT, f"PUBACK for {delivered} of {len(payloads)} messages of the greeting")
        if not self._greeted:
            self._charger.diagnostics_log.clear()
        self._greeted = True
        uplink.hub = hub
        self._charger.links.online(self.boot.mode)
        self.boot.local = self._charger.links.in_use
        self.reporter.connected()
        self._charger.env.trace.emit("device.online", connection=self._connections)
        self._charger.updates.resume()

    def _received(self, topic: str, payload: bytes) -> None:
        with until_cut():
            self._take(topic, payload)

    def _take(self, topic: str, payload: bytes) -> None:
        charger, hub = self._charger, self.boot.hub
        charger.uplink.messages_down += 1
        try:
            message = parse_cloud_topic(topic)
        except HubTopicError:
            charger.env.trace.emit("device.ignored", bytes=len(payload))
            return
        match message:
            case MethodCall(name, rid) if hub is not None:
                answer = obey(charger, name, payload)
                if answer.text is not None:
                    charger.uplink.reply(hub, answer.status, rid, answer.text)
                charger.uplink.reply(hub, answer.status, rid)
            case TwinResponse(status):
                charger.env.trace.emit("device.twin", status=status)
                if status == TWIN_OK and charger.configure(parse_desired(payload, whole=True)):
                    self.want(ECHO)
            case DesiredPatch():
                charger.configure(parse_desired(payload, whole=False))
                self.want(ECHO)
            case _:
                pass  # cloud-to-device messages: the charger does not use them

    async def _report(self) -> None:
        charger, now = self._charger, asyncio.get_running_loop().time()
        await charger.uplink.flush()
        for ids in list(self._wanted):
            del self._wanted[ids]
            await self._send(ids)
        for due in self.reporter.due(now, self._sample(), charger.value):
            match due:
                case Report(ids):
                    await self._send(ids)
                case Interval(seconds):
                    told = observation(Observation(PULSE_INTERVAL, str(seconds), charger.env.rtc.now()))
                    self.reporter.announced(seconds, delivered=await charger.uplink.send(told))
                case Beat():
                    await charger.uplink.send(pulse())
        await self._deliver_sessions()

    def _sample(self) -> Sample:
        charger = self._charger
        return Sample(
            online=charger.uplink.usable(asyncio.get_running_loop().time()),
            charging=charger.charge.machine.state is State.CHARGING,
            power_w=charger.charge.outlet.meter.power_w,
            energy_kwh=charger.charge.session_kwh(),
        )

    async def _send(self, ids: tuple[int, ...]) -> None:
        payload = self._compose(ids)
        if payload is not None:
            await self._charger.uplink.send_or_keep(payload)

    def _compose(self, ids: tuple[int, ...]) -> bytes | None:
        charger, items = self._charger, []
        now = charger.env.rtc.now()
        for id_ in ids:
            value = charger.value(id_)
            if value is not None:
                self.reporter.sent(id_, value)
                at = charger.charge.observed_at(value) if id_ == OPERATION_MODE else now
                items.append(Observation(id_, value, at))
        if not items:
            return None
        return observation(items[0]) if len(items) == 1 else collection(items)

    async def _deliver_sessions(self) -> None:
        """Send finished sessions, oldest first, each until the hub has it; the first failure ends the run."""
        charge, uplink = self._charger.charge, self._charger.uplink
        if not charge.sessions_wait or charge.outlet.car is not None or not uplink.online:
            return
        for key in charge.sessions.waiting():
            value, now = charge.sessions.value(key), self._charger.env.rtc.now()
            if not await uplink.send(observation(Observation(COMPLETED_SESSION, value, now))):
                return
            charge.sessions.delivered(key)
            await asyncio.sleep(SESSION_PAUSE_S)
        charge.sessions_wait = bool(charge.sessions.waiting())

    async def _rest(self) -> None:
        now = asyncio.get_running_loop().time()
        times = (
            self.reporter.deadline(now, self._sample()),
            self._charger.charge.outlet.deadline(now),
            self._charger.uplink.deadline(now),
            self._watchdog.deadline(),
            now + until_midnight_s(self._charger.env.rtc.now()),
        )
        await self._alarm.sleep_until(min(time for time in times if time is not None))

    async def _update(self) -> None:
        charger, number = self._charger, self._charger.updates.order.begin()
        result = await upgrade(
            self.boot,
            charger.uplink,
            self._update_firmware,
            charging=lambda: charger.charge.machine.state is State.CHARGING,
            ended=lambda result: self._update_ended(result, number),
        )
        charger.updates.order.carried_out(number)
        firmware = self.boot.spec.profile.firmware
        if isinstance(result, Installed) or (firmware.updater == "go" and not self.updating):
            charger.reboot("update", after_s=firmware.restart_delay_s)  # the Go does so after a rejection too

    def _update_ended(self, result: Result, number: int) -> None:
        """From here on a new order is taken, unless there is something to boot."""
        charger = self._charger
        charger.updates.order.settle(number)
        if isinstance(result, Rejected):
            self.updating = False
            charger.updates.images.fail(result.version, charger.env.rtc.now(), result.reason.value)

    async def _prove(self) -> None:
        """Give up an image that is not confirmed in time: the boot after this one runs the one before."""
        await asyncio.sleep(self.boot.spec.profile.firmware.confirm_timeout_s)
        if self.boot.slots.pending:
            version = self.boot.slots.running.version
            self._charger.reboot("firmware not confirmed", log=f"firmware {version} not confirmed")


def _in_words(bark: Bark) -> str:
    """The text of observation 807; its form is invented."""
    ages = (("no car for", bark.no_car_s), ("no charging for", bark.idle_s))
    conditions = [f"{words} {age_s:.0f} s" for words, age_s in ages if age_s is not None]
    return f"watchdog: no hub for {bark.offline_s:.0f} s, {', '.join(conditions)}"
