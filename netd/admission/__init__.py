"""Who may come in: pure decisions, from a client's address or credentials to a reason word."""
