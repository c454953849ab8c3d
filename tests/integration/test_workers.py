"""``cloud_stub up --workers 2``: several endpoint processes behind one port are one hub to devices and to callers."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from emulator.wire.mqtt import ConnAck, PubAck, Publish, SubAck
from tests.hub.badge import Badge, subscribe
from tests.hub.dialled import WITHIN_S, BackEnd, Dialled, badge
from tests.programs import CloudProgram, Ended, Program, descendants, left_over, up

pytestmark = pytest.mark.needs("mosquitto")

WORKERS = 2
DIALS_MAX = 40
"""Connections until two have met different workers: by chance it fails once in 2 ** 39 runs."""
METHODS, DESIRED = "$iothub/methods/POST/#", "$iothub/twin/PATCH/properties/desired/#"
SERIALS = (f"ZPR{number:06}" for number in count(1))


@pytest.fixture(scope="module")
def cloud() -> Iterator[CloudProgram]:
    with CloudProgram("--workers", str(WORKERS), "--bus", "lean") as running:
        yield running
        children = descendants(running.pid)
        assert len(children) == WORKERS + 1
        running.press_ctrl_c()
        assert running.ended() == Ended(0, "", "")
        assert left_over(children) == []


@pytest.fixture
def one(cloud: CloudProgram) -> Badge:
    """A device of its own for each story."""
    return badge(cloud, next(SERIALS))


def until(true: Callable[[], Any], within_s: float = WITHIN_S) -> Any:
    """Ask again and again until the answer is yes."""
    deadline = time.monotonic() + within_s  # noqa: TID251 - a running cloud has real time
    while not (answer := true()):
        assert time.monotonic() < deadline, "it never came true"  # noqa: TID251 - as above
    return answer


def clients(cloud: CloudProgram) -> dict[str, Any]:
    counted: dict[str, Any] = cloud.call("GET", "/clients")[1]
    return counted


def online(cloud: CloudProgram, one: Badge) -> bool:
    return bool(cloud.call("GET", f"/devices/{one.device_id}")[1]["online"])


def emptied(back_end: BackEnd, one: Badge) -> bool:
    return bool(back_end.call("GET", f"/twins/{one.device_id}")[1]["cloudToDeviceMessageCount"] == 0)


def worker_of(cloud: CloudProgram, caller: Dialled) -> str:
    """The label of the worker that has this connection."""
    history = cloud.call("GET", "/history/hub")[1]["history"]
    (seen,) = [each["data"] for each in history if each["sender"] == caller.address and each["data"]["event"] == "tcp"]
    return str(seen["worker"])


def on_both_workers(cloud: CloudProgram, stack: ExitStack) -> tuple[Dialled, Dialled]:
    """Two connections, not logged in yet, that different processes have accepted."""
    first = stack.enter_context(Dialled(cloud))
    home = worker_of(cloud, first)
    for _ in range(DIALS_MAX):
        second = stack.enter_context(Dialled(cloud))
        if worker_of(cloud, second) != home:
            return first, second
    raise AssertionError(f"{DIALS_MAX} connections all came to worker {home}")


def test_the_kernel_spreads_devices_over_workers_and_counters_are_added_up(cloud: CloudProgram) -> None:
    with ExitStack() as stack:
        callers = [stack.enter_context(Dialled(cloud)) for _ in range(24)]
        for caller in callers:
            one = badge(cloud, next(SERIALS))
            assert caller.log_in(one).code == 0
            caller.send(Publish(one.events, b"{}", qos=1, packet_id=1))
        assert [caller.next(PubAck) for caller in callers] == [PubAck(1)] * 24
        counted = clients(cloud)
        shares = [worker["online"] for worker in counted["workers"]]
        assert len(shares) == WORKERS and all(shares) and sum(shares) == counted["online"] == 24
        assert counted["connections"] == 24 and until(lambda: clients(cloud)["messages_up"] >= 24)
    assert until(lambda: clients(cloud)["connections"] == 0)


def test_a_method_reaches_the_worker_that_has_the_device(cloud: CloudProgram) -> None:
    with ExitStack() as stack, ThreadPoolExecutor() as threads:
        for caller in on_both_workers(cloud, stack):
            one = badge(cloud, next(SERIALS))
            caller.log_in(one, METHODS)
            assert until(partial(online, cloud, one))
            call = threads.submit(cloud.call, "POST", f"/devices/{one.device_id}/methods/503", {"payload": [1]})
            asked = caller.next(Publish)
            rid = asked.topic.rpartition("=")[2]
            caller.send(Publish(f"$iothub/methods/res/207/?$rid={rid}", b'"done"'))
            assert call.result(WITHIN_S) == (200, {"status": 207, "payload": "done"})


def test_a_newer_connection_at_another_worker_closes_the_older(cloud: CloudProgram, one: Badge) -> None:
    with ExitStack() as stack:
        first, second = on_both_workers(cloud, stack)
        assert first.log_in(one).code == 0
        assert second.log_in(one).code == 0
        assert first.rest() == b""
        second.send(Publish(one.events, b"{}", qos=1, packet_id=5))
        assert second.next(PubAck) == PubAck(5) and online(cloud, one)
        history = cloud.call("GET", "/history/hub")[1]["history"]
        ends = [each["reply"] for each in history if each["sender"] == first.address]
        assert ends[-1] == "takeover"


def test_a_stored_session_is_known_to_every_worker(cloud: CloudProgram, one: Badge) -> None:
    with ExitStack() as stack:
        first, second = on_both_workers(cloud, stack)
        assert first.log_in(one, METHODS, clean_session=False) == ConnAck(False, 0)
        assert second.log_in(one, clean_session=False) == ConnAck(True, 0)


def test_a_change_of_the_twin_is_made_and_pushed_once(cloud: CloudProgram) -> None:
    with ExitStack() as stack:
        for caller in on_both_workers(cloud, stack):
            one = badge(cloud, next(SERIALS))
            caller.log_in(one, DESIRED)
            for number in (2, 3):
                cloud.call("PATCH", f"/devices/{one.device_id}/desired", {"a": number})
                assert caller.next(Publish).topic.endswith(f"?$version={number}")


def test_a_c2d_message_reaches_the_worker_that_has_the_device(cloud: CloudProgram) -> None:
    with ExitStack() as stack, BackEnd(cloud) as back_end:
        for caller in on_both_workers(cloud, stack):
            one = badge(cloud, next(SERIALS))
            caller.log_in(one, f"devices/{one.device_id}/messages/devicebound/#")
            status, sent = back_end.call("POST", f"/stub/devices/{one.device_id}/messages/devicebound", {"body": "hi"})
            assert (status, sent["queued"]) == (200, True)
            message = caller.next(Publish)
            assert message.payload == b"hi" and message.qos == 1
            caller.send(PubAck(message.packet_id))
            assert until(partial(emptied, back_end, one))


def test_a_device_that_is_disabled_or_deleted_is_dropped_by_whoever_has_it(cloud: CloudProgram) -> None:
    with ExitStack() as stack, BackEnd(cloud) as back_end:
        first, second = on_both_workers(cloud, stack)
        disabled, deleted = badge(cloud, next(SERIALS)), badge(cloud, next(SERIALS))
        assert first.log_in(disabled).code == 0 and second.log_in(deleted).code == 0
        path = f"/devices/{disabled.device_id}"
        device = back_end.call("GET", path)[1]
        status, _ = back_end.call("PUT", path, {**device, "status": "disabled"}, **{"If-Match": "*"})
        assert status == 200 and first.rest() == b""
        status, _ = back_end.call("DELETE", f"/devices/{deleted.device_id}", **{"If-Match": "*"})
        assert status == 204 and second.rest() == b""
        for caller in on_both_workers(cloud, stack):
            assert caller.log_in(disabled).code == 5
        for caller in on_both_workers(cloud, stack):
            assert caller.log_in(deleted).code == 5


def test_faults_go_to_all_workers_and_one_that_strikes_once_does_so_once(cloud: CloudProgram) -> None:
    with ExitStack() as stack:
        status, fault = cloud.call("POST", "/faults", {"kind": "hub.connack", "code": 3})
        assert status == 201
        for caller in on_both_workers(cloud, stack):
            assert caller.log_in(badge(cloud, next(SERIALS))).code == 3
        cloud.call("DELETE", f"/faults/{fault['id']}")
        cloud.call("POST", "/faults", {"kind": "hub.connack", "code": 3, "count": 1})
        pair = on_both_workers(cloud, stack)
        codes = [pair[0].log_in(badge(cloud, next(SERIALS))).code]
        assert until(lambda: cloud.call("GET", "/faults")[1]["faults"] == [])
        codes.append(pair[1].log_in(badge(cloud, next(SERIALS))).code)
        assert codes == [3, 0]


def test_a_fault_that_cannot_name_a_device_is_refused_as_by_one_process(cloud: CloudProgram) -> None:
    status, answer = cloud.call("POST", "/faults", {"kind": "hub.silent", "who": "ZPR000001"})
    assert status == 400 and "strikes before a device has said who it is" in answer["error"]


def test_histories_are_merged_and_forgotten_together(cloud: CloudProgram) -> None:
    with ExitStack() as stack:
        pair = on_both_workers(cloud, stack)
        history = cloud.call("DELETE", "/history/hub")[1]["history"]
        assert {caller.address for caller in pair} <= {each["sender"] for each in history}
        assert [each["t"] for each in history] == sorted(each["t"] for each in history)
        assert cloud.call("GET", "/history/hub")[1]["history"] == []


def test_a_worker_that_is_killed_comes_back_with_its_faults_and_nobody_is_online_by_mistake(
    cloud: CloudProgram,
) -> None:
    cloud.call("POST", "/faults", {"kind": "hub.wrong_key", "who": "ZPR900000"})
    doomed = badge(cloud, "ZPR900000")
    gone, back = badge(cloud, next(SERIALS)), badge(cloud, next(SERIALS))
    with ExitStack() as stack:
        first, second = on_both_workers(cloud, stack)
        home = worker_of(cloud, first)
        assert first.log_in(gone).code == 0 and second.log_in(back).code == 0
        (victim,) = [worker for worker in clients(cloud)["workers"] if worker["label"] == home]
        os.kill(victim["pid"], signal.SIGKILL)
        assert first.rest() == b""
        second.send(Publish(back.events, b"{}", qos=1, packet_id=1))
        assert second.next(PubAck) == PubAck(1)
        assert until(lambda: not online(cloud, gone)) and online(cloud, back)
        (heir,) = until(
            lambda: [each for each in clients(cloud)["workers"] if each["label"] == _next(home) and "online" in each]
        )
        assert heir["pid"] != victim["pid"]
        for caller in on_both_workers(cloud, stack):
            assert caller.log_in(doomed).code == 5
        (again,) = [stack.enter_context(Dialled(cloud))]
        assert again.log_in(gone).code == 0 and until(lambda: online(cloud, gone))


def _next(label: str) -> str:
    place, _, start = label.partition(".")
    return f"{place}.{int(start) + 1}"


def test_when_the_main_process_is_killed_its_workers_end(tmp_path: Path) -> None:
    with CloudProgram("--workers", "1", "--bus", "lean", env={"TMPDIR": str(tmp_path)}) as cloud:
        children = descendants(cloud.pid)
        cloud.send_signal(signal.SIGKILL)
        cloud.ended()
        assert until(lambda: left_over(children) == [])


def test_where_only_127_0_0_1_exists_workers_share_a_port_too() -> None:
    with CloudProgram("--single", "--workers", "1", "--bus", "lean") as cloud, Dialled(cloud) as caller:
        one = badge(cloud, "ZPR000001")
        assert caller.log_in(one).code == 0
        caller.say(subscribe(METHODS))
        assert caller.next(SubAck).codes == (1,)


def test_workers_without_a_mosquitto_are_refused() -> None:
    with Program(*up("--workers", "2", "--bus", "local")) as running:
        ended = running.ended()
    assert ended == Ended(2, "", "cloud_stub: --workers: processes meet at a Mosquitto; --bus local has none\n")
