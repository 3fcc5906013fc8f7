"""Socket options: a table of what each takes and fits, and how a value is packed and set."""
