//! Restart types, intensity, backoff. No SSH in here.
