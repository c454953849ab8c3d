"""Endpoint processes behind one port, supervised by the main process."""
