"""``python -m cloud_stub up`` as a program: how it starts, what it says, and that nothing of it is left behind."""

import json
import os
import shutil
import signal
import socket
import stat
import sys
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from certs.make import default_dir, ensure
from cloud_stub.bus.broker import DEATHS_MAX
from tests.programs import CloudProgram, Ended, Program, descendants, left_over, up

READY_KEYS = {
    *("ready", "hub", "mqtt", "service", "https", "dns", "ntp", "dhcp", "ca", "firmware_key", "control"),
    *("service_connection_string", "mosquitto", "loopback"),
    *("roots", "vendor_root", "bundle_key", "bundle"),
}
LOCAL = ("--bus", "local")
WITHIN_S = 20.0

needs_mosquitto = pytest.mark.needs("mosquitto")


def refused(*options: str, env: dict[str, str] | None = None) -> str:
    """The one line that bad input gets."""
    with Program(*up(*options), env=env) as running:
        ended = running.ended(WITHIN_S)
    assert (ended.status, ended.output) == (2, ""), ended
    assert ended.errors.startswith("cloud_stub: ") and ended.errors.count("\n") == 1, ended.errors
    return ended.errors.removeprefix("cloud_stub: ").strip()


def connects(place: dict[str, object]) -> bool:
    """Whether somebody listens there."""
    with closing(socket.socket()) as client:
        return client.connect_ex((place["host"], place["port"])) == 0


# The ready line


@needs_mosquitto
def test_the_ready_line_says_where_everything_is() -> None:
    with CloudProgram() as cloud:
        assert set(cloud.ready) == READY_KEYS
        assert cloud.ready["ready"] is True
        for name in ("mqtt", "service", "https", "mosquitto"):
            assert connects(cloud.ready[name]), name
        for name in ("dns", "ntp", "dhcp"):
            assert set(cloud.ready[name]) == {"host", "port"}
        for name in ("ca", "firmware_key", "roots", "vendor_root", "bundle_key"):
            assert Path(cloud.ready[name]).is_file(), name
        assert cloud.ready["bundle"]["ver"] == 8
        names = [part.partition("=")[0] for part in cloud.ready["service_connection_string"].split(";")]
        assert names == ["HostName", "SharedAccessKeyName", "SharedAccessKey"]
        assert cloud.call("GET", "/ready") == (200, cloud.ready)


def test_for_people_it_prints_no_secret() -> None:
    with Program(sys.executable, "-m", "cloud_stub", "up", *LOCAL) as running:
        shown = running.line_with("control")
        running.send_signal(signal.SIGTERM)
        ended = running.ended()
    assert ended.status == 0 and ended.errors == "The cloud is up. Ctrl-C ends it.\n"
    assert "127.0.0.1:" in shown
    assert "SharedAccessKey" not in ended.output


def test_without_mosquitto_there_is_none_in_the_ready_line() -> None:
    with CloudProgram(*LOCAL) as cloud:
        assert cloud.ready["mosquitto"] is None
        assert descendants(cloud.pid) == []


# The control API


def test_chargers_are_made_shown_and_forgotten_with_the_cloud() -> None:
    with CloudProgram(*LOCAL) as cloud:
        status, made = cloud.call("POST", "/devices", {"count": 3, "prefix": "ZPR"})
        assert status == 201
        assert [each["serial"] for each in made["devices"]] == ["ZPR000001", "ZPR000002", "ZPR000003"]
        assert cloud.call("POST", "/devices", {"count": 3, "prefix": "ZPR"})[1] == made
        assert cloud.call("GET", "/devices/ZPR000002")[1]["online"] is False
        status, answer = cloud.call("POST", "/devices/ZPR000002/methods/102", {})
        assert (status, answer["code"]) == (503, 404103)
        assert cloud.call("GET", "/clients")[1]["online"] == 0


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "error"),
    [
        ("GET", "/devices/nobody", None, 404, "device nobody: no such device"),
        ("GET", "/history/nothing", None, 404, "service nothing: no such service; there are bundle, dhcp, dns,"),
        ("POST", "/devices", {"serial": "A", "count": 1}, 400, "body: give either serial or count"),
        ("POST", "/devices", {"count": 0}, 400, "body: count: "),
        ("POST", "/devices", [], 400, "body: object: "),
        ("POST", "/faults", {"kind": "dns.nonsense"}, 400, "fault: kind: 'dns.nonsense' is not a fault; known are"),
        ("POST", "/faults", {"kind": "dns.silence", "where": 1}, 400, "fault: where: dns.silence has no such key"),
        ("POST", "/faults", {"kind": "link.down"}, 400, "kind: 'link.down' strikes chargers, and the cloud has none"),
        ("POST", "/faults", {"kind": "device.rtc_lost"}, 400, "'device.rtc_lost' strikes chargers, and"),
        ("POST", "/faults", {"kind": "dns.silence", "count": 0}, 400, "fault: count: "),
        ("DELETE", "/faults/7", None, 404, "fault 7: no such fault"),
        ("POST", "/firmware", {"version": "9.9.9.9", "signer": "me"}, 400, "me"),
        ("POST", "/bundle", {"roots": "none"}, 400, "bundle none: not known; known are both, new, old"),
        ("PUT", "/ready", None, 405, "Method Not Allowed"),
    ],
)
def test_bad_calls_get_one_line(local_cloud, method: str, path: str, body: object, status: int, error: str) -> None:
    got, answer = local_cloud.call(method, path, body)
    assert got == status and error in answer["error"], answer
    assert "\n" not in answer["error"]


