"""The only package that touches sockets, and the drivers that run machines over them."""
