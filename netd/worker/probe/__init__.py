"""The process that imports what services run, and reports what it is. It serves nothing."""
