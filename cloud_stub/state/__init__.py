"""What the hub remembers, in one SQLite database: registry, twins, queues of C2D messages, MQTT sessions."""
