"""Tests of the webhook receiver and of the subscriptions."""
