"""A time server of the pool (RFC 5905, server mode only)."""

from collections.abc import Callable
from random import Random
from typing import ClassVar

from cloud_stub.service import DatagramService, Reply, WhoIs
from cloud_stub.site.ntp_faults import DISTORTIONS, FAULTS, Garbage, NtpFault, Silence, Slow, Spoofed, moved
from emulator.clock import Utc
from emulator.faults import Fault, Injected
from emulator.net.api import Address, Datagrams, Host
from emulator.wire.ntp import CLIENT, SERVER, NtpError, NtpPacket, decode, encode, timestamp

STRATUM = 2  # invented, as is everything else that a pool server says about itself
PRECISION = -20
ROOT_DELAY_S, ROOT_DISPERSION_S = 0.015625, 0.03125
REFERENCE_ID = bytes((127, 127, 1, 0))
GARBAGE_MAX_BYTES = 47  # one less than a packet


class NtpServer(DatagramService):
    """Answers every client with the time of `utc`.

    `label` tells several servers apart, `who_is` the chargers, for faults of one of them.
    """

    name = "ntp"
    port = 123
    FAULTS: ClassVar[tuple[type[Fault], ...]] = FAULTS

    def __init__(self, *, label: str, rng: Random, utc: Utc, now: Callable[[], float], who_is: WhoIs = str) -> None:
        super().__init__(rng=rng, utc=utc, now=now)
        self.label = label
        self._who_is = who_is
        self._forger: Datagrams | None = None

    async def start(self, host: Host) -> None:
        """As every service; a second socket is where forged answers come from."""
        self._forger = await host.udp()
        await super().start(host)

    async def stop(self) -> None:
        if self._forger is not None:
            self._forger.close()
            self._forger = None
        await super().stop()

    def inject(self, fault: Fault) -> Injected:
        """As every service's, but a fault of another server is none of ours: nothing happens."""
        if isinstance(fault, NtpFault) and fault.server not in ("*", self.label):
            return self.faults.nothing()
        return super().inject(fault)

    def answer(self, request: bytes, sender: Address) -> list[Reply]:
        try:
            asked = decode(request)
        except NtpError:
            return []
        if asked.mode != CLIENT:
            return []
        who, truth = self._who_is(sender.host), self._truth(asked)
        self._forge(truth, sender, who)
        text, data = self._said(truth, who)
        self.record(sender, f"TIME v{asked.version}", text, server=self.label)
        if data is None:
            return []
        slow = self.faults.strikes(Slow, who)
        return [Reply(data, sender, slow.delay_s if slow else 0.0)]

    def _truth(self, asked: NtpPacket) -> NtpPacket:
        now = timestamp(self.utc())
        return NtpPacket(
            mode=SERVER,
            version=asked.version,
            stratum=STRATUM,
            poll=asked.poll,
            precision=PRECISION,
            root_delay_s=ROOT_DELAY_S,
            root_dispersion_s=ROOT_DISPERSION_S,
            reference_id=REFERENCE_ID,
            reference=now,
            origin=asked.transmitted,
            received=now,
            transmitted=now,
        )

    def _said(self, truth: NtpPacket, who: str) -> tuple[str, bytes | None]:
        """What the history says of the answer, and the answer."""
        if self.faults.strikes(Silence, who):
            return "silence", None
        if self.faults.strikes(Garbage, who):
            return "garbage", self.rng.randbytes(self.rng.randint(1, GARBAGE_MAX_BYTES))
        wrong = [fault for cls in DISTORTIONS if (fault := self.faults.strikes(cls, who))]
        said = truth
        for fault in wrong:
            said = fault.applied(said)
        words = [self.utc().isoformat(), *(fault.kind.partition(".")[2] for fault in wrong)]
        return (" ".join(words) if said.stratum else f"KISS {said.kiss_code}"), encode(said)

    def _forge(self, truth: NtpPacket, sender: Address, who: str) -> None:
        forged = self.faults.strikes(Spoofed, who)
        if forged and self._forger is not None:
            self._forger.send(encode(moved(truth, forged.offset_s)), sender)
