"""The charger's connection to the hub: TLS plus the MQTT machine over one stream, used once."""
