"""The shape of a configuration file: its tables, their keys and defaults (pydantic).

Only the shape of one file: what files say together is put together in ``load``.

The docstring of a table and the one under each key are for operators, in Markdown: editors, the
reference and ``netdctl`` show them, and a key's first sentence is said when the key is missing.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import AliasChoices, AliasGenerator, BaseModel, ConfigDict, Field

from netd.config.environment import (
    CountLimit,
    Nice,
    SecondsLimit,
    SizeLimit,
    TimeLimit,
    Umask,
    Variables,
)
from netd.config.socket_options import SocketOptions
from netd.config.types import (
    ApplicationProtocol,
    Argument,
    Class,
    Command,
    Datagram,
    Described,
    Duration,
    Entry,
    Function,
    Group,
    Handler,
    Listen,
    Name,
    PathText,
    Proxy,
    ServerName,
    Size,
    Timeout,
    User,
)
from netd.model.log import Format, Level
from netd.model.service import HANDSHAKES
from netd.model.tls import HANDSHAKE_TIMEOUT, ClientCertificate, Version

INCLUDE: Final = "include"
DEFAULTS: Final = "defaults"
SERVICES: Final = "services"

MOST_THREADS: Final = 10_000
"""Threads of a service: each has a slot of the scoreboard and, when it runs, a stack."""

MOST_PROCESSES: Final = 1_000
"""Worker processes of a service: each costs megabytes, and a channel of the daemon's."""

MOST_HANDSHAKES: Final = 1_000_000
"""Connections of a service that have not begun: each has a descriptor, and Linux gives a process
1 048 576 at most where nobody says more (fs.nr_open)."""

ONLY_BESIDE: Final = {"wait": "program", "arguments": "plugin"}
"""Keys of a service that mean something beside another one only."""


class Table(BaseModel):
    """A table of the file: every key is known, and of the type that is written."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class AccessTable(Table):
    """Who may come in.

    A client is admitted that no `deny` entry matches and, where `allow` stands, one of its entries
    does. An address that cannot be read is refused.
    """

    allow: list[Entry] | None = None
    """Who may come in; where it is not there, everybody whom `deny` does not keep out. An empty
    list lets nobody in."""
    deny: list[Entry] = []
    """Who may not come in, `allow` or not."""
    verify_request: Function | None = None
    """A function that is asked after the lists, in the worker, with what `socketserver` passes:
    `(request, client_address)`. True admits; an exception refuses. It may be `async` and await
    Deferreds."""
    verify_timeout: Timeout = 5.0
    """After so long `verify_request` refuses. A plain function that never returns keeps its thread,
    and the log says where it hangs; an `async` one is cancelled."""
    dry_run: bool = False
    """Log and count a refusal, and let the client in all the same."""


def _names(field: str) -> tuple[str, str]:
    """How a limit can be called; ``as``, which is a word of Python's, has a field ``as_``."""
    name = field.rstrip("_")
    return name, f"RLIMIT_{name.upper()}"


class LimitsTable(Table):
    """Resource limits of a service's processes, as getrlimit(2) has them.

    Each by its name there, such as `RLIMIT_NOFILE`, or by the last part of that, `nofile`.
    """

    model_config = ConfigDict(
        alias_generator=AliasGenerator(validation_alias=lambda name: AliasChoices(*_names(name)))
    )

    as_: SizeLimit | None = None
    """Memory that a process may map. Beyond it Python raises MemoryError."""
    core: SizeLimit | None = None
    """The size of a core file; 0 writes none."""
    cpu: SecondsLimit | None = None
    """Processor time; a process that has used it up is ended, and the next one takes its place."""
    data: SizeLimit | None = None
    """Memory for data."""
    fsize: SizeLimit | None = None
    """The size of a file that is written; beyond it Python raises OSError."""
    memlock: SizeLimit | None = None
    """Memory that may be locked."""
    msgqueue: SizeLimit | None = None
    """Memory for POSIX message queues, of all processes of the user."""
    nice: CountLimit | None = None
    """How far the nice value may be lowered: to 20 less this number."""
    nofile: CountLimit | None = None
    """Descriptors that may be open; a connection takes one."""
    nproc: CountLimit | None = None
    """Processes and threads, of the user as a whole."""
    rss: SizeLimit | None = None
    """Resident memory, which Linux does not enforce; `max_memory` does."""
    rtprio: CountLimit | None = None
    """The highest real-time priority that may be asked for."""
    rttime: TimeLimit | None = None
    """Processor time that a real-time process may use without waiting."""
    sigpending: CountLimit | None = None
    """Signals that may be queued, of the user as a whole."""
    stack: SizeLimit | None = None
    """The stack of programs that are started; threads have what the daemon was started with."""


