"""Bulk operations on the registry: up to 100 devices in one request, each for itself (iothub-mqtt.md section 2.2)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from cloud_stub.state.errors import ErrorCode, HubError
from cloud_stub.state.etags import bare
from cloud_stub.state.identity import spec_of
from cloud_stub.state.registry import Registry
from cloud_stub.state.twin import TwinChange
from cloud_stub.state.twins import Twins

ITEMS_MAX = 100


class ImportMode(StrEnum):
    """What an item asks for."""

    CREATE = "create"
    UPDATE = "update"
    UPDATE_IF_MATCH = "updateIfMatchETag"
    CREATE_OR_UPDATE = "createOrUpdate"
    CREATE_OR_UPDATE_IF_MATCH = "createOrUpdateIfMatchETag"
    DELETE = "delete"
    DELETE_IF_MATCH = "deleteIfMatchETag"
    UPDATE_TWIN = "updateTwin"
    UPDATE_TWIN_IF_MATCH = "updateTwinIfMatchETag"


@dataclass(frozen=True, slots=True)
class Push:
    """A change of desired properties that the device is to be told of: the body, and its ``$version``."""

    device_id: str
    version: int
    body: bytes


@dataclass(frozen=True, slots=True)
class BulkReply:
    """What became of the items: the errors by device id, in order, and what is to be pushed."""

    errors: Sequence[tuple[str, HubError]] = ()
    pushes: Sequence[Push] = ()

    @property
    def status(self) -> int:
        """200, or 400 if any item failed."""
        return 400 if self.errors else 200

    def to_json(self) -> dict[str, Any]:
        """The body. `errorCode` is the code's name (assumed)."""
        errors = [
            {"deviceId": device_id, "errorCode": error.code.label, "errorStatus": error.text}
            for device_id, error in self.errors
        ]
        return {"isSuccessful": not errors, "errors": errors, "warnings": []}


def bulk(registry: Registry, twins: Twins, items: object) -> BulkReply:
    """Do what the items ask for, in their order; one that fails does not keep the others from being done.

    HubError 400004, with nothing done, if the request is no list of 1 to `ITEMS_MAX` objects with different ids.
    """
    asked = _checked(items)
    errors: list[tuple[str, HubError]] = []
    pushes: list[Push] = []
    for item in asked:
        try:
            if item.get("moduleId"):
                raise HubError(ErrorCode.BAD_ARGUMENT, "moduleId: this hub has no modules")
            push = _MODES[_mode(item)](registry, twins, item)
        except HubError as error:
            errors.append((item["id"], error))
        else:
            pushes += [push] if push else []
    return BulkReply(errors, pushes)


def _checked(items: object) -> list[Mapping[str, Any]]:
    if not isinstance(items, list) or not 1 <= len(items) <= ITEMS_MAX:
        raise HubError(ErrorCode.BAD_ARGUMENT, f"body: must be a list of 1 to {ITEMS_MAX} devices")
    ids = [item.get("id") if isinstance(item, Mapping) else None for item in items]
    if not all(isinstance(device_id, str) and device_id for device_id in ids):
        raise HubError(ErrorCode.BAD_ARGUMENT, "body: each device must be an object with an id")
    if len(set(ids)) < len(ids):
        raise HubError(ErrorCode.BAD_ARGUMENT, "body: a device is named more than once")
    return items


def _mode(item: Mapping[str, Any]) -> ImportMode:
    mode = item.get("importMode") or ImportMode.CREATE_OR_UPDATE
    found = next((known for known in ImportMode if str(mode).lower() == known.lower()), None)
    if found is None:
        raise HubError(ErrorCode.BAD_ARGUMENT, f"importMode: must be one of {', '.join(ImportMode)}")
    return found


def _create(registry: Registry, twins: Twins, item: Mapping[str, Any]) -> Push | None:
    registry.create(item["id"], spec_of(item))
    wanted = _twin_change(item)
    return _change_twin(twins, item["id"], wanted, None) if wanted.desired or wanted.tags else None


def _update(registry: Registry, twins: Twins, item: Mapping[str, Any]) -> None:
    registry.update(item["id"], spec_of(item))


def _update_if_match(registry: Registry, twins: Twins, item: Mapping[str, Any]) -> None:
    registry.update(item["id"], spec_of(item), _etag(item, "eTag"))


def _create_or_update(registry: Registry, twins: Twins, item: Mapping[str, Any]) -> Push | None:
    if registry.get(item["id"]) is None:
        return _create(registry, twins, item)
    _update(registry, twins, item)
    return None


def _create_or_update_if_match(registry: Registry, twins: Twins, item: Mapping[str, Any]) -> Push | None:
    if registry.get(item["id"]) is None:
        return _create(registry, twins, item)
    _update_if_match(registry, twins, item)
    return None


def _delete(registry: Registry, twins: Twins, item: Mapping[str, Any]) -> None:
    registry.delete(item["id"])


def _delete_if_match(registry: Registry, twins: Twins, item: Mapping[str, Any]) -> None:
    registry.delete(item["id"], _etag(item, "eTag"))


def _update_twin(registry: Registry, twins: Twins, item: Mapping[str, Any]) -> Push | None:
    return _change_twin(twins, item["id"], _twin_change(item), None)


def _update_twin_if_match(registry: Registry, twins: Twins, item: Mapping[str, Any]) -> Push | None:
    return _change_twin(twins, item["id"], _twin_change(item), _etag(item, "twinETag"))


_MODES: Mapping[ImportMode, Callable[[Registry, Twins, Mapping[str, Any]], Push | None]] = {
    ImportMode.CREATE: _create,
    ImportMode.UPDATE: _update,
    ImportMode.UPDATE_IF_MATCH: _update_if_match,
    ImportMode.CREATE_OR_UPDATE: _create_or_update,
    ImportMode.CREATE_OR_UPDATE_IF_MATCH: _create_or_update_if_match,
    ImportMode.DELETE: _delete,
    ImportMode.DELETE_IF_MATCH: _delete_if_match,
    ImportMode.UPDATE_TWIN: _update_twin,
    ImportMode.UPDATE_TWIN_IF_MATCH: _update_twin_if_match,
}


def _change_twin(twins: Twins, device_id: str, wanted: TwinChange, if_match: str | None) -> Push | None:
    twin, pushed = twins.change(device_id, wanted, if_match)
    return Push(device_id, twin.desired.version, pushed) if pushed is not None else None


def _twin_change(item: Mapping[str, Any]) -> TwinChange:
    properties = _part(item, "properties") or {}
    return TwinChange(desired=_part(properties, "desired"), tags=_part(item, "tags"))


def _part(data: Mapping[str, Any], name: str) -> Mapping[str, Any] | None:
    found = data.get(name)
    if found is not None and not isinstance(found, Mapping):
        raise HubError(ErrorCode.BAD_ARGUMENT, f"{name}: must be an object")
    return found


def _etag(item: Mapping[str, Any], name: str) -> str:
    """The tag that this mode cannot do without."""
    etag = item.get(name)
    if not isinstance(etag, str) or not bare(etag):
        raise HubError(ErrorCode.BAD_ARGUMENT, f"{name}: is needed for this importMode")
    return etag
