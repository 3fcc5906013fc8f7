"""From text to frozen values: reading files, checking them, and saying where something is wrong."""