@pytest.fixture(scope="module")
def local_cloud():
    with CloudProgram(*LOCAL) as cloud:
        yield cloud
        cloud.press_ctrl_c()
        assert cloud.ended() == Ended(0, "", "")


def test_faults_are_listed_and_healed(local_cloud: CloudProgram) -> None:
    fault = {"kind": "dns.silence", "server": "google"}
    status, made = local_cloud.call("POST", "/faults", fault)
    assert status == 201
    assert local_cloud.call("GET", "/faults")[1] == {"faults": [{"id": made["id"], "fault": fault}]}
    assert local_cloud.call("DELETE", f"/faults/{made['id']}")[0] == 200
    assert local_cloud.call("GET", "/faults")[1] == {"faults": []}


def test_a_bundle_that_is_published_is_what_chargers_leave_production_with(local_cloud: CloudProgram) -> None:
    assert local_cloud.call("POST", "/bundle", {"roots": "both"}) == (201, {"version": 9, "roots": "both"})
    bundle = local_cloud.call("GET", "/ready")[1]["bundle"]
    assert bundle["ver"] == 9 and bundle["data"].count("BEGIN CERTIFICATE") == 2


# Two clouds, and one that has only 127.0.0.1


@needs_mosquitto
def test_two_clouds_at_once_know_nothing_of_each_other() -> None:
    with CloudProgram() as first, CloudProgram() as second:
        places = [[cloud.ready[name]["host"] for name in ("mqtt", "https", "dns")] for cloud in (first, second)]
        assert not set(places[0]) & set(places[1])
        assert first.ready["mosquitto"] != second.ready["mosquitto"]
        keys = [cloud.call("POST", "/devices", {"serial": "ZPR000001"})[1] for cloud in (first, second)]
        assert keys[0] != keys[1]
        first.call("POST", "/devices", {"serial": "ZPR000002"})
        assert second.call("GET", "/devices/ZPR000002")[0] == 404
        first.press_ctrl_c()
        assert first.ended() == Ended(0, "", "")
        assert second.call("GET", "/devices/ZPR000001")[0] == 200 and connects(second.ready["mqtt"])


def test_where_only_127_0_0_1_exists_ports_stand_for_addresses() -> None:
    with CloudProgram("--single", *LOCAL) as first, CloudProgram("--single", *LOCAL) as second:
        for cloud in (first, second):
            places = [cloud.ready[name] for name in ("mqtt", "https", "dns", "ntp", "dhcp")]
            assert {place["host"] for place in places} == {"127.0.0.1"}
            assert len({place["port"] for place in places}) == len(places)
            assert connects(cloud.ready["mqtt"]) and connects(cloud.ready["https"])
            assert cloud.ready["loopback"]["single"] is True


# The end


@needs_mosquitto
@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_everything(tmp_path: Path, stop: signal.Signals) -> None:
    with CloudProgram(env={"TMPDIR": str(tmp_path)}) as cloud:
        children = descendants(cloud.pid)
        assert len(children) == 1 and len(list(tmp_path.iterdir())) == 1
        cloud.send_signal(stop)
        assert cloud.ended() == Ended(0, "", "")
    assert left_over(children) == [] and list(tmp_path.iterdir()) == []
    assert not connects(cloud.ready["mosquitto"])


