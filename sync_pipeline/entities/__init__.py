"""Facts about each entity: one YAML file a kind of record, with sample pairs beside it."""
