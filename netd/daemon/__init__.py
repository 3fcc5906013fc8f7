"""The daemon: workers as seen from above, their supervision, the log. It runs no user's code."""