class ServiceLimitsTable(Table):
    """What the service's clients may take of it."""

    handshakes: Annotated[int, Field(ge=1, le=MOST_HANDSHAKES)] = HANDSHAKES
    """Most connections of the service that have not begun: netd waits for their TLS handshake, the
    header of their proxy or their first byte. Each of `processes` worker processes has an equal
    share, and at least 1. Where a worker serves one client at a time, the daemon waits for the
    first byte, within the bound as a whole; the shares are for the handshakes that workers have
    begun. From half of the bound, or of the share, on, a new connection
    may drop another one, at random: 30 % of the new ones do at first, and all of them at the bound,
    as with OpenSSH's `MaxStartups`. It is the connection that has waited longest that is dropped,
    so a flood of silent clients drops itself."""
    amplification: Annotated[float, Field(ge=0)] | None = None
    """How many bytes the answers to a UDP datagram may have for each byte of it; what would be more
    is not sent, and the log says so. Without, a datagram with a forged sender may make a service
    send that sender much more than it costs. Where nothing is said there is no bound; the small
    services have one of their own."""


class ProxyProtocolTable(Table):
    """Who stands before the service, and says by the PROXY protocol whose connection it hands on.

    Rules, limits, logs and handlers speak of the real client then.
    """

    from_: Annotated[list[Proxy], Field(validation_alias=AliasChoices("from"))] = []
    """The proxies. Each of their connections must begin with a header, of version 1 or 2, and so
    must each of their UDP packets; without it a client is refused. What anybody else sends is
    data, header or not."""


class IdentityTable(Table):
    """A certificate for clients that ask for one server name, or for one that a wildcard fits."""

    certificate: PathText
    """The certificate, in PEM, and after it those that lead to its issuer."""
    private_key: PathText | None = None
    """The key, in PEM and without a password. Where nothing is said, it stands in the file of the
    certificate."""


class TlsTable(Table):
    """TLS: for `tls:` and `tls6:` listeners, `unix:` with `:tls=yes`, and STARTTLS.

    Files are read when netd starts and reloads, by the daemon, so the service's `user` need not be
    able to. What has changed in them is served to new connections after a reload.
    """

    certificate: PathText | None = None
    """The service's certificate, in PEM, and after it those that lead to its issuer."""
    private_key: PathText | None = None
    """The key, in PEM and without a password. Where nothing is said, it stands in the file of the
    certificate."""
    self_signed: PathText | None = None
    """In place of `certificate`, a file that netd makes when it is missing or expired: certificate
    and key, mode 600, for `localhost` and the addresses of the loopback, good for 30 days. No
    client trusts it by itself."""
    client_certificate: ClientCertificate = "none"
    """Whether clients are asked for a certificate, and whether they must have one. One that is not
    issued by `client_ca`, or has expired, ends the handshake."""
    client_ca: PathText | None = None
    """Who may have issued the certificates of clients: certificates, in PEM."""
    minimum_version: Version = "TLSv1.2"
    """The oldest version that is spoken."""
    maximum_version: Version | None = None
    """The newest version that is spoken; the newest that there is, where nothing is said."""
    ciphers: str | None = None
    """The ciphers of TLS 1.2, as openssl-ciphers(1) has them. Where nothing is said, those with
    forward secrecy and authenticated encryption."""
    alpn: list[ApplicationProtocol] = []
    """Protocols that are offered, the preferred one first (RFC 7301): `["h2", "http/1.1"]`."""
    handshake_timeout: Timeout = HANDSHAKE_TIMEOUT
    """How long a client may take from its connection to the end of the handshake."""
    suppress_ragged_eofs: bool = True
    """Whether a stream that ends without TLS's own end, which anybody on the way can bring about,
    is an ordinary end to a handler. If not, a blocking handler gets `ssl.SSLEOFError`."""
    sni: Annotated[dict[str, IdentityTable], Described(dict[ServerName, IdentityTable])] = {}
    """Other certificates, by the name that a client asks for: `"host.example"`, or
    `"*.host.example"` for one label more. Whoever asks for any other gets `certificate`."""


