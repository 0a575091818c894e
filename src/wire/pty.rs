//! Pseudo-terminal requests and terminal modes (RFC 4254 sections 6.2 and 8).
