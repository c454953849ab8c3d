"""The device endpoint of the IoT hub: what it decides, says and forgets about each connection."""