class ServiceTable(Table):
    """A service: what runs, where it listens, who may come in, and how it is executed."""

    model_config = ConfigDict(
        json_schema_extra={
            "dependentRequired": {key: [needed] for key, needed in ONLY_BESIDE.items()}
        }
    )

    listen: Annotated[list[Listen], Field(min_length=1)] | None = None
    """Where it listens, like `["tcp:10037"]`. What runs is the same on all of its addresses."""
    handler: Handler | None = None
    """What it runs: a subclass of `socketserver.BaseRequestHandler`, unmodified, an asynchronous
    handler of netd's, or a handler that is registered under a word, such as `"echo"`."""
    server: Class | None = None
    """What it runs: a subclass of `socketserver.BaseServer`, or a function that returns a server.
    The class of its handlers stands in `handler`, where the server needs one."""
    protocol: Class | None = None
    """What it runs: a Twisted `Protocol`, `DatagramProtocol` or `IProtocolFactory`."""
    program: Command | None = None
    """What it runs: a program and its arguments, one process a connection, with the connection as
    its standard input and output. It is found by its path, or by its name in `PATH`."""
    wait: bool = False
    """Whether the `program` gets the listening socket in place of a connection, as inetd's `wait`
    has it."""
    plugin: Name | None = None
    """What it runs: an installed plugin of twistd, in a worker of its own, which listens where its
    `arguments` say, and has no `listen`."""
    arguments: list[Argument] = []
    """The command line of the `plugin`."""
    concurrency: Literal["reactor", "thread", "process"] | None = None
    """How clients are served at once: by the reactor, for protocols and asynchronous handlers; by
    threads, or by processes with a client each, for all others. Where nothing is said a server's
    mix-in decides, and else it is `"thread"`."""
    threads: Annotated[int, Field(ge=1, le=MOST_THREADS)] | None = None
    """Handlers that run at once in a worker process, at most; more clients wait in the backlog. The
    pool grows when that serves more clients, and shrinks when it is idle. Where nothing is said it
    is 100; with `concurrency = "process"`, and for a server without a mix-in, 1."""
    processes: Annotated[int, Field(ge=1, le=MOST_PROCESSES)] | None = None
    """Worker processes. With `concurrency = "process"` the most of them, where nothing is said the
    server's `max_children`, or 40: one is kept ready, and others start as they are needed.
    Otherwise just so many, where nothing is said 1."""
    worker: Name | None = None
    """The worker process that the service runs in. Services that name the same one share it,
    because their handlers share state; each other one has its own."""
    max_requests: Annotated[int, Field(ge=0)] = 0
    """Requests after which a worker process is replaced by one that is ready by then; 0 is never.
    A client that the lists refuse, or whose handshake fails, is no request.
    With `concurrency = "process"` and 1, each client has a process of its own."""
    max_memory: Size | None = None
    """Resident memory of a worker process above which it is replaced, between clients."""
    handler_timeout: Timeout | None = None
    """How long a handler may run. One that runs longer is ended, its connection closed, and the log
    says where it was. A worker with one thread is replaced for it; in others the thread is written
    off, and when a quarter of them is, the worker is replaced."""
    backlog: Annotated[int, Field(ge=1, le=65535)] | None = None
    """Connections that may wait to be taken, as listen(2) counts them. Where nothing is said 1024,
    or what a server class of yours sets as `request_queue_size`."""
    datagram_size: Datagram | None = None
    """The longest datagram; one that is longer is dropped, counted and logged, never cut. Where
    nothing is said 8KiB, or what a server class of yours sets as `max_packet_size`."""
    user: User | None = None
    """Whom the worker runs as, for good and without supplementary groups; as the daemon, where
    nothing is said. It needs a daemon that runs as root."""
    group: Group | None = None
    """The group that the worker runs as; the primary one of `user`, where nothing is said."""
    umask: Umask | None = None
    """Permissions that files which the service makes do not get; as the daemon, where nothing is
    said."""
    nice: Nice | None = None
    """The nice value of its processes, from -20, favoured, to 19; the daemon's, where nothing is
    said. To lower it needs root's rights."""
    working_directory: PathText | None = None
    """Where its processes run, which `user` must be able to enter; where the daemon runs, if
    nothing is said."""
    environment: Variables = {}
    """Environment variables, beside the daemon's own. They are set before what the service runs is
    imported, so what Python itself reads at its start (`PYTHONPATH`) is without effect."""
    rlimits: LimitsTable = LimitsTable()
    """What its processes may use, each; the daemon's limits, where nothing is said."""
    enabled: bool = True
    """Whether the service is there; one that is not is checked all the same."""
    options: dict[str, object] = {}
    """Keyword arguments for what the service runs, after those that `socketserver` gives:
    `options = {directory = "/srv/www"}` for `http.server:SimpleHTTPRequestHandler`."""
    access: AccessTable = AccessTable()
    tls: TlsTable = TlsTable()
    proxy_protocol: ProxyProtocolTable = ProxyProtocolTable()
    limits: ServiceLimitsTable = ServiceLimitsTable()
    socket: SocketOptions = {}
    """Socket options, each by the name of its constant: `socket = {SO_KEEPALIVE = true}`. Each goes
    to those of the service's listeners that it fits, and where it has an effect: before bind, on
    the listener, or on each connection. `netdctl socket-options` and
    [their page](socket-options.md) list them."""


