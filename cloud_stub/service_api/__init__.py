"""The hub's HTTPS API for back ends: registry, twins, methods, queries, jobs, and a few routes of our own."""
