"""netd against its peers, in turn, in one run; see ``bench/README.md``."""
