"""One YAML file of facts per flavour of the Snapshots API."""
