"""Frames of a real interface, in a namespace of its own: both ways, with the kernel's times, through downs and ups."""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from emulator.clock import system_utc
from emulator.errors import UsageError
from emulator.net.capture import Capture, CaptureFiles, nanoseconds_of
from emulator.net.linux_interface import ask_kernel
from emulator.net.namespace import Namespace, entered, new_namespace
from tests.captures import CaptureRead, read_capture

pytestmark = pytest.mark.needs("root")

Story = Callable[[Capture, Namespace], Awaitable[None]]


def set_lo(namespace: Namespace, state: str) -> None:
    ask_kernel(namespace, lambda kernel: kernel.link("set", index=1, state=state))


def captured(path: Path, story: Story) -> CaptureRead:
    with new_namespace() as namespace:
        capture = Capture(CaptureFiles(path), print)
        try:
            asyncio.run(_told(story, capture, namespace))
        finally:
            capture.close()
    return read_capture(path.read_bytes())


async def _told(story: Story, capture: Capture, namespace: Namespace) -> None:
    await story(capture, namespace)


def send(namespace: Namespace, data: bytes) -> None:
    with entered(namespace), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(data, ("127.0.0.1", 9))


def test_a_frame_is_seen_both_ways_at_its_time_even_if_the_loop_is_busy_until_the_end(tmp_path: Path) -> None:
    async def story(capture: Capture, namespace: Namespace) -> None:
        set_lo(namespace, "up")
        capture.sniff("lo", system_utc, namespace=namespace, name="wire")
        send(namespace, b"hello")

    before_ns = nanoseconds_of(system_utc)
    read = captured(tmp_path / "x.pcapng", story)
    assert read.interfaces == ["wire"]
    hello = [packet for packet in read.packets if str(packet)[2:] == "udp 5"]
    assert [str(packet)[0] for packet in hello] == [">", "<"]
    assert all(before_ns <= packet.time_ns <= nanoseconds_of(system_utc) for packet in hello)
    assert read.counts == [(len(read.packets), 0)]


def test_an_interface_may_be_down_and_go_down_and_up(tmp_path: Path) -> None:
    async def story(capture: Capture, namespace: Namespace) -> None:
        capture.sniff("lo", system_utc, namespace=namespace)
        for number in range(3):
            await asyncio.sleep(0.1)
            set_lo(namespace, "up")
            send(namespace, bytes(number + 1))
            await asyncio.sleep(0.1)
            set_lo(namespace, "down")

    told = captured(tmp_path / "x.pcapng", story).told
    assert [line for line in told if line.startswith("> udp")] == ["> udp 1", "> udp 2", "> udp 3"]


def test_what_is_seen_is_on_the_disk_soon_after(tmp_path: Path) -> None:
    path = tmp_path / "x.pcapng"

    async def story(capture: Capture, namespace: Namespace) -> None:
        set_lo(namespace, "up")
        capture.sniff("lo", system_utc, namespace=namespace)
        send(namespace, b"hello")
        await asyncio.sleep(0.3)
        assert "> udp 5" in read_capture(path.read_bytes()).told

    captured(path, story)


def test_an_interface_that_is_not_there_is_named(tmp_path: Path) -> None:
    async def story(capture: Capture, namespace: Namespace) -> None:
        with pytest.raises(UsageError, match="--pcap: interface eth7: No such device"):
            capture.sniff("eth7", system_utc, namespace=namespace)

    captured(tmp_path / "x.pcapng", story)
