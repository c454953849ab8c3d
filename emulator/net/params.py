"""A link as numbers."""

from dataclasses import dataclass

MTU_BYTES = 1500


@dataclass(frozen=True, slots=True)
class LinkParams:
    """What a link does to a packet, the same both ways."""

    delay_s: float = 0.0
    jitter_s: float = 0.0
    loss: float = 0.0
    """Probability that a packet is lost; at 1 the carrier stays and nothing passes."""
    rate_bps: float | None = None
    mtu_bytes: int = MTU_BYTES
    """What is larger travels as several packets, and one lost packet loses all."""
    burst_s: float = 0.0
    """Mean length of the bursts that losses come in; 0: each on its own (Gilbert's model)."""
    up: bool = True


LAN = LinkParams()
DOWN = LinkParams(up=False)
