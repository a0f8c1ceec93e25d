"""The Clockify side of the sandbox, written against Clockify's published behaviour."""
