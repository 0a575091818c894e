//! Cookies: what an X client shows to be let in.

use std::fmt;

use secrecy::{ExposeSecret, SecretSlice, SecretString};

/// The one authentication method that is forwarded; every X server has it.
pub(crate) const MIT_MAGIC_COOKIE: &str = "MIT-MAGIC-COOKIE-1";

/// Bytes of a cookie.
const LEN: usize = 16;

/// Wiped when dropped, and never printed.
#[derive(Clone)]
pub(crate) struct Cookie(SecretSlice<u8>);

impl fmt::Debug for Cookie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Cookie")
    }
}

impl Cookie {
    /// One that nobody can guess.
    pub(crate) fn made_up() -> Self {
        let bytes: [u8; LEN] = rand::random();
        Self(Vec::from(bytes).into())
    }

    pub(crate) fn new(bytes: &[u8]) -> Self {
        Self(bytes.to_vec().into())
    }

    /// Of the hexadecimal text of an `x11-req`; `None` if it is none of the length that X servers have.
    #[cfg(feature = "server")]
    pub(crate) fn from_hex(text: &str) -> Option<Self> {
        let digits: Option<Vec<u32>> = text.chars().map(|digit| digit.to_digit(16)).collect();
        let digits = digits.filter(|digits| digits.len() == 2 * LEN)?;
        let (pairs, _) = digits.as_chunks::<2>();
        let bytes: Option<Vec<u8>> =
            pairs.iter().map(|[high, low]| u8::try_from(high * 16 + low).ok()).collect();
        bytes.map(|bytes| Self(bytes.into()))
    }

    /// As `x11-req` carries it.
    pub(crate) fn to_hex(&self) -> SecretString {
        let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or('0');
        let pairs = self.bytes().iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]);
        pairs.collect::<String>().into()
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        self.0.expose_secret()
    }

    /// Takes the same time wherever they differ.
    pub(crate) fn is(&self, shown: &[u8]) -> bool {
        let own = self.bytes();
        let differ = own.iter().zip(shown).fold(0, |differ, (own, shown)| differ | (own ^ shown));
        own.len() == shown.len() && std::hint::black_box(differ) == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_made_up_cookie_is_its_own_and_nobody_elses() {
        let (one, other) = (Cookie::made_up(), Cookie::made_up());
        assert!(one.is(one.bytes()) && !one.is(other.bytes()));
        assert!(!one.is(&one.bytes()[..15]) && !one.is(&[]));
        let hex = one.to_hex();
        assert_eq!(hex.expose_secret().len(), 32);
        assert!(!format!("{one:?}").contains(hex.expose_secret()));
    }

    #[cfg(feature = "server")]
    #[test]
    fn a_cookie_of_another_length_or_of_no_digits_is_none() {
        let cookie = Cookie::from_hex("00ff10A0000102030405060708090a0b").unwrap();
        assert_eq!(cookie.bytes()[..4], [0, 255, 16, 160]);
        for wrong in ["", "00", "00ff10A0000102030405060708090a0", "zzff10A0000102030405060708090a0b"] {
            assert!(Cookie::from_hex(wrong).is_none(), "{wrong}");
        }
    }
}
