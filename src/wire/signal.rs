//! Signal names (RFC 4254 section 6.10).
