"""The console: web pages on loopback for people who set up both systems and look after them."""
