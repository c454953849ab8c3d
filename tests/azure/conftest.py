"""One cloud for all programs that use Azure's SDKs, and the ways to look at it from the other side."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.azure.bus import BusWatcher
from tests.azure.certificates import Certificate, certificate
from tests.azure.hub import Hub
from tests.azure.sdk import BackEnd, ProxyProgram, Sdk
from tests.programs import CloudProgram

Start = Callable[..., Sdk]


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """Who may sign the certificates of devices, as the hub was told."""
    return certificate(tmp_path_factory.mktemp("authority"), "Device CA", authority=True)


@pytest.fixture(scope="session")
def hub(authority: Certificate) -> Iterator[Hub]:
    """The hub of a running cloud, seen through its control API. Each story has devices of its own."""
    with CloudProgram("--bus", "mosquitto", "--hub", f"authorities={authority.path}") as cloud:
        yield Hub(cloud)
        cloud.press_ctrl_c()
        ended = cloud.ended()
        assert (ended.status, ended.errors) == (0, "")


@pytest.fixture(scope="session")
def proxy(hub: Hub) -> Iterator[ProxyProgram]:
    """The way to the hub."""
    with ProxyProgram(hub.cloud) as running:
        yield running


@pytest.fixture(scope="session")
def back_end(hub: Hub, proxy: ProxyProgram) -> Iterator[BackEnd]:
    """azure-iot-hub with all rights."""
    with BackEnd(hub.service_connection_string, proxy.environment) as running:
        yield running


@pytest.fixture
def bus(hub: Hub) -> Iterator[BusWatcher]:
    """What passes the bus behind the hub from now on."""
    with BusWatcher(hub.cloud.ready["mosquitto"]) as watcher:
        yield watcher


@pytest.fixture
def start(proxy: ProxyProgram) -> Iterator[Start]:
    """Starts a script of tests/azure/clients with variables of its own: upper-case names, any text."""
    with ExitStack() as stack:

        def one(script: str, **variables: str) -> Sdk:
            return stack.enter_context(Sdk(script, {**proxy.environment, **variables}))

        yield one
