//! The first packet of an X11 connection, in which a client says who it is (X Window System Protocol, section 8).
//!
//! Without I/O. One byte says the byte order; lengths of 16 bits follow, then the name of the authentication method and
//! its data, each filled up to a multiple of four.

use super::cookie::{Cookie, MIT_MAGIC_COOKIE};

/// Bytes before the name of the method.
const HEADER: usize = 12;
/// No first packet that can be right is longer: header, `MIT-MAGIC-COOKIE-1`, 16 bytes.
pub(crate) const MAX_SETUP: usize = HEADER + 20 + 16;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Big,
    Little,
}

impl Order {
    const fn number(self, bytes: [u8; 2]) -> u16 {
        match self {
            Self::Big => u16::from_be_bytes(bytes),
            Self::Little => u16::from_le_bytes(bytes),
        }
    }

    const fn bytes(self, number: u16) -> [u8; 2] {
        match self {
            Self::Big => number.to_be_bytes(),
            Self::Little => number.to_le_bytes(),
        }
    }
}

/// A first packet that is complete, and shows a cookie.
#[derive(Debug)]
pub(crate) struct Setup<'a> {
    order: Order,
    version: [u8; 4],
    shown: &'a [u8],
    /// What came behind it.
    rest: &'a [u8],
}

/// Why a first packet leads nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wrong {
    /// It is none of X11.
    NoX11,
    /// It shows no cookie of the method that is forwarded.
    NoCookie,
}

impl<'a> Setup<'a> {
    /// Reads what has come so far; `None` until it is complete. What cannot get right is refused at once, at the latest
    /// after [`MAX_SETUP`] bytes.
    pub(crate) fn read(came: &'a [u8]) -> Result<Option<Self>, Wrong> {
        let Some(first) = came.first() else { return Ok(None) };
        let order = match first {
            b'B' => Order::Big,
            b'l' => Order::Little,
            _ => return Err(Wrong::NoX11),
        };
        let Some((header, rest)) = came.split_first_chunk::<HEADER>() else { return Ok(None) };
        let [_, _, major0, major1, minor0, minor1, name0, name1, data0, data1, _, _] = *header;
        if order.number([major0, major1]) != 11 {
            return Err(Wrong::NoX11);
        }
        let name_len = usize::from(order.number([name0, name1]));
        let data_len = usize::from(order.number([data0, data1]));
        if name_len != MIT_MAGIC_COOKIE.len() || data_len != 16 {
            return Err(Wrong::NoCookie);
        }
        let Some((name, rest)) = rest.split_at_checked(name_len.next_multiple_of(4)) else { return Ok(None) };
        if !name.starts_with(MIT_MAGIC_COOKIE.as_bytes()) {
            return Err(Wrong::NoCookie);
        }
        let Some((shown, rest)) = rest.split_at_checked(data_len) else { return Ok(None) };
        Ok(Some(Self { order, version: [major0, major1, minor0, minor1], shown, rest }))
    }

    /// The cookie it shows.
    pub(crate) const fn shown(&self) -> &[u8] {
        self.shown
    }

    /// The same packet with this cookie, or without any, and what came behind it.
    pub(crate) fn with(&self, cookie: Option<&Cookie>) -> Vec<u8> {
        let (name, data) = match cookie {
            Some(cookie) => (MIT_MAGIC_COOKIE.as_bytes(), cookie.bytes()),
            None => (&[][..], &[][..]),
        };
        let mut packet = vec![if self.order == Order::Big { b'B' } else { b'l' }, 0];
        packet.extend_from_slice(&self.version);
        for part in [name, data] {
            packet.extend_from_slice(&self.order.bytes(u16::try_from(part.len()).unwrap_or(0)));
        }
        packet.extend_from_slice(&[0, 0]);
        for part in [name, data] {
            packet.extend_from_slice(part);
            packet.resize(packet.len().next_multiple_of(4), 0);
        }
        packet.extend_from_slice(self.rest);
        packet
    }
}

