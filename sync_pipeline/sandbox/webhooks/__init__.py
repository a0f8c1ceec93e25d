"""Delivery of Clockify's webhooks to their receivers."""
