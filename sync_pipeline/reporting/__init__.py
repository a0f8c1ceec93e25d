"""Reports on both systems, for people and spreadsheets."""