/// What an X server answers to a client that it does not let in, with these words (at most 255 bytes of them).
/// `came` is what the client has said; nothing is answered to one that has not even told its byte order.
pub(crate) fn refusal(came: &[u8], words: &str) -> Vec<u8> {
    let order = match came.first() {
        Some(b'B') => Order::Big,
        Some(b'l') => Order::Little,
        _ => return Vec::new(),
    };
    let words: Vec<u8> = words.bytes().take(255).collect();
    let padded = words.len().next_multiple_of(4);
    let mut answer = vec![0, u8::try_from(words.len()).unwrap_or(u8::MAX)];
    for number in [11, 0, u16::try_from(padded / 4).unwrap_or(0)] {
        answer.extend_from_slice(&order.bytes(number));
    }
    answer.extend_from_slice(&words);
    answer.resize(8 + padded, 0);
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(order: Order, name: &[u8], data: &[u8], rest: &[u8]) -> Vec<u8> {
        let mut packet = vec![if order == Order::Big { b'B' } else { b'l' }, 0];
        let (name_len, data_len) = (u16::try_from(name.len()).unwrap(), u16::try_from(data.len()).unwrap());
        for number in [11, 0, name_len, data_len, 0] {
            packet.extend(order.bytes(number));
        }
        for part in [name, data] {
            packet.extend(part);
            packet.resize(packet.len().next_multiple_of(4), 0);
        }
        packet.extend(rest);
        packet
    }

    #[test]
    fn the_cookie_is_exchanged_in_both_byte_orders_however_the_packet_is_split() {
        for order in [Order::Big, Order::Little] {
            let (fake, real) = (Cookie::made_up(), Cookie::made_up());
            let came = packet(order, MIT_MAGIC_COOKIE.as_bytes(), fake.bytes(), b"request");
            assert_eq!(came.len(), MAX_SETUP + 7);
            for split in 0..MAX_SETUP {
                assert!(Setup::read(&came[..split]).unwrap().is_none(), "cut at {split}");
            }
            let setup = Setup::read(&came).unwrap().unwrap();
            assert!(fake.is(setup.shown()) && !real.is(setup.shown()));
            let expected = packet(order, MIT_MAGIC_COOKIE.as_bytes(), real.bytes(), b"request");
            assert_eq!(setup.with(Some(&real)), expected);
            assert_eq!(setup.with(None), packet(order, b"", b"", b"request"));
        }
    }

    #[test]
    fn a_packet_that_cannot_get_right_is_refused_before_more_is_waited_for() {
        let cookie = [7; 16];
        for (came, wrong) in [
            (b"GET / HTTP".to_vec(), Wrong::NoX11),
            (b"l\0\x0a\0\0\0\x12\0\x10\0\0\0".to_vec(), Wrong::NoX11),
            (b"B\0\x0b\0\0\0\x12\0\x10\0\0\0".to_vec(), Wrong::NoX11),
            (b"l\0\x0b\0\0\0\xff\xff\xff\xff\0\0".to_vec(), Wrong::NoCookie),
            (packet(Order::Big, b"", b"", b""), Wrong::NoCookie),
            (packet(Order::Big, b"MIT-MAGIC-COOKIE-2", &cookie, b""), Wrong::NoCookie),
            (packet(Order::Little, b"XDM-AUTHORIZATION-1", &cookie, b""), Wrong::NoCookie),
            (packet(Order::Little, MIT_MAGIC_COOKIE.as_bytes(), &cookie[1..], b""), Wrong::NoCookie),
        ] {
            assert_eq!(Setup::read(&came).unwrap_err(), wrong, "{came:?}");
        }
    }

    #[test]
    fn a_refusal_is_one_an_x_client_can_read() {
        assert_eq!(refusal(b"B", "no!"), b"\0\x03\0\x0b\0\0\0\x01no!\0");
        assert_eq!(refusal(b"l\0", "none"), b"\0\x04\x0b\0\0\0\x01\0none");
        assert_eq!(refusal(b"x", "no"), b"");
        assert_eq!(refusal(b"l", &"x".repeat(300)).len(), 8 + 256);
    }
}
