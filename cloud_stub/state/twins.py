"""The twins of all devices, kept in the hub's state. A device has its twin from the moment it is made."""

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from cloud_stub.state.database import Row, State
from cloud_stub.state.errors import ErrorCode, HubError
from cloud_stub.state.etags import require
from cloud_stub.state.time import from_ticks, hub_time
from cloud_stub.state.twin import Section, Twin, TwinChange, change, device_view, new_twin, parse_patch, report
from emulator.clock import Utc

MODEL_ID_CHARACTERS_MAX = 2_048

_SELECT = """SELECT devices.produced, devices.generation_id, twins.version, twins.etag, twins.model_id,
    twins.desired, twins.desired_metadata, twins.desired_version,
    twins.reported, twins.reported_metadata, twins.reported_version, twins.tags
    FROM devices LEFT JOIN twins USING (device_id) WHERE devices.device_id = ?"""
_REPLACE = """INSERT OR REPLACE INTO twins (device_id, version, etag, model_id, desired, desired_metadata,
    desired_version, reported, reported_metadata, reported_version, tags) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""


class Twins:
    """Each operation is whole and lasting when it returns, in all processes.

    `settings` are the desired properties that production gives a charger; other devices begin without any.
    All raise HubError 404001 for a device that does not exist and TwinError (400004) for what breaks a rule.
    """

    def __init__(self, state: State, utc: Utc, *, settings: Mapping[str, Any] | None = None) -> None:
        self._state = state
        self._utc = utc
        self._settings = dict(settings or {})

    def get(self, device_id: str) -> Twin:
        """The twin."""
        return self._twin(device_id, self._state.row(_SELECT, (device_id,)))

    def device_view(self, device_id: str) -> bytes:
        """The reply to the device's GET: ``desired`` and ``reported`` with ``$version``, no metadata, no tags."""
        return device_view(self.get(device_id))

    def report(self, device_id: str, payload: bytes) -> int:
        """Merge the device's patch into the reported properties; returns their new ``$version``."""
        patch = parse_patch(payload)
        with self._state.change() as database:
            twin = report(self._stored(database, device_id), patch, hub_time(self._utc()))
            _store(database, device_id, twin)
        return twin.reported.version

    def change(self, device_id: str, wanted: TwinChange, if_match: str | None = None) -> tuple[Twin, bytes | None]:
        """Change desired properties, tags or both at once; the new twin, and the body to push to the device if any.

        Who calls it publishes that body on ``hub/{device}/desired`` with the property `bus.VERSION`. HubError 412001.
        """
        with self._state.change() as database:
            twin = self._stored(database, device_id)
            require(if_match, twin.etag)
            changed, pushed = change(twin, wanted, hub_time(self._utc()))
            _store(database, device_id, changed)
        return changed, pushed

    def desire(
        self, device_id: str, patch: Mapping[str, Any], if_match: str | None = None, *, replacing: bool = False
    ) -> tuple[Twin, bytes]:
        """Change the desired properties alone, as `change`."""
        changed, pushed = self.change(device_id, TwinChange(desired=patch, replacing=replacing), if_match)
        return changed, pushed or b""

    def update_tags(
        self, device_id: str, tags: Mapping[str, Any], if_match: str | None = None, *, replacing: bool = False
    ) -> Twin:
        """Change the tags alone, as `change`."""
        return self.change(device_id, TwinChange(tags=tags, replacing=replacing), if_match)[0]

    def set_model(self, device_id: str, model_id: str) -> None:
        """Note the model that a device names at CONNECT, at most 2048 characters of it; the version stays."""
        shortened = model_id[:MODEL_ID_CHARACTERS_MAX]
        if self.get(device_id).model_id == shortened:
            return
        with self._state.change() as database:
            _store(database, device_id, replace(self._stored(database, device_id), model_id=shortened))

    def _stored(self, database: sqlite3.Connection, device_id: str) -> Twin:
        return self._twin(device_id, database.execute(_SELECT, (device_id,)).fetchone())

    def _twin(self, device_id: str, row: Row | None) -> Twin:
        if row is None:
            raise HubError(ErrorCode.NOT_FOUND, f"device {device_id} does not exist")
        produced, generation_id, version, etag, model_id, *parts = row
        if version is None:
            return new_twin(self._settings if produced else {}, hub_time(from_ticks(int(generation_id))))
        desired, desired_metadata, desired_version, reported, reported_metadata, reported_version, tags = parts
        return Twin(
            Section(json.loads(desired), json.loads(desired_metadata), desired_version),
            Section(json.loads(reported), json.loads(reported_metadata), reported_version),
            json.loads(tags),
            version,
            etag,
            model_id,
        )


def _store(database: sqlite3.Connection, device_id: str, twin: Twin) -> None:
    sections = [
        part
        for section in (twin.desired, twin.reported)
        for part in (_text(section.data), _text(section.metadata), section.version)
    ]
    database.execute(_REPLACE, (device_id, twin.version, twin.etag_number, twin.model_id, *sections, _text(twin.tags)))


def _text(data: Mapping[str, Any]) -> str:
    return json.dumps(data, separators=(",", ":"))
