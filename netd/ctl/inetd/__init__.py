"""From the configuration of inetd or xinetd to one of netd: pure reading, deciding and writing."""
