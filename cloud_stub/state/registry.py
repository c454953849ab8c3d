"""The identity registry: which devices exist and how they prove who they are (iothub-mqtt.md sections 2.2 and 2.3).

Devices are read from the database at each question, about ten microseconds, so every process sees a change at once.
"""

import hashlib
import hmac
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from cloud_stub.state.database import Row, State, next_count
from cloud_stub.state.errors import ErrorCode, HubError
from cloud_stub.state.etags import FIRST_DEVICE_ETAG, bare, device_etag, require
from cloud_stub.state.identity import (
    AUTH_TYPES,
    ID_RULE,
    Auth,
    CaSigned,
    Device,
    DeviceSpec,
    DeviceStatus,
    Keys,
    SasAuth,
    SelfSigned,
    thumbprints,
    valid_id,
)
from cloud_stub.state.time import hub_time, ticks
from emulator.clock import Utc
from emulator.errors import UsageError

KEY_BYTES = 32
DEVICES_MAX = 200_000
SERIAL_MAX = 999_999
PAGE_MAX = 1_000
"""Devices that one `find` gives at most (section 2.2)."""

KeySource = Callable[[str], Keys]
"""Gives the primary and the secondary key that belong to a text, such as a device id."""

_COLUMNS = (
    "device_id, generation_id, etag, status, status_reason, status_updated, auth, primary_secret, secondary_secret, "
    "iot_edge, produced"
)
_INSERT = f"INSERT INTO devices ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608 - constants
_SELECT = f"SELECT {_COLUMNS} FROM devices"  # noqa: S608 - a constant
_UPDATE = """UPDATE devices SET generation_id = ?2, etag = ?3, status = ?4, status_reason = ?5, status_updated = ?6,
    auth = ?7, primary_secret = ?8, secondary_secret = ?9, iot_edge = ?10, produced = ?11 WHERE device_id = ?1"""


class UnknownDevice(UsageError):
    """The registry has no such device."""


def derived_keys(production_secret: bytes) -> KeySource:
    """Keys that follow from the device id: HMAC-SHA256 of the id under `production_secret`.

    Every process that knows the secret makes the same keys, so a fleet need not exchange thousands of them.
    """
    if len(production_secret) < KEY_BYTES:
        raise UsageError(f"production secret: must be at least {KEY_BYTES} bytes")

    def key(which: str, device_id: str) -> bytes:
        return hmac.digest(production_secret, f"{which}:{device_id}".encode(), hashlib.sha256)

    return lambda device_id: (key("primary", device_id), key("secondary", device_id))


def serials(prefix: str, count: int) -> list[str]:
    """`count` serials of three letters and six digits (zaptec.md section 1): ``ZPR000001`` ..."""
    if not (len(prefix) == 3 and prefix.isascii() and prefix.isalpha()):
        raise UsageError(f"prefix {prefix!r}: must be three letters")
    if not 1 <= count <= SERIAL_MAX:
        raise UsageError(f"count {count}: must be 1 to {SERIAL_MAX}, the number of serials with one prefix")
    return [f"{prefix}{number:06}" for number in range(1, count + 1)]


