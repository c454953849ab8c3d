"""Why the charger had to restart by itself, kept in flash until the cloud has been told (observation 807)."""

from emulator.flash.api import Flash, forgotten, kept

KEY = "diagnostics.log"
TEXT_MAX = 100  # characters, as in the open firmware


class DiagnosticsLog:
    """One text. The first that nobody has been told of stays; later ones are lost (zaptec.md section 13)."""

    __slots__ = ("_flash",)

    def __init__(self, flash: Flash) -> None:
        self._flash = flash

    @property
    def text(self) -> str | None:
        """What is to be told; None: nothing."""
        stored = self._flash.get(KEY)
        return None if stored is None else stored.decode(errors="replace")[:TEXT_MAX]

    def note(self, text: str) -> None:
        """Keep a text, if there is none."""
        if self._flash.get(KEY) is None:
            kept(self._flash, KEY, text[:TEXT_MAX].encode())

    def clear(self) -> None:
        """The cloud has been told."""
        forgotten(self._flash, KEY)
