"""Several machines on one: `make scale`."""
