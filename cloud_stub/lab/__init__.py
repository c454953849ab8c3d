"""A site, a mobile operator and the internet in network namespaces of this machine, on true ports and addresses."""
