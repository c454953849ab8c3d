"""What the charger is once it is up: charging, reporting, obeying."""