class Registry:
    """Devices by id, at most `DEVICES_MAX`. Ids are case-sensitive.

    `keys` makes the keys of production from the id alone, and those that a service leaves to the hub from the id and
    the generation, so that a device which is deleted and made again gets others.
    """

    def __init__(self, state: State, keys: KeySource, utc: Utc) -> None:
        self._state = state
        self._keys = keys
        self._utc = utc
        self.changed: list[Callable[[str], None]] = []
        """Called with the id after a device was updated or deleted by this process and that is kept."""

    def get(self, device_id: str) -> Device | None:
        """The device, if it exists."""
        row = self._state.row(f"{_SELECT} WHERE device_id = ?", (device_id,))
        return _device(row) if row else None

    def require(self, device_id: str) -> Device:
        """The device. HubError 404001 if it does not exist."""
        return _required(self.get(device_id), device_id)

    def find(self, top: int = PAGE_MAX, *, after: str = "") -> list[Device]:
        """Up to `top` devices, at most `PAGE_MAX`, in the order of their ids, behind the id `after`."""
        limit = max(0, min(top, PAGE_MAX))
        rows = self._state.rows(f"{_SELECT} WHERE device_id > ? ORDER BY device_id LIMIT ?", (after, limit))
        return [_device(row) for row in rows]

    def __iter__(self) -> Iterator[Device]:
        page = self.find()
        while page:
            yield from page
            page = self.find(after=page[-1].device_id)

    def __len__(self) -> int:
        row = self._state.row("SELECT value FROM counters WHERE name = 'devices'")
        return row[0] if row else 0

    def disabled_count(self) -> int:
        """How many of the devices are disabled."""
        row = self._state.row("SELECT count(*) FROM devices WHERE status = ?", (DeviceStatus.DISABLED.value,))
        return row[0] if row else 0

    def produce(self, device_id: str) -> Device:
        """Make a charger with the keys that follow from its id. UsageError: bad id, taken, or registry full."""
        if self.get(device_id) is not None:
            raise UsageError(f"device {device_id}: exists already")
        return self.produce_all([device_id])[0]

    def produce_all(self, device_ids: Sequence[str]) -> list[Device]:
        """Make the chargers that do not exist yet, all or none; all of them in the order asked for. UsageError."""
        for device_id in device_ids:
            if not valid_id(device_id):
                raise UsageError(f"device id {device_id!r}: must be {ID_RULE}")
        with self._state.change() as database:
            found = {device_id: _stored(database, device_id) for device_id in device_ids}
            missing = [device_id for device_id, device in found.items() if device is None]
            if len(self) + len(missing) > DEVICES_MAX:
                raise UsageError(f"device {missing[-1]}: more than {DEVICES_MAX} devices")
            specs = {device_id: DeviceSpec(SasAuth(*self._keys(device_id))) for device_id in missing}
            new = {device.device_id: replace(device, produced=True) for device in self._new(database, specs)}
            database.executemany(_INSERT, [_row(device) for device in new.values()])
        return [found[device_id] or new[device_id] for device_id in device_ids]

    def put(self, device_id: str, spec: DeviceSpec, if_match: str | None) -> Device:
        """What PUT does: without ``If-Match`` (or with an empty one) `create`, else `update`."""
        if bare(if_match) == "":
            return self.create(device_id, spec)
        return self.update(device_id, spec, if_match)

    def create(self, device_id: str, spec: DeviceSpec) -> Device:
        """Make a device; the hub makes the keys that `spec` leaves out.

        HubError: 400004 for a bad id (``/`` included: there are no modules), 403002 when the registry is full, 409001.
        """
        if not valid_id(device_id):
            raise HubError(ErrorCode.BAD_ARGUMENT, f"device id: must be {ID_RULE}")
        with self._state.change() as database:
            if _stored(database, device_id) is not None:
                raise HubError(ErrorCode.ALREADY_EXISTS, f"device {device_id} exists already")
            if len(self) >= DEVICES_MAX:
                raise HubError(ErrorCode.QUOTA_EXCEEDED, f"more than {DEVICES_MAX} devices")
            device = self._new(database, {device_id: spec})[0]
            database.execute(_INSERT, _row(device))
        return device

    def update(self, device_id: str, spec: DeviceSpec, if_match: str | None = None) -> Device:
        """Replace what a service may set; the generation stays, and so do keys that `spec` leaves out (assumed).

        HubError: 404001, 412001.
        """
        with self._state.change() as database:
            device = _required(_stored(database, device_id), device_id)
            require(if_match, device.etag)
            updated = replace(
                device,
                etag=device_etag(next_count(database, "etag", at_least=FIRST_DEVICE_ETAG)),
                auth=self._completed(device_id, device.generation_id, spec.auth, device.auth),
                status=spec.status,
                status_reason=spec.status_reason,
                status_updated=device.status_updated if spec.status is device.status else hub_time(self._utc()),
                iot_edge=spec.iot_edge,
            )
            database.execute(_UPDATE, _row(updated))
        self._tell(device_id)
        return updated

    def delete(self, device_id: str, if_match: str | None = None) -> None:
        """Delete a device with its twin, its queue and its MQTT session. HubError: 404001, 412001."""
        with self._state.change() as database:
            require(if_match, _required(_stored(database, device_id), device_id).etag)
            database.execute("DELETE FROM devices WHERE device_id = ?", (device_id,))
        self._tell(device_id)

    def _new(self, database: sqlite3.Connection, specs: dict[str, DeviceSpec]) -> list[Device]:
        """Devices with a generation and an etag of their own, inside a change."""
        count = len(specs)
        if not count:
            return []
        generation = next_count(database, "generation", at_least=ticks(self._utc()), step=count)
        etag = next_count(database, "etag", at_least=FIRST_DEVICE_ETAG, step=count)
        return [
            Device(
                device_id,
                str(generation + number),
                device_etag(etag + number),
                self._completed(device_id, str(generation + number), spec.auth),
                spec.status,
                spec.status_reason,
                iot_edge=spec.iot_edge,
            )
            for number, (device_id, spec) in enumerate(specs.items())
        ]

    def _completed(self, device_id: str, generation_id: str, auth: Auth, before: Auth | None = None) -> Auth:
        if not isinstance(auth, SasAuth) or (auth.primary_key and auth.secondary_key):
            return auth
        made = before if isinstance(before, SasAuth) else SasAuth(*self._keys(f"{device_id}/{generation_id}"))
        return SasAuth(auth.primary_key or made.primary_key, auth.secondary_key or made.secondary_key)

    def _tell(self, device_id: str) -> None:
        for changed in tuple(self.changed):
            changed(device_id)


def _stored(database: sqlite3.Connection, device_id: str) -> Device | None:
    row = database.execute(f"{_SELECT} WHERE device_id = ?", (device_id,)).fetchone()
    return _device(row) if row else None


def _required(device: Device | None, device_id: str) -> Device:
    if device is None:
        raise HubError(ErrorCode.NOT_FOUND, f"device {device_id} does not exist")
    return device


def _device(row: Row) -> Device:
    device_id, generation_id, etag, status, reason, status_updated, kind, primary, secondary, edge, produced = row
    auth = _AUTH_OF[kind](primary, secondary)
    known = DeviceStatus(status)
    return Device(device_id, generation_id, etag, auth, known, reason, status_updated, bool(edge), bool(produced))


def _row(device: Device) -> Row:
    auth = device.auth
    secrets = (auth.primary_key, auth.secondary_key) if isinstance(auth, SasAuth) else thumbprints(auth)
    return (
        device.device_id,
        device.generation_id,
        device.etag,
        device.status.value,
        device.status_reason,
        device.status_updated,
        AUTH_TYPES[type(auth)],
        *secrets,
        device.iot_edge,
        device.produced,
    )


_AUTH_OF: dict[str, Callable[[bytes | str | None, bytes | str | None], Auth]] = {
    "sas": SasAuth,  # type: ignore[dict-item]
    "selfSigned": lambda primary, secondary: SelfSigned(str(primary or ""), str(secondary or "")),
    "certificateAuthority": lambda primary, secondary: CaSigned(),
}
