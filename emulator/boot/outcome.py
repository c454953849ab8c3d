"""How a boot stage ends: Passed, Degraded(why) or Failed(why). The reasons are a closed list."""

from dataclasses import dataclass
from enum import StrEnum

from emulator.errors import NetError, NetReason


class Why(StrEnum):
    """Why a stage failed, or passed only by a fallback."""

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
    FALLBACK_LINK = "fallback_link"
    NO_OFFER = "no_offer"
    NO_ACK = "no_ack"
    DHCP_NAK = "dhcp_nak"
    ADDRESS_CONFLICT = "address_conflict"
    DNS_SILENT = "dns_silent"
    DNS_FAILED = "dns_failed"
    DNS_NOT_FOUND = "dns_not_found"
    FALLBACK_DNS = "fallback_dns"
    NTP_SILENT = "ntp_silent"
    NTP_REFUSED = "ntp_refused"
    NTP_ABSURD = "ntp_absurd"
    CLOCK_UNSET = "clock_unset"
    BUNDLE_INVALID = "bundle_invalid"
    BUNDLE_BUILT_IN = "bundle_built_in"
    BUNDLE_UNAVAILABLE = "bundle_unavailable"
    NO_ADDRESS = "no_address"
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
    HUB_REFUSED = "hub_refused"
    HUB_BROKEN = "hub_broken"
    FIRMWARE_ROLLED_BACK = "firmware_rolled_back"
    FIRMWARE_DAMAGED = "firmware_damaged"
    FIRMWARE_UNCONFIRMED = "firmware_unconfirmed"


WHY_OF_NET: dict[NetReason, Why] = {
    **{reason: Why(reason.value) for reason in NetReason if reason.value in set(Why)},
    NetReason.MQTT_BROKEN: Why.HUB_BROKEN,
    NetReason.MQTT_REFUSED: Why.HUB_REFUSED,
}


@dataclass(frozen=True, slots=True)
class Passed:
    """The stage did what it should."""

    detail: str = ""


@dataclass(frozen=True, slots=True)
class Degraded:
    """The stage went on by a fallback."""

    why: Why
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Failed:
    """The stage did not get through; it will be tried again."""

    why: Why
    detail: str = ""


Outcome = Passed | Degraded | Failed


def failed_by(error: NetError) -> Failed:
    """The outcome that a network error means for a stage."""
    return Failed(WHY_OF_NET[error.reason], error.detail)
