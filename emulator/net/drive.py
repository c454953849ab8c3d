"""Runs a pure datagram machine over a socket until it returns a result."""

import asyncio

from emulator.machines.effects import DatagramMachine, Effect, Send
from emulator.net.api import Datagrams


async def drive(machine: DatagramMachine, socket: Datagrams, effects: list[Effect] | None = None) -> Effect:
    """Send what the machine asks for, feed it what arrives, wake it at its deadlines; returns its first other effect.

    Begins with `effects` if given, else with `machine.start`.
    """
    loop = asyncio.get_running_loop()
    pending = machine.start(loop.time()) if effects is None else effects
    while True:
        for effect in pending:
            if not isinstance(effect, Send):
                return effect
            socket.send(effect.data, effect.to)
        try:
            async with asyncio.timeout_at(machine.deadline()):
                data, sender = await socket.receive()
        except TimeoutError:
            pending = machine.wake(loop.time())
        else:
            pending = machine.receive(data, sender, loop.time())
