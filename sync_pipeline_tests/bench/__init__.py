"""How fast, how frugal, how small: `make bench` measures the real command line on a sandbox."""
