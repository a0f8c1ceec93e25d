"""HighLevel: its locations are read; other entities are kept as records of custom objects in one location."""
