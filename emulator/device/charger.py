"""The charger: power, bench, and what it knows of itself; `device.life` does the talking. It never listens (M1)."""

import asyncio
from collections.abc import Mapping
from typing import Any

from emulator.boot.login import Login
from emulator.boot.sequence import BootReport
from emulator.boot.stages import BOOT
from emulator.boot.state import Boot
from emulator.boot.trust import order_bundle
from emulator.device.car import Car
from emulator.device.card import Shown, tag_of
from emulator.device.charge import Charge
from emulator.device.diagnostics_log import DiagnosticsLog
from emulator.device.dial import Sequence
from emulator.device.faults import FAULTS, DeviceFault
from emulator.device.life import Life
from emulator.device.light import light_of
from emulator.device.local_settings import LinkChange, LocalSettings
from emulator.device.observations import CARD_SHOWN, ECHO, OBSERVATIONS, STARTUP
from emulator.device.outbox import Outbox
from emulator.device.session import Identity
from emulator.device.settings import Settings
from emulator.device.snapshot import PowerOn, Snapshot
from emulator.device.update import update_firmware
from emulator.device.updates import Updates
from emulator.device.upgrade import UpdateFirmware
from emulator.device.uplink import Uplink
from emulator.device.usage import DayUsage
from emulator.env import Env, Spec
from emulator.errors import UsageError
from emulator.faults import Undo, fault_from
from emulator.flash.faulty import until_cut
from emulator.local import Local, Mode
from emulator.net.meter import Usage
from emulator.slots import Return, Slots
from emulator.wire.dhcp import Lease

LIVES_MAX = 16
"""How many power-ons and boot reports are remembered."""
LIMIT_SETTINGS = frozenset({510, 711, 800})
ROUTING_SETTINGS = frozenset({800, 801})


