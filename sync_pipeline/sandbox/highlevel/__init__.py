"""The HighLevel side of the sandbox: one agency with its locations, users, custom objects and records."""
