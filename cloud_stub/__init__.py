"""Everything the charger talks to: site network, hub on Mosquitto, firmware server."""
