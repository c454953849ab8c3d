"""Asking for a trust bundle: what to make of each answer, and when to ask again (zaptec.md section 5).

Pure: it makes request bodies and takes reply bodies; who owns it does the HTTP and the waiting.
"""

from dataclasses import dataclass

from emulator.profile import Trust
from emulator.wire.bundle import (
    Bundle,
    BundleError,
    BundleReason,
    BundleRequest,
    Newest,
    encode_request,
    open_reply,
)


@dataclass(frozen=True, slots=True)
class Fetched:
    """A bundle to store and to use."""

    bundle: Bundle


@dataclass(frozen=True, slots=True)
class Current:
    """What the charger has is the newest."""

    version: int


@dataclass(frozen=True, slots=True)
class Retry:
    """No bundle came; ask again in `after_s` seconds. `reason` None: there was no answer at all."""

    after_s: float
    reason: BundleReason | None
    detail: str

    @property
    def invalid(self) -> bool:
        """Something came, and it is not to be trusted."""
        return self.reason not in (None, BundleReason.EMPTY)


Verdict = Fetched | Current | Retry


class BundleFetch:
    """One life's questions to the bundle server. `held` is the version that was verified; None: there is none.

    Versions never go back, except to the one that `ask` names as `override`. The waits are 10 s at first and grow by
    10 s with each answer that is missing or empty, by 60 s with each that is invalid, to some six hours; that the
    growth counts from the second wait on is our reading.
    """

    __slots__ = ("_key_pem", "_override", "_timing", "_wait_s", "held")

    def __init__(self, timing: Trust, key_pem: str, held: int | None) -> None:
        self._timing = timing
        self._key_pem = key_pem
        self._wait_s = timing.first_retry_s
        self._override: int | None = None
        self.held = held

    def ask(self, serial: str, firmware: str, *, error: str = "", override: int | None = None) -> bytes:
        """The body of the next request. BundleError: serial and firmware are too long for it."""
        self._override = override
        return encode_request(BundleRequest(self.held or 0, serial, firmware, error, override))

    def answered(self, body: bytes) -> Verdict:
        """Judge the body of a reply."""
        try:
            verdict = self._judge(open_reply(body, self._key_pem))
        except BundleError as error:
            return self._again(error.reason, error.detail)
        self._wait_s = self._timing.first_retry_s
        if isinstance(verdict, Fetched):
            self.held = verdict.bundle.version
        return verdict

    def lost(self, detail: str) -> Retry:
        """There was no answer, or none that is about bundles."""
        return self._again(None, detail)

    def _judge(self, reply: Bundle | Newest) -> Fetched | Current:
        match reply:
            case Newest():
                if self.held is None:
                    raise BundleError(BundleReason.EMPTY, "no bundle for a charger that has none")
                return Current(self.held)
            case Bundle(version) if self.held is None or version > self.held:
                return Fetched(reply)
            case Bundle(version) if version == self.held:
                return Current(version)
            case Bundle(version) if version == self._override:
                return Fetched(reply)
            case Bundle(version):
                raise BundleError(BundleReason.OLDER, f"version {version}, this charger has {self.held}")

    def _again(self, reason: BundleReason | None, detail: str) -> Retry:
        retry = Retry(self._wait_s, reason, detail)
        step_s = self._timing.invalid_step_s if retry.invalid else self._timing.lost_step_s
        self._wait_s = min(self._wait_s + step_s, self._timing.retry_cap_s)
        return retry
