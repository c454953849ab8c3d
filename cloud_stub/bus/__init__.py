"""The backbone between the processes of the cloud: topics, three clients of Mosquitto and a bus inside the process."""
