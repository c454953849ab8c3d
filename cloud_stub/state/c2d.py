"""What becomes of a cloud-to-device message, pure (iothub-mqtt.md section 1.12)."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from cloud_stub.state.errors import ErrorCode, HubError
from emulator.errors import UsageError

MESSAGE_BYTES_MAX = 65_536  # section 1.7
MESSAGE_ID_CHARACTERS_MAX = 128
TTL_S_MIN, TTL_S_MAX = 60.0, 172_800.0
LOCK_S_MIN, LOCK_S_MAX = 5.0, 300.0

MESSAGE_ID, EXPIRY, ACK = "$.mid", "$.exp", "iothub-ack"
_DESTINATION = "$.to"

Pairs = tuple[tuple[str, str | None], ...]


class Ack(StrEnum):
    """Which ends of a message its sender wants to hear of."""

    NONE = "none"
    POSITIVE = "positive"
    NEGATIVE = "negative"
    FULL = "full"


class Outcome(StrEnum):
    """How a message ended: the `statusCode` of feedback. All but the first are dead letters."""

    SUCCESS = "Success"
    EXPIRED = "Expired"
    DELIVERY_COUNT_EXCEEDED = "DeliveryCountExceeded"
    REJECTED = "Rejected"
    PURGED = "Purged"


class FirstSession(StrEnum):
    """What becomes of a message for a device that never had an MQTT session."""

    DROP = "drop"
    QUEUE = "queue"


@dataclass(frozen=True, slots=True)
class C2dRules:
    """The hub's settings for C2D messages and their feedback, with the vendor's defaults."""

    depth_max: int = 50
    ttl_s: float = 3_600.0
    """How long a message waits that names no expiry: 1 minute to 2 days."""
    lock_s: float = 60.0
    """How long the hub waits for the PUBACK of a delivery."""
    delivery_count_max: int = 10
    """1 to 100."""
    first_session: FirstSession = FirstSession.DROP
    clean_session_discards: bool = False
    """Whether CONNECT with clean session 1 empties the queue, as one vendor document says (section 1.8)."""
    feedback_ttl_s: float = 3_600.0
    feedback_lock_s: float = 60.0
    feedback_delivery_count_max: int = 10

    def __post_init__(self) -> None:
        """UsageError for a setting that the hub does not allow."""
        if not TTL_S_MIN <= self.ttl_s <= TTL_S_MAX:
            raise UsageError(f"ttl_s {self.ttl_s}: must be {TTL_S_MIN:.0f} to {TTL_S_MAX:.0f}")
        if not LOCK_S_MIN <= self.lock_s <= LOCK_S_MAX:
            raise UsageError(f"lock_s {self.lock_s}: must be {LOCK_S_MIN:.0f} to {LOCK_S_MAX:.0f}")
        if not 1 <= self.delivery_count_max <= 100:
            raise UsageError(f"delivery_count_max {self.delivery_count_max}: must be 1 to 100")


VENDOR_RULES = C2dRules()


@dataclass(frozen=True, slots=True)
class C2dMessage:
    """A message for a device. `properties` are application properties and system ones such as ``$.ct``, decoded.

    `message_id` empty: the hub makes one. `expires_at` in Unix seconds; None: the hub's TTL.
    """

    body: bytes
    message_id: str = ""
    properties: Pairs = ()
    ack: Ack = Ack.NONE
    expires_at: float | None = None

    @property
    def size(self) -> int:
        """Bytes that count towards `MESSAGE_BYTES_MAX`."""
        named = sum(len(name.encode()) + len((value or "").encode()) for name, value in self.properties)
        return len(self.body) + len(self.message_id.encode()) + named

    @property
    def delivered_properties(self) -> Pairs:
        """What follows ``$.to`` and ``$.mid`` in the bag of a delivery."""
        asked: Pairs = ((ACK, self.ack.value),) if self.ack is not Ack.NONE else ()
        return (*self.properties, *asked)


@dataclass(frozen=True, slots=True)
class Waiting:
    """A queued message as the rules see it. Times in Unix seconds; `locked_until` None: nobody has it."""

    expires_at: float
    locked_until: float | None = None
    delivery_count: int = 0

    @property
    def due_at(self) -> float:
        """When time alone changes something."""
        return self.expires_at if self.locked_until is None else self.locked_until

    def locked(self, now: float) -> bool:
        """Whether a delivery of it may still be acknowledged."""
        return self.locked_until is not None and now < self.locked_until


@dataclass(frozen=True, slots=True)
class C2dDelivery:
    """One delivery of a message. `lock` completes or abandons it, and no other delivery."""

    lock: str
    sequence: int
    message: C2dMessage
    delivery_count: int = field(default=1)
    """1 the first time; DUP is set above that (section 1.7)."""


def parse_message(properties: Iterable[tuple[str, str | None]], body: bytes) -> C2dMessage:
    """A message from its property bag: ``$.mid``, ``$.exp`` (ISO 8601) and ``iothub-ack`` are taken out of it.

    HubError 400004 for a value that means nothing, 413001 for a message that is too long.
    """
    bag = tuple((name, value) for name, value in properties if name != _DESTINATION)
    taken = {name: value or "" for name, value in bag if name in (MESSAGE_ID, EXPIRY, ACK)}
    rest = tuple((name, value) for name, value in bag if name not in taken)
    ack = taken.get(ACK) or Ack.NONE
    if ack not in tuple(Ack):
        raise HubError(ErrorCode.BAD_ARGUMENT, f"{ACK}: must be one of {', '.join(Ack)}")
    message = C2dMessage(body, taken.get(MESSAGE_ID, ""), rest, Ack(ack), _expiry(taken.get(EXPIRY, "")))
    check(message)
    return message


def check(message: C2dMessage) -> None:
    """HubError 413001 for a message that is too long, 400004 for a message id that cannot be or a nameless property."""
    if not message.message_id.isascii() or len(message.message_id) > MESSAGE_ID_CHARACTERS_MAX:
        raise HubError(ErrorCode.BAD_ARGUMENT, f"{MESSAGE_ID}: at most {MESSAGE_ID_CHARACTERS_MAX} ASCII characters")
    try:
        size = message.size
    except UnicodeEncodeError:
        raise HubError(ErrorCode.BAD_ARGUMENT, "a property is not a text that UTF-8 can carry") from None
    if not all(name for name, _ in message.properties):
        raise HubError(ErrorCode.BAD_ARGUMENT, "a property has no name")
    if size > MESSAGE_BYTES_MAX:
        raise HubError(ErrorCode.TOO_LARGE, f"message of {size} bytes: at most {MESSAGE_BYTES_MAX}")


def enqueued(message: C2dMessage, now: float, rules: C2dRules) -> Waiting:
    """A message that has just come. An expiry more than two days ahead counts as two days (assumed)."""
    expires_at = now + rules.ttl_s if message.expires_at is None else message.expires_at
    return Waiting(min(expires_at, now + TTL_S_MAX))


def delivered(waiting: Waiting, now: float, rules: C2dRules) -> Waiting:
    """A message that is sent to its device now, and invisible until it is acknowledged or its lock ends."""
    return Waiting(waiting.expires_at, now + rules.lock_s, waiting.delivery_count + 1)


def released(waiting: Waiting) -> Waiting:
    """A delivered message that waits again: its lock has ended, or the connection."""
    return Waiting(waiting.expires_at, None, waiting.delivery_count)


def fate(waiting: Waiting, now: float, rules: C2dRules) -> Outcome | None:
    """Why a message is dead; None while it lives. One that is locked is safe, even from its expiry."""
    if waiting.locked(now):
        return None
    if waiting.delivery_count >= rules.delivery_count_max:
        return Outcome.DELIVERY_COUNT_EXCEEDED
    return Outcome.EXPIRED if now >= waiting.expires_at else None


def reports(ack: Ack, outcome: Outcome) -> bool:
    """Whether the sender of a message hears of its end."""
    if outcome is Outcome.SUCCESS:
        return ack in (Ack.POSITIVE, Ack.FULL)
    return ack in (Ack.NEGATIVE, Ack.FULL)


def _expiry(text: str) -> float | None:
    if not text:
        return None
    try:
        at = datetime.fromisoformat(text)
        return (at if at.tzinfo else datetime.fromisoformat(f"{text}+00:00")).timestamp()
    except (ValueError, OverflowError):
        raise HubError(ErrorCode.BAD_ARGUMENT, f"{EXPIRY}: must be a time such as 2026-06-01T12:00:00Z") from None