class DaemonTable(Table):
    """The daemon as a whole."""

    graceful_timeout: Duration = 30.0
    """How long a stop waits for running handlers."""
    drain_delay: Duration = 0.0
    """How long a daemon that was told to stop goes on taking clients, while it says that it is not
    ready any more: for load balancers to notice."""


class AdminTable(Table):
    """The administrator's way in."""

    socket: PathText | None = None
    """The Unix socket that `netdctl` comes in by, of mode 600. Where nothing is said, it is
    `/run/netd/admin.sock` for root, else `run/admin.sock` beside the file."""


class LogTable(Table):
    """What is logged, in which form and where.

    Every line of JSON has `time` (RFC 3339), `level`, `service` (`null` for netd itself) and
    `message`; one about a connection also `client`, `transport`, `verdict`, `reason`, `seconds`,
    `bytes_in`, `bytes_out` and `round_trip` (seconds to the client and back, as TCP has measured
    them), `null` where nobody knows. The journal has the same as
    `NETD_SERVICE`, `NETD_CLIENT` and so on: `journalctl -t netd NETD_VERDICT=refused`.

    What twistd is told on its command line wins over `file` and the place that `format` names:
    `--logfile` is written to in `format`, or as text; with `--syslog` or `--logger` twistd writes,
    and netd's own events are not filtered by `level` there.
    """

    format: Format = "text"
    """The form of a record: a line of text; with `"json"` an object a line; with `"journald"` an
    entry of the systemd journal, with fields; with `"syslog"` a message to the local syslog
    (`/dev/log`), facility `daemon`, or as many as a text has lines."""
    level: Level = "info"
    """The least that is logged, also of what handlers log and print (stdout is `info`, stderr
    `warn`). Connections are `info`, however they ended."""
    connections: bool = True
    """Whether every connection and datagram has a line. Without, those that are refused or that
    fail have none, either; tracebacks and dropped datagrams stay."""
    file: PathText | None = None
    """A file, opened again by `USR1`; not with `"journald"` and `"syslog"`. Where nothing is said,
    twistd's own log."""


class IncludedFile(Table):
    """A file that another one includes: services only."""

    services: Annotated[dict[str, dict[str, object]], Described(dict[Name, ServiceTable])] = {}
    """The services, each a table `[services.NAME]`. A name has letters, digits and `. _ -`."""


class MainFile(IncludedFile):
    """The file that is named on the command line."""

    include: list[PathText] = []
    """More files of services, with `*` as in a shell: `["services.d/*.toml"]`."""
    python_path: list[PathText] = []
    """Directories that worker processes import from, before all others but the standard
    library. The daemon imports nothing from them."""
    defaults: Annotated[dict[str, object], Described(ServiceTable)] = {}
    """Any keys of a service, for every service that does not set them. Tables merge, key by key;
    everything else is replaced."""
    daemon: DaemonTable = DaemonTable()
    admin: AdminTable = AdminTable()
    log: LogTable = LogTable()
