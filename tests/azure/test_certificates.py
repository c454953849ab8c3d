"""Devices that prove themselves by a certificate: azure-iot-hub registers them, azure-iot-device plays them."""

from pathlib import Path

import pytest

from tests.azure.bus import BusWatcher
from tests.azure.certificates import Certificate, certificate
from tests.azure.conftest import Start
from tests.azure.hub import Hub
from tests.azure.sdk import BackEnd, Event

pytestmark = pytest.mark.needs("azure-sdks", "mosquitto")

OVER = [pytest.param("{}", id="tcp"), pytest.param('{"websockets": true}', id="websocket")]


def said(hub: Hub, start: Start, device_id: str, shown: Certificate, options: str = "{}") -> Event:
    """What the script ``certificate`` tells of its one message."""
    client = start(
        "certificate",
        HUB=hub.host,
        DEVICE_ID=device_id,
        CERTIFICATE_FILE=str(shown.path),
        KEY_FILE=str(shown.key_path),
        CLIENT_OPTIONS=options,
    )
    (event,) = client.events()
    return event


@pytest.mark.parametrize("options", OVER)
def test_a_self_signed_certificate_is_known_by_its_thumbprint(
    hub: Hub, back_end: BackEnd, bus: BusWatcher, start: Start, tmp_path: Path, options: str
) -> None:
    device_id = f"thumbprint-{len(options)}"
    first, second, stranger = (certificate(tmp_path, name) for name in (device_id, "second", "stranger"))
    back_end.call("create_device_with_x509", device_id, first.thumbprint, second.thumbprint, "enabled")
    for shown in (first, second):
        assert said(hub, start, device_id, shown, options) == {"event": "acknowledged"}
        message = bus.next(f"hub/{device_id}/d2c")
        assert message.payload == b"with a certificate"
        assert '"x509"' in message.properties["iothub-connection-auth-method"]
    assert said(hub, start, device_id, stranger, options) == {"event": "refused", "error": "CredentialError"}
    assert hub.logins(device_id) == [0, 0, 5]


def test_a_certificate_of_an_authority_is_known_by_its_common_name(
    hub: Hub, back_end: BackEnd, bus: BusWatcher, start: Start, tmp_path: Path, authority: Certificate
) -> None:
    between = certificate(tmp_path, "Line 1", authority, authority=True)
    own = certificate(tmp_path, "vouched-for", between)
    other, forged = certificate(tmp_path, "other-device", authority), certificate(tmp_path / "forged", "vouched-for")
    back_end.call("create_device_with_certificate_authority", "vouched-for", "enabled")
    assert said(hub, start, "vouched-for", own) == {"event": "acknowledged"}
    assert bus.next("hub/vouched-for/d2c").payload == b"with a certificate"
    for shown in (other, forged):
        assert said(hub, start, "vouched-for", shown) == {"event": "refused", "error": "CredentialError"}
    assert hub.logins("vouched-for") == [0, 5, 5]
