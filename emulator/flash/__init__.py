"""The charger's flash: a chip of sectors, the store that survives power cuts on it, and what can be wrong with it."""

from emulator.flash.api import Flash, FlashError, FlashReason, kept
from emulator.flash.pool import SectorPool
from emulator.flash.store import FlashStore, MemoryFlash

__all__ = ["Flash", "FlashError", "FlashReason", "FlashStore", "MemoryFlash", "SectorPool", "kept"]
