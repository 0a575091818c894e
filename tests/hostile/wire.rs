//! Payloads of SSH messages, built and taken apart by hand (RFC 4251 section 5): whatever a test asks for, true to
//! the protocol or not.

/// Message numbers (RFC 4250 section 4.1.2).
pub(crate) mod number {
    pub(crate) const DISCONNECT: u8 = 1;
    pub(crate) const IGNORE: u8 = 2;
    pub(crate) const UNIMPLEMENTED: u8 = 3;
    pub(crate) const DEBUG: u8 = 4;
    pub(crate) const SERVICE_REQUEST: u8 = 5;
    pub(crate) const SERVICE_ACCEPT: u8 = 6;
    pub(crate) const EXT_INFO: u8 = 7;
    pub(crate) const KEXINIT: u8 = 20;
    pub(crate) const NEWKEYS: u8 = 21;
    pub(crate) const ECDH_INIT: u8 = 30;
    pub(crate) const ECDH_REPLY: u8 = 31;
    pub(crate) const USERAUTH_REQUEST: u8 = 50;
    pub(crate) const USERAUTH_FAILURE: u8 = 51;
    pub(crate) const USERAUTH_SUCCESS: u8 = 52;
    pub(crate) const USERAUTH_BANNER: u8 = 53;
    pub(crate) const USERAUTH_PK_OK: u8 = 60;
    pub(crate) const USERAUTH_INFO_REQUEST: u8 = 60;
    pub(crate) const USERAUTH_INFO_RESPONSE: u8 = 61;
    pub(crate) const GLOBAL_REQUEST: u8 = 80;
    pub(crate) const REQUEST_SUCCESS: u8 = 81;
    pub(crate) const REQUEST_FAILURE: u8 = 82;
    pub(crate) const CHANNEL_OPEN: u8 = 90;
    pub(crate) const OPEN_CONFIRMATION: u8 = 91;
    pub(crate) const OPEN_FAILURE: u8 = 92;
    pub(crate) const WINDOW_ADJUST: u8 = 93;
    pub(crate) const CHANNEL_DATA: u8 = 94;
    pub(crate) const EXTENDED_DATA: u8 = 95;
    pub(crate) const CHANNEL_EOF: u8 = 96;
    pub(crate) const CHANNEL_CLOSE: u8 = 97;
    pub(crate) const CHANNEL_REQUEST: u8 = 98;
    pub(crate) const CHANNEL_SUCCESS: u8 = 99;
    pub(crate) const CHANNEL_FAILURE: u8 = 100;
    /// OpenSSH's transport ping.
    pub(crate) const PING: u8 = 192;
}

/// A payload under construction.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Payload(pub(crate) Vec<u8>);

impl Payload {
    pub(crate) fn new(number: u8) -> Self {
        Self(vec![number])
    }

    pub(crate) fn byte(mut self, value: u8) -> Self {
        self.0.push(value);
        self
    }

    pub(crate) fn bool(self, value: bool) -> Self {
        self.byte(value.into())
    }

    pub(crate) fn u32(mut self, value: u32) -> Self {
        self.0.extend_from_slice(&value.to_be_bytes());
        self
    }

    pub(crate) fn string(self, value: impl AsRef<[u8]>) -> Self {
        let value = value.as_ref();
        self.u32(u32::try_from(value.len()).unwrap()).raw(value)
    }

    /// A string that claims a length it does not have.
    pub(crate) fn lying_string(self, claimed: u32, value: impl AsRef<[u8]>) -> Self {
        self.u32(claimed).raw(value)
    }

    pub(crate) fn raw(mut self, bytes: impl AsRef<[u8]>) -> Self {
        self.0.extend_from_slice(bytes.as_ref());
        self
    }

    /// A positive number of many bytes.
    pub(crate) fn mpint(self, value: &[u8]) -> Self {
        let start = value.iter().position(|byte| *byte != 0).unwrap_or(value.len());
        let value = &value[start..];
        match value.first() {
            Some(first) if first & 0x80 != 0 => self.string([&[0], value].concat()),
            _ => self.string(value),
        }
    }
}

impl AsRef<[u8]> for Payload {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// Reads a payload of the daemon's, which must be well-formed.
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl<'a> Reader<'a> {
    /// Behind the message number.
    pub(crate) fn after_number(payload: &'a [u8]) -> Self {
        Self(&payload[1..])
    }

    pub(crate) fn take(&mut self, len: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(len);
        self.0 = rest;
        taken
    }

    pub(crate) fn byte(&mut self) -> u8 {
        self.take(1)[0]
    }

    pub(crate) fn u32(&mut self) -> u32 {
        u32::from_be_bytes(self.take(4).try_into().unwrap())
    }

    pub(crate) fn string(&mut self) -> &'a [u8] {
        let len = self.u32();
        self.take(usize::try_from(len).unwrap())
    }

    pub(crate) fn text(&mut self) -> String {
        String::from_utf8(self.string().to_vec()).unwrap()
    }
}

/// A channel message to this channel of the peer's.
pub(crate) fn to_channel(number: u8, channel: u32) -> Payload {
    Payload::new(number).u32(channel)
}

/// SSH_MSG_CHANNEL_OPEN (RFC 4254 section 5.1).
pub(crate) fn open(kind: &str, ours: u32, window: u32, max_packet: u32) -> Payload {
    Payload::new(number::CHANNEL_OPEN).string(kind).u32(ours).u32(window).u32(max_packet)
}

/// SSH_MSG_CHANNEL_REQUEST without what follows the common part (RFC 4254 section 5.4).
pub(crate) fn request(channel: u32, kind: &str, want_reply: bool) -> Payload {
    to_channel(number::CHANNEL_REQUEST, channel).string(kind).bool(want_reply)
}

/// SSH_MSG_CHANNEL_DATA.
pub(crate) fn data(channel: u32, data: impl AsRef<[u8]>) -> Payload {
    to_channel(number::CHANNEL_DATA, channel).string(data)
}

/// SSH_MSG_CHANNEL_EXTENDED_DATA.
pub(crate) fn extended(channel: u32, code: u32, data: impl AsRef<[u8]>) -> Payload {
    to_channel(number::EXTENDED_DATA, channel).u32(code).string(data)
}

/// `pty-req` with these encoded modes (RFC 4254 section 6.2).
pub(crate) fn pty(channel: u32, columns: u32, rows: u32, modes: &[u8]) -> Payload {
    request(channel, "pty-req", true).string("xterm").u32(columns).u32(rows).u32(0).u32(0).string(modes)
}

/// SSH_MSG_USERAUTH_REQUEST up to the name of the method (RFC 4252 section 5).
pub(crate) fn login(user: &str, method: &str) -> Payload {
    Payload::new(number::USERAUTH_REQUEST).string(user).string("ssh-connection").string(method)
}
