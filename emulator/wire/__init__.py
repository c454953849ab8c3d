"""Bytes to frozen values and back. Pure: no asyncio, clock, randomness or logging."""