def test_nohup_keeps_it_up_when_the_terminal_goes() -> None:
    with CloudProgram(*LOCAL, before=("nohup",)) as cloud:
        cloud.send_signal(signal.SIGHUP)
        assert cloud.call("GET", "/devices")[0] == 200
        cloud.press_ctrl_c()
        assert cloud.ended().status == 0


def test_a_call_that_hangs_does_not_keep_it_up() -> None:
    with CloudProgram(*LOCAL) as cloud, closing(socket.socket()) as caller:
        host, _, port = cloud.ready["control"].removeprefix("http://").partition(":")
        caller.connect((host, int(port)))
        caller.sendall(b"POST /devices HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
        assert cloud.call("GET", "/devices")[0] == 200  # by now the other call has begun
        cloud.press_ctrl_c()
        assert cloud.ended() == Ended(0, "", "")


@needs_mosquitto
@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("moment", ["folder", "broker"])
def test_a_signal_during_the_start_leaves_nothing(tmp_path: Path, stop: signal.Signals, moment: str) -> None:
    with Program(*up(), env={"TMPDIR": str(tmp_path)}) as running:
        children = wait_for(moment, running.pid, tmp_path)
        running.send_signal(stop)
        ended = running.ended()
        assert ended.errors == ""
        assert ended.status == (0 if ended.output else 130)  # it may have become ready before it heard
        assert left_over(children) == [] and list(tmp_path.iterdir()) == []


def wait_for(moment: str, pid: int, temporary: Path) -> list[int]:
    """Spin until the start has come that far; the children that are there then."""
    for _ in range(1_000_000):
        children = descendants(pid) if moment == "broker" else []
        if children or (moment == "folder" and any(temporary.iterdir())):
            return children
    raise AssertionError(f"the start never came to its {moment}")


def test_ctrl_c_while_certificates_are_made_spoils_nothing(tmp_path: Path) -> None:
    options = ("--state", str(tmp_path / "state"), *LOCAL)
    with Program(*up(*options)) as running:
        wait_for("folder", running.pid, tmp_path)
        running.press_ctrl_c()
        assert running.ended(WITHIN_S) == Ended(130, "", "")
    with CloudProgram(*options) as cloud:
        assert Path(cloud.ready["ca"]).is_relative_to(tmp_path)


@needs_mosquitto
def test_ctrl_c_twice_is_as_clean_as_once(tmp_path: Path) -> None:
    with CloudProgram(env={"TMPDIR": str(tmp_path)}) as cloud:
        children = descendants(cloud.pid)
        cloud.press_ctrl_c()
        cloud.press_ctrl_c()
        assert cloud.ended() == Ended(0, "", "")
    assert left_over(children) == [] and list(tmp_path.iterdir()) == []


@needs_mosquitto
@pytest.mark.parametrize("bus", ["mosquitto", "lean"])
def test_a_broker_that_dies_is_started_again_and_one_that_keeps_dying_ends_the_cloud(tmp_path: Path, bus: str) -> None:
    with CloudProgram("--bus", bus, env={"TMPDIR": str(tmp_path)}) as cloud:
        place = cloud.ready["mosquitto"]
        for deaths in range(DEATHS_MAX + 1):
            while (broker := cloud.call("GET", "/clients")[1]["mosquitto"])["restarts"] < deaths:
                pass
            assert connects(place)
            os.kill(broker["pid"], signal.SIGKILL)
        ended = cloud.ended()
    assert ended.status == 2
    assert ended.errors.startswith("cloud_stub: mosquitto ended with status -9") and ended.errors.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


# What it keeps


def test_the_state_folder_keeps_device_keys_and_certificates_over_restarts(tmp_path: Path) -> None:
    state = tmp_path / "state"
    shutil.copytree(ensure(default_dir()).path, state / "certs")  # making new ones takes its time
    options = ("--state", str(state), *LOCAL)
    seen = []
    for _ in range(2):
        with CloudProgram(*options) as cloud:
            made = cloud.call("POST", "/devices", {"serial": "ZPR000001"})[1]
            seen.append((made, cloud.ready["ca"], cloud.ready["service_connection_string"]))
            cloud.press_ctrl_c()
            cloud.ended()
    assert seen[0] == seen[1]
    assert Path(seen[0][1]).parent == state / "certs"
    secret = state / "production.key"
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    with CloudProgram(*LOCAL) as cloud:
        assert cloud.call("POST", "/devices", {"serial": "ZPR000001"})[1] != seen[0][0]

    secret.write_bytes(b"short")
    assert refused(*options) == f"{secret}: must hold 32 bytes, holds 5"


def test_clouds_may_share_a_new_state_folder(tmp_path: Path) -> None:
    state = tmp_path / "state"
    shutil.copytree(ensure(default_dir()).path, state / "certs")
    with ExitStack() as stack:
        clouds = [CloudProgram("--state", str(state), *LOCAL) for _ in range(3)]
        for cloud in clouds:
            stack.push(cloud)
        keys = [cloud.__enter__().call("POST", "/devices", {"serial": "A"}) for cloud in clouds]
    assert keys[0] == keys[1] == keys[2]
    assert {path.name.partition("-")[0] for path in state.iterdir()} == {"certs", "hub.sqlite", "production.key"}


@needs_mosquitto
def test_of_clouds_that_share_a_state_folder_one_keeps_its_broker_there(tmp_path: Path) -> None:
    state, temporary = tmp_path / "state", tmp_path / "tmp"
    temporary.mkdir()
    shutil.copytree(ensure(default_dir()).path, state / "certs")
    options = ("--state", str(state))
    with CloudProgram(*options, env={"TMPDIR": str(temporary)}) as first:
        assert (state / "bus" / "mosquitto.conf").exists() and list(temporary.iterdir()) == []
        with CloudProgram(*options, env={"TMPDIR": str(temporary)}) as second:
            assert first.ready["mosquitto"] != second.ready["mosquitto"]
            assert first.ready["mqtt"] != second.ready["mqtt"]
            assert len(list(temporary.iterdir())) == 1
            second.press_ctrl_c()
            assert second.ended() == Ended(0, "", "")
        assert list(temporary.iterdir()) == []
        first.press_ctrl_c()
        assert first.ended() == Ended(0, "", "")
    assert {path.name for path in (state / "bus").iterdir()} == {"bus.json", "mosquitto.conf", "mosquitto.db"}
    with CloudProgram(*options) as again:
        assert again.ready["mosquitto"] == first.ready["mosquitto"] and again.ready["mqtt"] == first.ready["mqtt"]


# Bad input


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (("--bus", "rabbit"), "'--bus'"),
        (("--nonsense",), "No such option: --nonsense"),
        (("more",), "unexpected extra argument"),
        (("--broker", "nowhere"), "--broker nowhere: must be HOST:PORT"),
        (("--broker", "127.0.0.1:1"), "bus: no MQTT 5 broker at 127.0.0.1:1"),
        (("--control-port", "70000"), "'--control-port'"),
        (("--state", __file__), f"{__file__}/certs: Not a directory"),
        (("--state", "/proc/none"), "/proc/none/certs: No such file or directory"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, tuple) else None,
)
def test_bad_options_give_one_line_and_status_2(options: tuple[str, ...], complaint: str) -> None:
    assert complaint in refused(*options)


