"""TLS: one table of the configuration, two contexts; certificates, and who shows one."""
