"""The hub's error codes, their HTTP status, and which of the two error bodies a service client gets for them."""

from enum import IntEnum, StrEnum

from emulator.errors import EmulatorError


class ErrorCode(IntEnum):
    """Six digits, the first three an HTTP status (iothub-mqtt.md section 2.8; those of `ASSUMED` are not there)."""

    BAD_ARGUMENT = 400_004
    QOS_2 = 400_011
    REPLACED = 400_027
    MOVED = 400_029
    UPGRADED = 400_030
    UNAUTHORISED = 401_002
    TOKEN_EXPIRED = 401_003
    NOT_PERMITTED = 403_000
    JOB_QUOTA_EXCEEDED = 403_001
    QUOTA_EXCEEDED = 403_002
    QUEUE_FULL = 403_004
    TOO_MANY_UPLOADS = 403_006
    DEVICE_DISABLED = 403_012
    TOO_MANY_METHODS = 403_800
    NOT_FOUND = 404_001
    JOB_NOT_FOUND = 404_002
    MODULE_NOT_FOUND = 404_010
    CONFIGURATION_NOT_FOUND = 404_011
    NOT_ONLINE = 404_103
    CONNECTION_CLOSED = 404_104
    ALREADY_EXISTS = 409_001
    LINK_CONFLICT = 409_002
    JOB_ALREADY_EXISTS = 409_003
    ETAG_MISMATCH = 412_001
    LOCK_LOST = 412_002
    TOO_LARGE = 413_001
    THROTTLED = 429_001
    THROTTLE_TIMED_OUT = 429_002
    SERVER_ERROR = 500_001
    SERVER_TIMED_OUT = 500_008
    NOT_IMPLEMENTED = 501_000
    PARTITION_LOST = 503_003
    TIMED_OUT = 504_101

    @property
    def status(self) -> int:
        """The HTTP status."""
        return self.value // 1000

    @property
    def label(self) -> str:
        """The name in the old body and in the header ``iothub-errorcode``."""
        return _LABELS[self]


class BodyShape(StrEnum):
    """The two error bodies that are both in use (section 2.7)."""

    OLD = "old"
    NEW = "new"


_LABELS = {
    ErrorCode.BAD_ARGUMENT: "ArgumentInvalid",
    ErrorCode.QOS_2: "ProtocolError",
    ErrorCode.REPLACED: "ConnectionForcefullyClosedOnNewConnection",
    ErrorCode.MOVED: "ConnectionMoved",
    ErrorCode.UPGRADED: "ConnectionUpgraded",
    ErrorCode.UNAUTHORISED: "IotHubUnauthorizedAccess",
    ErrorCode.TOKEN_EXPIRED: "IotHubUnauthorizedAccess",
    ErrorCode.NOT_PERMITTED: "IotHubForbidden",
    ErrorCode.JOB_QUOTA_EXCEEDED: "JobQuotaExceeded",
    ErrorCode.QUOTA_EXCEEDED: "IotHubQuotaExceeded",
    ErrorCode.QUEUE_FULL: "DeviceMaximumQueueDepthExceeded",
    ErrorCode.TOO_MANY_UPLOADS: "DeviceMaximumActiveFileUploadLimitExceeded",
    ErrorCode.DEVICE_DISABLED: "DeviceDisabled",
    ErrorCode.TOO_MANY_METHODS: "TooManyMethodsInFlight",
    ErrorCode.NOT_FOUND: "DeviceNotFound",
    ErrorCode.JOB_NOT_FOUND: "JobNotFound",
    ErrorCode.MODULE_NOT_FOUND: "ModuleNotFound",
    ErrorCode.CONFIGURATION_NOT_FOUND: "ConfigurationNotFound",
    ErrorCode.NOT_ONLINE: "DeviceNotOnline",
    ErrorCode.CONNECTION_CLOSED: "DeviceConnectionClosedRemotely",
    ErrorCode.ALREADY_EXISTS: "DeviceAlreadyExists",
    ErrorCode.LINK_CONFLICT: "LinkCreationConflict",
    ErrorCode.JOB_ALREADY_EXISTS: "JobAlreadyExists",
    ErrorCode.ETAG_MISMATCH: "PreconditionFailed",
    ErrorCode.LOCK_LOST: "DeviceMessageLockLost",
    ErrorCode.TOO_LARGE: "MessageTooLarge",
    ErrorCode.THROTTLED: "ThrottlingException",
    ErrorCode.THROTTLE_TIMED_OUT: "ThrottleBacklogTimeout",
    ErrorCode.SERVER_ERROR: "ServerError",
    ErrorCode.SERVER_TIMED_OUT: "GenericTimeout",
    ErrorCode.NOT_IMPLEMENTED: "NotImplemented",
    ErrorCode.PARTITION_LOST: "PartitionNotFound",
    ErrorCode.TIMED_OUT: "GatewayTimeout",
}

ASSUMED = frozenset(
    {
        ErrorCode.NOT_PERMITTED,
        ErrorCode.JOB_QUOTA_EXCEEDED,
        ErrorCode.JOB_NOT_FOUND,
        ErrorCode.MODULE_NOT_FOUND,
        ErrorCode.CONFIGURATION_NOT_FOUND,
        ErrorCode.JOB_ALREADY_EXISTS,
        ErrorCode.NOT_IMPLEMENTED,
    }
)
"""Codes and names that the service API needs and no source has."""

_OLD_SHAPED = frozenset(
    {
        ErrorCode.UNAUTHORISED,
        ErrorCode.TOKEN_EXPIRED,
        ErrorCode.NOT_PERMITTED,
        ErrorCode.NOT_FOUND,
        ErrorCode.MODULE_NOT_FOUND,
        ErrorCode.CONFIGURATION_NOT_FOUND,
        ErrorCode.ALREADY_EXISTS,
        ErrorCode.ETAG_MISMATCH,
    }
)


class HubError(EmulatorError):
    """The hub says no. `text` is one line without secrets; `info` goes into the body of the new shape as it is."""

    def __init__(self, code: ErrorCode, text: str, info: dict[str, str] | None = None) -> None:
        super().__init__(f"{code.value} {code.label}: {text}")
        self.code = code
        self.text = text
        self.info = info

    @property
    def status(self) -> int:
        """The HTTP status."""
        return self.code.status

    @property
    def shape(self) -> BodyShape:
        """The body that clients have been seen to get with this code; which others there are is an assumption."""
        return BodyShape.OLD if self.code in _OLD_SHAPED else BodyShape.NEW
