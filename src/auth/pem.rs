//! PEM blocks as key files use them, and the old OpenSSL way of encrypting them (RFC 1421 headers).
//!
//! Knows blocks, headers and ciphers; knows nothing of what is inside.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::zeroize::Zeroizing;

use crate::wire::keys::Cipher;

/// The first block of a text whose label satisfies a condition.
pub(super) struct Block {
    /// The words between `BEGIN` and the dashes.
    pub(super) label: String,
    /// The value of `DEK-Info`, present when the block is encrypted the old way.
    pub(super) dek_info: Option<String>,
    /// What the base64 stands for.
    pub(super) data: Zeroizing<Vec<u8>>,
}

/// Why a block could not be read or decrypted.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum PemError {
    /// What is wrong with the text.
    Malformed(&'static str),
    /// The cipher is not one we have.
    Cipher(String),
    /// The padding is wrong: another passphrase was used, or the data is damaged.
    Passphrase,
}

/// The label of a `-----BEGIN label-----` line.
pub(super) fn begin_label(line: &str) -> Option<&str> {
    line.trim().strip_prefix("-----BEGIN ")?.strip_suffix("-----")
}

/// Finds and decodes the first block whose label `wanted` accepts; `None` if there is none.
pub(super) fn find(text: &str, wanted: impl Fn(&str) -> bool) -> Option<Result<Block, PemError>> {
    let mut lines = text.lines().map(str::trim);
    let label = lines.by_ref().find_map(|line| begin_label(line).filter(|label| wanted(label)))?;
    Some(read_block(label, lines))
}

fn read_block<'a>(label: &str, lines: impl Iterator<Item = &'a str>) -> Result<Block, PemError> {
    let end = format!("-----END {label}-----");
    let mut encoded = Zeroizing::new(String::new());
    let mut dek_info = None;
    for line in lines {
        if line == end {
            let data = STANDARD
                .decode(encoded.as_bytes())
                .map_err(|_| PemError::Malformed("the base64 text cannot be decoded"))?;
            return Ok(Block { label: label.to_owned(), dek_info, data: Zeroizing::new(data) });
        }
        match line.split_once(':') {
            Some(("DEK-Info", value)) => dek_info = Some(value.trim().to_owned()),
            Some(_) => {}
            None => encoded.push_str(line),
        }
    }
    Err(PemError::Malformed("the END line is missing"))
}

/// A block's text again, without encryption headers.
pub(super) fn to_text(label: &str, data: &[u8]) -> Zeroizing<String> {
    let body = Zeroizing::new(STANDARD.encode(data));
    Zeroizing::new(format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", body.as_str()))
}

/// Decrypts a block with a `DEK-Info` header: AES in CBC mode, key from MD5, PKCS#7 padding.
pub(super) fn decrypt(
    dek_info: &str,
    data: &[u8],
    passphrase: &[u8],
) -> Result<Zeroizing<Vec<u8>>, PemError> {
    let (name, iv) = dek_info.split_once(',').ok_or(PemError::Malformed("DEK-Info names no salt"))?;
    let (cipher, key_len) = match name.trim() {
        "AES-128-CBC" => (Cipher::Aes128Cbc, 16),
        "AES-192-CBC" => (Cipher::Aes192Cbc, 24),
        "AES-256-CBC" => (Cipher::Aes256Cbc, 32),
        other => return Err(PemError::Cipher(other.to_owned())),
    };
    let iv = from_hex(iv.trim()).filter(|iv| iv.len() == 16);
    let iv = iv.ok_or(PemError::Malformed("the salt in DEK-Info is not 16 bytes of hex"))?;
    let salt = iv.get(..8).unwrap_or_default();
    let key = derive_key(passphrase, salt, key_len);
    let mut plain = Zeroizing::new(data.to_vec());
    if plain.is_empty() || !plain.len().is_multiple_of(16) {
        return Err(PemError::Malformed("the encrypted data is not a whole number of blocks"));
    }
    cipher.decrypt(&key, &iv, &mut plain, None).map_err(|_| PemError::Passphrase)?;
    let padding = usize::from(plain.last().copied().unwrap_or(0));
    let len = plain.len().checked_sub(padding).filter(|_| (1..=16).contains(&padding));
    let len = len.ok_or(PemError::Passphrase)?;
    let padded_right = plain.iter().skip(len).all(|byte| usize::from(*byte) == padding);
    if !padded_right {
        return Err(PemError::Passphrase);
    }
    plain.truncate(len);
    Ok(plain)
}

/// OpenSSL's `EVP_BytesToKey` with MD5 and one round.
fn derive_key(passphrase: &[u8], salt: &[u8], len: usize) -> Zeroizing<Vec<u8>> {
    let mut key = Zeroizing::new(Vec::with_capacity(len + 16));
    let mut last = Zeroizing::new(Vec::new());
    while key.len() < len {
        let mut input = Zeroizing::new(last.to_vec());
        input.extend_from_slice(passphrase);
        input.extend_from_slice(salt);
        last = Zeroizing::new(md5::compute(input.as_slice()).0.to_vec());
        key.extend_from_slice(&last);
    }
    key.truncate(len);
    key
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> =
        text.chars().map(|c| c.to_digit(16).and_then(|d| u8::try_from(d).ok())).collect::<Option<_>>()?;
    let pairs = digits.chunks(2).map(|pair| match pair {
        [high, low] => Some(high << 4 | low),
        _ => None,
    });
    pairs.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_wanted_block_among_others_and_ignores_surrounding_text() {
        let text = "words\r\n-----BEGIN EC PARAMETERS-----\r\nAAAA\r\n-----END EC PARAMETERS-----\r\n\
                    -----BEGIN EC PRIVATE KEY-----\r\nAQID\r\n-----END EC PRIVATE KEY-----\r\n";
        let block = find(text, |label| label.ends_with("PRIVATE KEY")).unwrap().unwrap();
        assert_eq!(block.label, "EC PRIVATE KEY");
        assert_eq!(block.data.as_slice(), [1, 2, 3]);
        assert!(block.dek_info.is_none());
    }

    #[test]
    fn a_block_without_end_is_malformed() {
        let found = find("-----BEGIN RSA PRIVATE KEY-----\nAQID\n", |_| true).unwrap();
        assert_eq!(found.err(), Some(PemError::Malformed("the END line is missing")));
    }

    #[test]
    fn bad_encryption_headers_are_errors_not_panics() {
        for (dek, data) in [
            ("AES-128-CBC", &[0u8; 16][..]),
            ("AES-128-CBC,zz", &[0; 16]),
            ("AES-128-CBC,0", &[0; 16]),
            ("AES-128-CBC,00112233445566778899aabbccddeeff", &[0; 15]),
            ("AES-128-CBC,00112233445566778899aabbccddeeff", &[]),
        ] {
            assert!(matches!(decrypt(dek, data, b"x"), Err(PemError::Malformed(_))), "{dek}");
        }
        assert_eq!(
            decrypt("DES-EDE3-CBC,00", &[0; 16], b"x").err(),
            Some(PemError::Cipher("DES-EDE3-CBC".into()))
        );
    }
}
