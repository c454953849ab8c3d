"""What breaks around chargers in containers, from outside: the firewall, a name server, the cloud's broker."""

from tests.compose.stack import DNS_GOOGLE, HUB, Stack, eventually

READ_STATE = 503
"""A command that only reads."""


def test_without_ntp_a_new_charger_stays_off_the_hub(stack: Stack) -> None:
    """The clock gate (M9). Those that have the time already stay online."""
    stack.block("ntp")
    new, *others = stack.restart(0), *stack.chargers[1:]
    failed = eventually(lambda: new.stages("time"), within_s=60)
    assert (failed[0]["outcome"], failed[0]["why"]) == ("failed", "ntp_silent")
    assert new.bench.health()["why"].startswith(("time failed: ntp_silent", "connects"))
    assert not new.stages("hub")
    assert all(other.bench.online for other in others)


def test_the_next_name_server_is_asked_when_the_sites_own_is_gone(stack: Stack) -> None:
    """Fallback to 8.8.8.8 (M8), on its true address through the router."""
    charger = stack.chargers[1]
    stack.service("dns-site").kill()
    stack.control(DNS_GOOGLE, "DELETE", "/history/dns")
    charger.bench.reboot(off_s=0.5)
    charger.bench.wait_for("boot.names.degraded", why="fallback_dns", within_s=60)
    charger.bench.wait_online(within_s=60)
    asked = stack.control(DNS_GOOGLE, "GET", "/history/dns")["history"]
    assert {"A zapcloud.azure-devices.net"} <= {exchange["request"] for exchange in asked}


def test_a_broker_that_is_killed_and_comes_back_costs_nothing(stack: Stack) -> None:
    """What chargers say meanwhile arrives late, and commands reach them again."""
    charger = stack.chargers[2]
    serial = charger.serial
    stack.service("mosquitto").kill()
    charger.bench.plug_in(energy_wanted_kwh=1.0)
    stack.service("mosquitto").start()
    eventually(lambda: stack.observation(serial, 710) not in (None, "1"), within_s=60)
    for each in stack.chargers:
        path = f"/devices/{each.serial}/methods/{READ_STATE}"
        assert stack.control(HUB, "POST", path, {"timeout_s": 60})["status"] == 200
    charger.bench.unplug()
