"""The table of stages from power-on to a confirmed firmware (manual rows M2, M4-M9). Each is a module of its own."""

from emulator.boot.address import address
from emulator.boot.clock import time
from emulator.boot.firmware import firmware
from emulator.boot.hub import hub
from emulator.boot.link import link
from emulator.boot.names import names
from emulator.boot.sequence import BootSequence, Stage
from emulator.boot.trust import trust

STAGES = (
    Stage("link", "Carrier, association or attach", link, back_to="link"),
    Stage("address", "Lease by DHCP", address, back_to="link"),
    Stage("names", "DNS with fallbacks", names, back_to="names"),
    Stage("time", "NTP and the clock gate", time, back_to="names"),
    Stage("trust", "Roots of trust: the signed bundle", trust, back_to="names"),
    Stage("hub", "TLS and SAS login at the hub", hub, back_to="names"),
    Stage("firmware", "Confirm the running image", firmware, back_to="names"),
)

BOOT = BootSequence(STAGES)
