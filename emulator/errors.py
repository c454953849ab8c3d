"""The error roots. Each failing layer has its own subclass; anything else that escapes is a bug."""

from enum import StrEnum


class EmulatorError(Exception):
    """Root of every expected error of this package."""


class WireError(EmulatorError):
    """Bytes that the peer sent, or values that we were asked to encode, break the protocol."""


class UsageError(EmulatorError):
    """Bad input by the user: the message names the file, key or option at fault. Exit status 2."""


class NetReason(StrEnum):
    """Why a network operation failed. Closed list; `boot.outcome.WHY_OF_NET` maps each to a `Why`."""

    NO_CARRIER = "no_carrier"
    SSID_NOT_FOUND = "ssid_not_found"
    WIFI_PASSWORD = "wifi_password"  # noqa: S105 - a reason, no password
    WIFI_WEAK = "wifi_weak"
    WIFI_FULL = "wifi_full"
    SIM_ABSENT = "sim_absent"
    SIM_INACTIVE = "sim_inactive"
    ROAMING_DENIED = "roaming_denied"
    NO_COVERAGE = "no_coverage"
    MODEM_SILENT = "modem_silent"
    PLC_NO_GATEWAY = "plc_no_gateway"
    PLC_KEY = "plc_key"
    PLC_WIRING = "plc_wiring"
    PLC_NOISE = "plc_noise"
    PLC_FULL = "plc_full"
    NO_ADDRESS = "no_address"
    DNS_SILENT = "dns_silent"
    DNS_FAILED = "dns_failed"
    DNS_NOT_FOUND = "dns_not_found"
    UNREACHABLE = "unreachable"
    REFUSED = "refused"
    TIMED_OUT = "timed_out"
    RESET = "reset"
    CLOSED = "closed"
    TLS_UNKNOWN_CA = "tls_unknown_ca"
    TLS_WRONG_HOST = "tls_wrong_host"
    TLS_EXPIRED = "tls_expired"
    TLS_NOT_YET_VALID = "tls_not_yet_valid"
    TLS_VERSION = "tls_version"
    TLS_ALERT = "tls_alert"
    TLS_BROKEN = "tls_broken"
    MQTT_BROKEN = "mqtt_broken"
    MQTT_REFUSED = "mqtt_refused"


class NetError(EmulatorError):
    """A network operation failed for a stated reason; `detail` is for people."""

    def __init__(self, reason: NetReason, detail: str = "") -> None:
        super().__init__(f"{reason.value}: {detail}" if detail else reason.value)
        self.reason = reason
        self.detail = detail
