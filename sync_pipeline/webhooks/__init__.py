"""Clockify's webhooks: subscribing to them, and a receiver that verifies, stores and answers."""
