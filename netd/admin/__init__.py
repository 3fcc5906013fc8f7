"""The administrator's way in: one snapshot of what runs, and one set of commands, over HTTP."""
