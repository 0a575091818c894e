//! Every limit, its default, what a peer sees of it, and where it is counted. There is no code here.
//!
//! Nothing has to be set to be safe: a daemon lets nobody in and runs nothing until it is told to, and everything below
//! is on, but the greatest age of a connection. Raise what your users need, and lower what they do not.
//!
//! # Before the login
//!
//! | limit | default | set by | beyond it | counted in |
//! |---|---|---|---|---|
//! | connections | 1,024 | [`max_connections`] | one line of text, then closed | `refused_connections` |
//! | connections without a login | 64 | [`max_unauthenticated`] | the same | `refused_unauthenticated` |
//! | early random drop | 30 % from 10 on, rising to all at 64 | [`max_startups`] | the same | `refused_early` |
//! | without a login, from one source | 16 | [`max_per_source`] | the same | `refused_per_source` |
//! | connections from one source | 128 | [`max_connections_per_source`] | the same | `refused_per_source` |
//! | refused logins from one source | barred after 12 at once, or 14 one after the other; each is forgotten after 5 s | [`source_penalties`] | the same | `refused_barred` |
//! | login grace, from the TCP connection on; nothing refreshes it | 120 s | [`login_grace`] | SSH_MSG_DISCONNECT between two messages, otherwise the connection is cut | `login_timeouts` |
//! | version exchange, key exchange | 10 s, 30 s | [`timeouts`] | the connection is cut | `login_timeouts` |
//! | refused logins on a connection | 6 | [`max_auth_attempts`] | further ones are refused without a look, then SSH_MSG_DISCONNECT | [`LoginStats`]`::exhausted` |
//! | login requests of any kind on a connection | 1,024 | | the connection ends | `logins_failed` |
//! | bytes of a user name | 1,024 | | the connection ends | `logins_failed` |
//! | time of a refusal, at least | 1 s; an offered key 50 ms | [`login_delay`] | | [`LoginStats`]`::refused` |
//!
//! A source is an IPv4 address, or an IPv6 network of 64 bits. Before the login nothing of the connection protocol exists:
//! channels have no door to come in by until a login has made one.
//!
//! # After the login
//!
//! | limit | default | set by | beyond it | counted in |
//! |---|---|---|---|---|
//! | channels at a time | 64 (a client's: 4,096) | [`max_channels`] | SSH_OPEN_RESOURCE_SHORTAGE | `opens_refused` |
//! | session channels at a time | as many as channels | [`SessionLimits::max_sessions`] | SSH_OPEN_RESOURCE_SHORTAGE | `opens_refused` |
//! | opens in a connection's life, refused ones too | 16,384 | [`SessionLimits::max_opens`] | SSH_OPEN_RESOURCE_SHORTAGE; the connection ends with its last channel | `opens_refused` |
//! | opens per second | 2,000, and 4,000 at once | [`SessionLimits::opens`] | SSH_OPEN_RESOURCE_SHORTAGE; at ten times as many SSH_MSG_DISCONNECT | `opens_refused`, `expelled` |
//! | requests per second | 10,000, and 20,000 at once | [`SessionLimits::requests`] | SSH_MSG_CHANNEL_FAILURE; at ten times as many SSH_MSG_DISCONNECT | `requests_refused`, `expelled` |
//! | environment variables of a channel, their bytes | 256, 64 KiB | [`SessionLimits`] | SSH_MSG_CHANNEL_FAILURE | `requests_refused` |
//! | bytes of a command | 256 KiB | [`SessionLimits::command_bytes`] | SSH_MSG_CHANNEL_FAILURE | `requests_refused` |
//! | bytes of a terminal's or a subsystem's name | 256 | [`SessionLimits::name_bytes`] | SSH_MSG_CHANNEL_FAILURE | `requests_refused` |
//! | columns, rows and pixels of a terminal | 65,535 | [`SessionLimits::terminal_side`] | SSH_MSG_CHANNEL_FAILURE | `requests_refused` |
//! | a session channel's wait for its first request | 120 s | [`SessionLimits::first_request`] | SSH_MSG_CHANNEL_CLOSE | |
//! | a route's decision about an open, about a request | 30 s, 30 s | [`timeouts`] | refused | `opens_refused`, `requests_refused` |
//! | listeners at a time (`tcpip-forward`, `streamlocal-forward@openssh.com`) | none without a [policy]; then 32 | [`SessionLimits::max_listeners`] | SSH_MSG_REQUEST_FAILURE | `requests_refused` |
//! | connections to them at a time | 48, and as many as channels | [`SessionLimits::max_forwarded`] | they wait; without a place for a channel they are closed | `opens_failed` of the connection |
//! | a decision about a listener | 30 s, in which nothing of its connection is read | [`timeouts`]: `request` | SSH_MSG_REQUEST_FAILURE | `requests_refused` |
//! | a client's answer to a channel that the daemon opens | 30 s; its place is taken until it answers or the connection ends | [`timeouts`]: `open` | the forwarded connection is closed | `opens_failed` of the connection |
//! | a connection that `direct-tcpip` and `direct-streamlocal` want | 30 s | [`timeouts`]: `open` | SSH_OPEN_CONNECT_FAILED | `opens_refused` |
//! | time without a first channel or listener | 120 s | [`initial_idle_timeout`] | SSH_MSG_DISCONNECT | `idle_timeouts` |
//! | time without any channel or listener | 15 min | [`idle_timeout`] | SSH_MSG_DISCONNECT | `idle_timeouts` |
//! | life of a connection | none | [`max_lifetime`] | SSH_MSG_DISCONNECT | `lifetimes_over` |
//! | a peer that answers nothing | three times 30 s, a question after each | [`keepalive`] | the connection is cut | `peers_dead` |
//! | a peer that takes nothing | 30 s | [`timeouts`]: `write_stall` | the connection is cut | `write_stalls` |
//! | new keys | after 1 GiB or an hour | [`rekey`] | | |
//! | a graceful close | 10 s | [`timeouts`] | the channel, or the connection, is cut | |
//!
//! Global requests count as requests. Those that are refused for their rate get SSH_MSG_REQUEST_FAILURE.
//!
//! # What a server can do to a client
//!
//! | limit | default | set by | beyond it | counted in |
//! |---|---|---|---|---|
//! | channels that were not asked for | none | | SSH_OPEN_ADMINISTRATIVELY_PROHIBITED | `opens_refused` |
//! | channels at a time, our own included | 4,096 | [`Limits::max_channels`] | SSH_OPEN_RESOURCE_SHORTAGE | `opens_refused` |
//! | opens per second | 2,000, and 4,000 at once | | SSH_OPEN_RESOURCE_SHORTAGE; at ten times as many SSH_MSG_DISCONNECT | `opens_refused` |
//! | an open that comes before the answer to what asks for it | the open timeout, 30 s | [`Timeouts::open`] | refused | `opens_refused` |
//! | connections of a forward at a time | 1,024 | [`Forward::max_connections`] | they wait; what a server opens is refused | `refused` of the forward |
//! | connections to the agent that is lent | none without a command that lends it; then 16, until its channel is closed | [`AgentForward::max_connections`] | refused, or cut off | `opens_refused` |
//! | bytes of a message to or of the agent | 256 KiB | | the connection is closed | |
//! | connections to the display that is lent | none without a command that lends it; then 100 | [`X11Forward::max_connections`] | an X11 refusal with a word, then closed | |
//! | an X11 client's first packet | 48 bytes, 30 s, with the cookie that was made up for the command | | the same | |
//! | when untrusted X11 clients may connect | for 20 min | [`X11Forward::timeout`] | the same | |
//! | bytes of a dialogue that nothing has matched | 1 MiB | `DialogOptions::buffer` | the step fails; the channel's window is withheld | |
//! | bytes of a NETCONF message; of all notifications that wait, and their number | 64 MiB; the same, 256 | `NetconfCodec::max_message`, `NetconfOptions::notifications` | the request fails | |
//! | an answer of an SFTP server | 30 s | `SftpOptions::timeout` | the request fails | |
//! | names in a directory of an SFTP server, in a tree | 1,000,000, 10,000,000 | `SftpOptions::most_entries`, `Transfer::most_entries` | the listing, or the transfer, fails | |
//!
//! # Memory
//!
//! | limit | default | set by | beyond it | counted in |
//! |---|---|---|---|---|
//! | received and not consumed, a channel | 2 MiB | [`channel_options`]: `receive_budget` | by [`SlowConsumer`] | [`ChannelInfo`] |
//! | received and not consumed, a connection | 64 MiB | [`limits`]: `inbound_budget` | reading stops; who is at fault is ended after 30 s; one that is to make way for its siblings ([`Yield`](crate::config::SlowConsumer::Yield), forwarded connections after 5 s) as soon as it took less than 4 KiB in its time | `channels_stalled` |
//! | to be sent, a channel | 1 MiB | [`channel_options`]: `high_water` | the sender waits | [`ChannelInfo`] |
//! | to be sent, handed to the SSH library, a connection | 1 MiB | [`limits`]: `outbound_budget` | senders wait | |
//! | window, packet | 2 MiB, 32 KiB | [`limits`] | | |
//! | each event in a queue | 128 bytes beside its payload | | counted as received | |
//!
//! What is there without any payload, measured with a thousand connections on x86-64: about 70 KiB a connection, and 22 KiB
//! more a channel with an echoing behaviour, in the daemon's process.
//!
//! # Processes and files
//!
//! | limit | default | set by | beyond it | counted in |
//! |---|---|---|---|---|
//! | processes at a time | 1,024 | `Processes::max_processes` | the command is refused with a word | |
//! | after the channel's end | SIGHUP, 5 s later SIGKILL | `Processes::kill_grace` | | |
//! | environment taken from the peer | `LANG`, `LC_*` | `Processes::env_allow` | passed over | |
//! | the peer's agent and display | not taken | [`Router::agent_forwarding`], [`Router::x11_forwarding`] | the request is refused | |
//! | sessions of a user that have the peer's agent, its display | 256, 64 | [`max_agents_per_user`], [`max_displays_per_user`] | SSH_MSG_CHANNEL_FAILURE | `requests_refused` |
//! | making their sockets, in which nothing of the connection is read | 30 s | [`timeouts`]: `request` | SSH_MSG_CHANNEL_FAILURE | |
//! | connections to them, a session | 16, 32 | | the others wait | |
//! | open files and directories of an SFTP session | 128 | `Sftp::max_handles` | the open fails | `refused_handles` |
//! | bytes of a path | 4,096 | `Sftp::max_path` | the request fails | `refused_paths` |
//! | bytes of an SFTP packet | 256 KiB | `Sftp::max_packet` | the channel ends | `refused_packets` |
//! | writing | no | `Sftp::read_only` | SSH_FX_PERMISSION_DENIED | `refused_changes` |
//!
//! The last four are in `Sftp::counters`.
//!
//! # What is left to you
//!
//! - The SSH library answers unknown channel types, unknown requests and unknown global requests by itself; they cannot be counted.
//!   They cost a peer its own time and no memory.
//! - Each channel that the daemon closes first costs about 4 KiB until its connection ends; `max_opens` is the bound.
//! - Limits are per connection or per daemon. A user with many connections has many times as much: bound users by
//!   [`on_login`] and [`DaemonRef::kick`], or by a decision in the login callback.
//! - [`DaemonCounters`] (where the names above are from), [`LoginStats`] and `SftpCounters` only grow: watch them.
//!
//! [`Router::agent_forwarding`]: crate::Router::agent_forwarding
//! [`Router::x11_forwarding`]: crate::Router::x11_forwarding
//! [`max_connections`]: crate::DaemonConfig::max_connections
//! [`max_unauthenticated`]: crate::DaemonConfig::max_unauthenticated
//! [`max_startups`]: crate::DaemonConfig::max_startups
//! [`max_per_source`]: crate::DaemonConfig::max_per_source
//! [`max_connections_per_source`]: crate::DaemonConfig::max_connections_per_source
//! [`source_penalties`]: crate::DaemonConfig::source_penalties
//! [`login_grace`]: crate::DaemonConfig::login_grace
//! [`timeouts`]: crate::DaemonConfig::timeouts
//! [`max_auth_attempts`]: crate::DaemonConfig::max_auth_attempts
//! [`login_delay`]: crate::DaemonConfig::login_delay
//! [`max_channels`]: crate::DaemonConfig::max_channels
//! [`max_agents_per_user`]: crate::DaemonConfig::max_agents_per_user
//! [`max_displays_per_user`]: crate::DaemonConfig::max_displays_per_user
//! [`initial_idle_timeout`]: crate::DaemonConfig::initial_idle_timeout
//! [`idle_timeout`]: crate::DaemonConfig::idle_timeout
//! [`max_lifetime`]: crate::DaemonConfig::max_lifetime
//! [`keepalive`]: crate::DaemonConfig::keepalive
//! [`channel_options`]: crate::DaemonConfig::channel_options
//! [`limits`]: crate::DaemonConfig::limits
//! [`on_login`]: crate::DaemonConfig::on_login
//! [`DaemonRef::kick`]: crate::DaemonRef::kick
//! [`DaemonCounters`]: crate::DaemonCounters
//! [`LoginStats`]: crate::login::LoginStats
//! [`rekey`]: crate::DaemonConfig::rekey
//! [`ChannelInfo`]: crate::observe::ChannelInfo
//! [`SlowConsumer`]: crate::config::SlowConsumer
//! [`SessionLimits`]: crate::SessionLimits
//! [`SessionLimits::max_opens`]: crate::SessionLimits::max_opens
//! [`SessionLimits::max_sessions`]: crate::SessionLimits::max_sessions
//! [`SessionLimits::max_listeners`]: crate::SessionLimits::max_listeners
//! [`SessionLimits::max_forwarded`]: crate::SessionLimits::max_forwarded
//! [`Limits::max_channels`]: crate::config::Limits::max_channels
//! [`Timeouts::open`]: crate::config::Timeouts::open
//! [`Forward::max_connections`]: crate::forward::Forward::max_connections
//! [`AgentForward::max_connections`]: crate::auth::AgentForward::max_connections
//! [`X11Forward::max_connections`]: crate::x11::X11Forward::max_connections
//! [`X11Forward::timeout`]: crate::x11::X11Forward::timeout
//! [policy]: crate::Router::listen_tcpip
//! [`SessionLimits::first_request`]: crate::SessionLimits::first_request
//! [`SessionLimits::opens`]: crate::SessionLimits::opens
//! [`SessionLimits::requests`]: crate::SessionLimits::requests
//! [`SessionLimits::command_bytes`]: crate::SessionLimits::command_bytes
//! [`SessionLimits::name_bytes`]: crate::SessionLimits::name_bytes
//! [`SessionLimits::terminal_side`]: crate::SessionLimits::terminal_side