class Charger:
    """One charger. Make it, `run` it in a task, and handle it from the same event loop."""

    def __init__(
        self, spec: Spec, env: Env, *, sequence: Sequence = BOOT, update: UpdateFirmware = update_firmware
    ) -> None:
        self.spec: Spec = spec
        self.env: Env = env
        self.settings: Settings = Settings(env.flash, spec.profile)
        self.links: LinkChange = LinkChange(LocalSettings(env.flash, spec.local), self._redial, env.trace)
        self.charge: Charge = Charge(env, spec.profile.electrical, self.settings, self._changed)
        outbox = Outbox(env.flash, spec.profile.telemetry.outbox_max, self._skipped)
        self.uplink: Uplink = Uplink(env, spec.profile.hub, outbox)
        self.updates: Updates = Updates(
            env, spec.profile.firmware, outbox, free=self._free, car=lambda: self.charge.outlet.car is not None
        )
        self.diagnostics_log: DiagnosticsLog = DiagnosticsLog(env.flash)
        self.boots: list[BootReport] = []
        """One report per power-on, reconnections included; the last one grows."""
        self.power_ons: list[PowerOn] = []
        self.started_by: str = "power-on"
        self.firmware: str = Slots(env.flash, spec.profile.firmware).running.version
        self._sequence = sequence
        self._update = update
        self._key = spec.key
        self._life: Life | None = None
        self._scope: asyncio.Timeout | None = None
        self._mains_back: asyncio.Event | None = None
        self._cuts = 0
        self._starts = 0
        self._rebooting = False
        self._running = self._shutting_down = False
        self._ended: asyncio.Event | None = None

    async def run(self) -> None:
        """Boot, serve, reboot, until `shut_down` or cancellation; then its link is down."""
        self._running, self._shutting_down = True, False
        try:
            while not self._shutting_down:
                if self._mains_back is not None:
                    await self._mains_back.wait()
                else:
                    await self._live()
            self.env.trace.emit("device.shut_down", data=self.data.as_json())
        finally:
            self._running = False
            if self._ended is not None:
                self._ended.set()
                self._ended = None

    async def shut_down(self) -> None:
        """End in order: DISCONNECT, the lease given back, the link down; then `run` returns. Takes some two seconds.

        Nothing happens to a charger that does not run. To cancel `run` is to pull the plug.
        """
        if not self._running:
            return
        self._shutting_down = True
        self._ended = self._ended or asyncio.Event()
        if self._scope is not None and not self._scope.expired():
            self._rebooting = True
            self._scope.reschedule(asyncio.get_running_loop().time())
        if self._mains_back is not None:
            self._mains_back.set()
        await self._ended.wait()

    def reboot(self, reason: str, *, after_s: float = 0.0, log: str | None = None) -> bool:
        """Start again in `after_s` seconds: RAM is lost, flash and car stay. False: off, or about to reboot already.

        `log` is kept for the cloud, which hears of it after the reboot (807).
        """
        if self._scope is None or self._rebooting:
            return False
        self._rebooting, self.started_by = True, reason
        if log is not None:
            with until_cut():
                self.diagnostics_log.note(log)
        self._scope.reschedule(asyncio.get_running_loop().time() + after_s)
        self.env.trace.emit("device.reboot", reason=reason, after_s=after_s)
        return True

    def cut_power(self) -> None:
        """Take the mains away. Cuts add up: each wants its `restore_power`. A write to flash may be what is cut."""
        self._cuts += 1
        self._mains_back = self._mains_back or asyncio.Event()
        self.env.rtc.power_cut()
        if self._scope is not None and not self._scope.expired():
            self._rebooting, self.started_by = True, "power cut"
            self._scope.reschedule(asyncio.get_running_loop().time())
            self.env.trace.emit("device.power_cut")

    def restore_power(self) -> None:
        """Take one `cut_power` back."""
        self._cuts -= 1
        if self._cuts == 0 and self._mains_back is not None:
            self._mains_back.set()
            self._mains_back = None

    def plug_in(self, car: Car) -> None:
        """Connect a car. UsageError: there is one already."""
        with until_cut():
            self.charge.plug_in(car)

    def unplug(self) -> None:
        """Take the car away. UsageError: there is none."""
        with until_cut():
            self.charge.unplug()
            self.updates.car_gone()

    def show_card(self, uid: str) -> Shown:
        """Hold an RFID card with this UID (hex) to the charger. UsageError: cards have no such UID."""
        tag = tag_of(uid)
        shown = Shown.NO_POWER if self._life is None else self.charge.cards.show(tag)
        self.env.trace.emit("device.card", shown=shown.value)
        if shown in (Shown.WAITS, Shown.REPORTED):
            self.report_user()
        return shown

    def inject(self, fault: DeviceFault | Mapping[str, Any], *, where: str = "fault") -> Undo:
        """Break something, by a fault or its description. UsageError starts with `where`."""
        struck = fault if isinstance(fault, DeviceFault) else fault_from(fault, FAULTS, where=where)
        assert isinstance(struck, DeviceFault)  # noqa: S101 - FAULTS has no others
        try:
            undo = struck.inject(self)
        except UsageError as error:
            raise UsageError(f"{where}: {error}") from None
        self.env.trace.emit("device.fault", kind=struck.kind)
        if struck.for_s is not None:
            asyncio.get_running_loop().call_later(struck.for_s, undo)
        return undo

    def use_key(self, key: bytes) -> None:
        """Log in with this key from now on."""
        self._key = key
        if self._life is not None:
            self._life.boot.login.key = key

    def configure(self, desired: Mapping[str, Any]) -> bool:
        """Take over settings from the twin. False: nothing changed."""
        changed = self.settings.apply(desired)
        if changed:
            self.env.trace.emit("device.settings", changed=sorted(changed))
        if self._life is not None and changed & ROUTING_SETTINGS:
            self._route(self._life.boot.login)
        if changed & LIMIT_SETTINGS:
            self.charge.limit()
        return bool(changed)

    def configure_local(
        self, changes: Mapping[str, Any], *, where: str = "local", after_s: float = 0.0
    ) -> frozenset[str]:
        """Set what the installer sets (M18), as keys of `Local`; the result are the keys that are others now.

        A link that they are about is dialled anew in `after_s` seconds; in diagnostics mode (setting 805) it has to
        prove itself. UsageError starts with `where`.
        """
        testing = self._life is not None and self.settings[805] != "0"
        changed = frozenset[str]()
        with until_cut():
            changed = self.links.change(changes, where=where, testing=testing, after_s=after_s)
        return changed

    @property
    def local(self) -> Local:
        """What the installer has set."""
        return self.links.set

    @property
    def link(self) -> Mode:
        """The kind of link that came up last, or the one that is set."""
        linked_by = self._life.boot.linked_by if self._life is not None else None
        return linked_by or self.local.mode

    @property
    def lease(self) -> Lease | None:
        """The address on loan; None: none, or off."""
        return self._life.boot.lease if self._life is not None else None

    def redial(self, *, after_s: float = 0.0) -> None:
        """Give the link up in `after_s` seconds and connect anew."""
        self.links.redial(after_s=after_s)

    def report_all(self) -> None:
        """Send startup set and settings once more."""
        if self._life is not None:
            self._life.want(STARTUP, ECHO)

    def report_user(self) -> None:
        """Tell the cloud whose card was shown, and how the charge stands."""
        if self._life is not None:
            self._life.want(*CARD_SHOWN)

    def update_when_free(self) -> None:
        """Update the firmware now, or when the car has left. Nothing happens while an update is under way."""
        self.updates.when_free()

    def update_now(self) -> bool:
        """Update the firmware. False: off, or an update or a reboot is under way."""
        return self.updates.now()

    def go_back(self, to: Return) -> bool:
        """Boot an older image. False: there is none, or it is not the time for it."""
        image, after_s = self.updates.go_back(to), self.spec.profile.firmware.restart_delay_s
        return image is not None and self.reboot(f"back to {image.version}", after_s=after_s)

    def update_bundle(self, version: int | None = None) -> bool:
        """Ask for the trust bundle now; with `version` for that one, newer or not. False: off."""
        if self._life is None:
            return False
        order_bundle(self._life.boot, override=version)
        return True

    @property
    def bundle_version(self) -> int | None:
        """Version of the trust bundle in force (823), or that of the built-in roots; None: off."""
        return self._life.boot.trust.version if self._life is not None else None

    def value(self, observation: int) -> str | None:
        """The value of an observation now, as text; None when it has none."""
        return OBSERVATIONS[observation].read(self)

    @property
    def messages_up(self) -> int:
        """Messages to the hub, since this object was made."""
        return self.uplink.messages_up

    @property
    def messages_down(self) -> int:
        """Messages from the hub, since this object was made."""
        return self.uplink.messages_down

    @property
    def data(self) -> Usage:
        """Bytes over the link, since this object was made."""
        return self.env.meter.usage()

    @property
    def data_days(self) -> tuple[DayUsage, ...]:
        """Bytes per day, as the charger has written them down; none while it is off."""
        return () if self._life is None else self._life.usage.days

    @property
    def reset_source(self) -> str:
        """811 and 815: 1 power-on, 3 restart by software, as the Go counts."""
        return "1" if self.started_by in ("power-on", "power cut") else "3"

    def snapshot(self) -> Snapshot:
        """Everything worth seeing, as values."""
        charge, uplink, interface = self.charge, self.uplink, self.env.host.interface
        session = charge.sessions.current
        return Snapshot(
            serial=self.spec.serial,
            powered=self._life is not None,
            online=uplink.online,
            address=interface.address if interface is not None else None,
            state=charge.machine.state.value,
            operation_mode=int(charge.machine.operation_mode),
            charge_mode=int(charge.machine.charge_mode),
            car_connected=charge.outlet.car is not None,
            session_id=session.session_id if session is not None else None,
            granted_a=charge.machine.granted_a,
            phases=charge.machine.phases,
            power_w=charge.outlet.meter.power_w,
            session_kwh=charge.session_kwh(),
            firmware=self.firmware,
            updating=self._life is not None and self._life.updating,
            light=self._light(),
            power_ons=self._starts,
            messages_up=uplink.messages_up,
            messages_down=uplink.messages_down,
            data=self.data,
            outbox=len(uplink.outbox),
            outbox_dropped=uplink.outbox.dropped,
            sessions_waiting=len(charge.sessions.waiting()),
            sessions_lost=charge.sessions.lost,
            clock=self.env.rtc.now(),
            clock_trusted=self.env.rtc.trusted,
        )

    def _light(self) -> str:
        if self._life is None:
            return "off"
        state = self.charge.machine.state
        return light_of(state, updating=self._life.updating, online=self.uplink.online).value

    async def _live(self) -> None:
        with until_cut():
            life = self._power_on()
            try:
                async with asyncio.timeout(None) as self._scope:
                    await life.run()
            except TimeoutError:
                if not self._rebooting:
                    raise  # not the end of our scope: a fault of the firmware
                if self._cuts == 0:
                    await life.shut_down(release=self._shutting_down)
            finally:
                self._power_off(life)

    def _power_on(self) -> Life:
        self.env.flash.mount()
        for memory in (self.settings, self.links, self.charge.sessions, self.uplink.outbox, self.updates.order):
            memory.recall()
        slots = Slots(self.env.flash, self.spec.profile.firmware)
        before, booted = self.firmware, slots.boot()
        self.firmware = booted.version
        self._starts += 1
        self.env.rtc.power_on()
        self._rebooting = False
        self.power_ons.append(PowerOn(self.started_by, before, booted.version, booted.slot, booted.rolled_back))
        self.env.trace.emit(
            "device.power_on", reason=self.started_by, firmware=booted.version, slot=booted.slot, boot=self._starts
        )
        login = Login.of(self.spec)
        login.key = self._key
        self._route(login)
        boot = Boot(self.spec, self.env, slots, login)
        boot.mainboard, boot.image_updates = self.updates.mainboard, self.updates.images
        boot.local = self.links.in_use
        boot.car_connected = lambda: self.charge.outlet.car is not None
        boot.reboot = lambda reason: self.reboot(reason, log=reason)
        now = asyncio.get_running_loop().time()
        self._life = life = Life(self, boot, now, sequence=self._sequence, update_firmware=self._update)
        self.boots.append(life.dial.report)
        del self.boots[:-LIVES_MAX], self.power_ons[:-LIVES_MAX]
        self.charge.power_on(Identity(self.spec.serial, self.firmware))
        life.reporter.prime(self.value, self.charge.session_kwh())
        self.updates.booted(slots)
        return life

    def _free(self) -> Life | None:
        return None if self._life is None or self._life.updating or self._rebooting else self._life

    def _power_off(self, life: Life) -> None:
        self._life = self._scope = self.uplink.hub = None
        self.charge.power_off()
        self.links.power_off()
        self.env.host.link_down(power_cycle=self._cuts > 0)
        if life.boot.hub is not None:
            life.boot.hub.abort()

    def _redial(self) -> None:
        if self._life is not None:
            self._life.redial(self.links.in_use)

    def _skipped(self, key: str) -> None:
        self.env.trace.emit("device.outbox_skipped", key=key)

    def _changed(self) -> None:
        if self._life is not None:
            self._life.wake()

    def _route(self, login: Login) -> None:
        login.installation_id, login.routing_id = self.settings[800], self.settings[801]
        self.uplink.topic = login.events_topic
