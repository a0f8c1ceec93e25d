"""Memory over SQLAlchemy Core: what should be at the target, what is known to be there, and who did what when."""
