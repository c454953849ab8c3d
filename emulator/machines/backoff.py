"""How long the charger waits before it connects to its hub again."""

from random import Random

from emulator.profile import Backoff


def reconnect_delay_s(attempt: int, *, car: bool, timing: Backoff, rng: Random) -> float:
    """Seconds to wait before reconnecting (zaptec.md section 13).

    Attempt 0, the first after a loss, waits exactly `first_s`. Attempt n waits first + min(n**2, cap) and a random
    part of up to a third of that, or up to a half (with a lower cap) while a `car` is plugged in.
    """
    if attempt == 0:
        return timing.first_s
    cap_s, spread = (timing.cap_with_car_s, 2) if car else (timing.cap_without_car_s, 3)
    wait_s = timing.first_s + min(attempt * attempt, cap_s)
    return wait_s + rng.random() * wait_s / spread
