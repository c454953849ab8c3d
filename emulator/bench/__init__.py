"""The bench: drives a running charger over HTTP, past its network. It is the runner's; the charger never listens."""
