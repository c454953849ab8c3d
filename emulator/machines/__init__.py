"""Decisions: (input, now) -> effects. Pure: no asyncio, no sockets, no clock."""
