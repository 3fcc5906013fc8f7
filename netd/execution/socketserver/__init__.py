"""Server classes: their overrides are called where ``socketserver`` calls them.

An override that a class does not have costs nothing.
"""
