"""Which clients are admitted: from an address, credentials or a certificate to a reason word.

Imports the model, ``tls`` (names in certificates) and ``core``. Rules:

* Deciding about lists is pure. Lists are built once and never changed; any thread may ask them. A
  reload makes new ones.
* A refusal is a reason word, not an exception. The words are data: logs and metrics contain them.
* If netd cannot tell which client it is, and a list depends on it, the client is refused.
* A user's filter may raise, hang or block: only the client it was asked about is affected.
"""
