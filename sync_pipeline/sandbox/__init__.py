"""The APIs as one real local HTTP server: to try the tool without accounts, and to test it."""
