"""The firmware of one Zaptec Pro, on asyncio."""
