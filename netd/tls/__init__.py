"""TLS: one ``[tls]`` table becomes two contexts; certificates, keys and the names in them.

Imports the model and ``core``. Rules:

* Blocking handlers use the OpenSSL of Python's ``ssl``, the reactor that of ``cryptography``. A
  client must not see a difference: ``offer`` decides what either would decide by itself.
* Contexts are never changed once they are made. A reload makes new ones.
* Contexts are made without opening a file. The daemon reads certificates and keys before it drops
  privileges, and workers get their content.
* Private names of a library stand in one module: ``openssl_private`` or ``twisted_private``.
"""