def test_a_control_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        complaint = refused("--control-port", str(port), *LOCAL)
    assert complaint.endswith(f"--control-port {port}: Address already in use")


@needs_mosquitto
def test_a_broker_that_does_not_start_is_quoted(tmp_path: Path) -> None:
    fake = tmp_path / "mosquitto"
    fake.write_text("#!/bin/sh\necho 'Error: out of cheese' >&2; exit 3\n")
    fake.chmod(0o755)
    with_fake = {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    assert refused(env=with_fake) == "mosquitto does not start: Error: out of cheese"


@pytest.mark.needs("root", "unshare")
def test_without_mosquitto_it_names_the_package(tmp_path: Path) -> None:
    """In a mount namespace of its own, so that this machine keeps its mosquitto."""
    hide = 'for d in /usr/sbin /usr/local/sbin; do mount --bind "$0" "$d"; done; exec "$@"'
    (tmp_path / "empty").mkdir()
    command = ("unshare", "--mount", "sh", "-c", hide, str(tmp_path / "empty"))
    with Program(*command, *up(), env={"PATH": "/usr/bin:/bin", "TMPDIR": str(tmp_path)}) as running:
        ended = running.ended()
    assert ended.status == 2
    message = "mosquitto: no such program; install the package mosquitto, or choose the local bus"
    assert ended.errors == f"cloud_stub: {message}\n"
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]


def test_help_is_quick_to_read() -> None:
    with Program(*up("--help")) as running:
        ended = running.ended()
    assert ended.status == 0 and "--state" in ended.output and json.dumps("HOST:PORT")[1:-1] in ended.output
