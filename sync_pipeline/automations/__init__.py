"""Automations: one YAML file each, switched off until a person switches them on."""
