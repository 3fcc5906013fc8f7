"""A configuration at work, and how the next one takes its place: reload, drain, upgrade.

The new generation is ready before the old one stops accepting; until then it accepts nothing, so
that a reload that fails loses no connection.
"""
