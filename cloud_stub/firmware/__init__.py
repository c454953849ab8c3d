"""Firmware: packages that are built and signed, and the server that hands them out."""
