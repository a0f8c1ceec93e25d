"""Delivering Clockify's webhooks to whoever asked for them."""
