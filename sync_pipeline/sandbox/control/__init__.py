"""The sandbox's own controls under ``/_control``: reset, clock, counters, faults, locks, approval."""
