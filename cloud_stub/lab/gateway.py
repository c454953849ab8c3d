"""The site's router at work: its nftables, its memory of flows, and the faults that strike there."""

import asyncio
import subprocess
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from random import Random
from typing import Any

from pyroute2 import NFCTSocket

from cloud_stub.lab import nft
from cloud_stub.lab.network import set_kernel
from cloud_stub.lab.nft import Translation
from cloud_stub.lab.nft_faults import TAKEN, Scene, name_of, table_of
from cloud_stub.lab.programs import program_path
from cloud_stub.topology import Topology
from emulator.errors import UsageError
from emulator.faults import Fault, FaultSet, Injected, fault_from
from emulator.net.detour import Intercept
from emulator.net.firewall import AllowOnly, Block, Hosts, parse_allowed
from emulator.net.namespace import Namespace, enter_in_child, entered
from emulator.net.nat import NatReboot
from emulator.net.path import MtuBlackHole
from emulator.net.place import Router

NFT_S = 10.0


class Gateway:
    """The router in `namespace`. `names` are the hosts that faults may name; `link_address` that of a serial."""

    def __init__(
        self,
        namespace: Namespace,
        topology: Topology,
        names: Mapping[str, tuple[str, ...]],
        link_address: Callable[[str], str],
        *,
        router: Router,
        translation: Translation,
        rng: Random,
        now: Callable[[], float],
    ) -> None:
        self._namespace = namespace
        self._hosts = Hosts(names)
        self._link_address = link_address
        self._faults = FaultSet(rng, now)
        self._timers: dict[int, asyncio.TimerHandle] = {}
        self._is_open = False
        self._scene = Scene(
            addresses=lambda host: names.get(host, (host,)),
            link_address=link_address,
            portal=topology.portal,
            proxy=topology.proxy,
            stray=router.stray,
        )
        self._rules = nft.ruleset(topology, router, translation)
        self._settings = nft.settings(router, translation)

    def open(self) -> None:
        """Load the rules. UsageError: no nftables, or a kernel that does not take them."""
        self._load(self._rules)
        set_kernel(self._namespace, self._settings)
        self._is_open = True

    def close(self) -> None:
        """Stop the clocks of faults; the rules go with the namespace, and so there is nothing left to heal."""
        self._is_open = False
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    def inject(self, data: Mapping[str, Any], *, where: str) -> "Breakage":
        """Make one of `TAKEN` active. UsageError starts with `where`."""
        fault = fault_from(data, TAKEN, where=where)
        try:
            self._check(fault)
            number = self._faults.injected
            injected = self._faults.inject(fault)
        except UsageError as error:
            raise UsageError(f"{where}: {error}") from None
        try:
            self._load(table_of(fault, number, self._scene))
        except UsageError:
            injected()
            raise
        if isinstance(fault, NatReboot):
            self._forget(fault.who)
        broken = Breakage(injected, lambda: self._heal(number))
        if fault.for_s is not None:
            self._timers[number] = asyncio.get_running_loop().call_later(fault.for_s, broken)
        return broken

    def _check(self, fault: Fault) -> None:
        match fault:
            case AllowOnly():
                self._hosts.check(*(parse_allowed(entry).host for entry in fault.allow))
            case Intercept():
                self._hosts.check(*fault.hosts)
            case Block() | MtuBlackHole():
                self._hosts.check(fault.host)
        if fault.who != "*":
            self._link_address(fault.who)

    def _heal(self, number: int) -> None:
        timer = self._timers.pop(number, None)
        if timer is not None:
            timer.cancel()
        if self._is_open:
            self._load(f"delete table inet {name_of(number)}")

    def _forget(self, who: str) -> None:
        """Lose the rows of a charger, ``*`` for all."""
        mark = None if who == "*" else nft.mark_of(self._link_address(who))

        def flush() -> None:
            with entered(self._namespace), NFCTSocket() as kernel:
                kernel.flush(mark=mark, mark_mask=None if mark is None else 0xFFFFFFFF)

        with ThreadPoolExecutor(1) as apart:  # the library runs an event loop, and a thread can have but one
            apart.submit(flush).result()

    def _load(self, rules: str) -> None:
        """One step, all or nothing."""
        try:
            done = subprocess.run(  # noqa: S603 - our own program and text
                [program_path("nft", "nftables"), "-f", "-"],
                input=rules.encode(),
                capture_output=True,
                timeout=NFT_S,
                check=False,
                preexec_fn=enter_in_child(self._namespace),
            )
        except subprocess.TimeoutExpired:
            raise UsageError(f"nft: has not ended in {NFT_S:.0f} s") from None
        if done.returncode != 0:
            words = done.stderr.decode(errors="replace").strip().splitlines()
            raise UsageError(f"nft: {words[0] if words else f'ended with {done.returncode}'}")


class Breakage:
    """A fault at the router. Calling it takes the fault back, and may be done twice: it is an `Undo`."""

    __slots__ = ("_heal", "_injected")

    def __init__(self, injected: Injected, heal: Callable[[], None]) -> None:
        self._injected = injected
        self._heal: Callable[[], None] | None = heal

    def __call__(self) -> None:
        heal, self._heal = self._heal, None
        self._injected()
        if heal is not None:
            heal()

    @property
    def active(self) -> bool:
        """Not taken back, and its time is not over. How often it has struck, only the kernel knows."""
        return self._injected.active
