//! Channel requests (RFC 4254 section 6).
