"""The daemon's side of the admin socket: a snapshot of what runs, and commands, over HTTP.

``endpoint`` binds the socket, ``listener`` accepts, ``api`` is the HTTP, ``commands`` carries out
and ``snapshot`` describes. It may use the daemon and everything below it; nothing imports it but
``netd.tap``. Three rules hold:

* A command answers when it has been carried out.
* Answers are plain JSON values: ``netdctl`` may be of another version.
* What happens here never holds up the daemon: connections are bounded, bodies are not kept.
"""
