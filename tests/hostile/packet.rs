//! The binary packet protocol (RFC 4253 section 6), in the clear and with `aes128-ctr` and `hmac-sha2-256`. It packs
//! what it is given, malformed lengths and paddings included; unpacking expects an honest packet.

use aes::cipher::{KeyIvInit, StreamCipher};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

type Cipher = ctr::Ctr128BE<aes::Aes128>;

const BLOCK: usize = 16;
const MAC_LEN: usize = 32;

/// The keys of one direction.
pub(crate) struct Keys {
    pub(crate) iv: [u8; 16],
    pub(crate) key: [u8; 16],
    pub(crate) mac: [u8; 32],
}

struct Armour {
    cipher: Cipher,
    mac: Hmac<Sha256>,
}

impl Armour {
    fn new(keys: &Keys) -> Self {
        Self {
            cipher: Cipher::new(&keys.key.into(), &keys.iv.into()),
            mac: Hmac::new_from_slice(&keys.mac).unwrap(),
        }
    }

    fn tag(&self, number: u32, packet: &[u8]) -> Vec<u8> {
        let mut mac = self.mac.clone();
        mac.update(&number.to_be_bytes());
        mac.update(packet);
        mac.finalize().into_bytes().to_vec()
    }
}

/// A well-formed packet without encryption: length, padding length, payload, padding.
pub(crate) fn frame(payload: &[u8]) -> Vec<u8> {
    let mut padding = BLOCK - (5 + payload.len()) % BLOCK;
    if padding < 4 {
        padding += BLOCK;
    }
    frame_with(payload, padding)
}

/// A packet with this much padding, whether that is allowed or not.
pub(crate) fn frame_with(payload: &[u8], padding: usize) -> Vec<u8> {
    let mut packet = u32::try_from(1 + payload.len() + padding).unwrap().to_be_bytes().to_vec();
    packet.push(u8::try_from(padding).unwrap());
    packet.extend_from_slice(payload);
    packet.resize(packet.len() + padding, 0);
    packet
}

/// The sending direction.
#[derive(Default)]
pub(crate) struct Outgoing {
    armour: Option<Armour>,
    /// The number of the next packet.
    pub(crate) sequence: u32,
}

impl Outgoing {
    pub(crate) fn arm(&mut self, keys: &Keys, reset: bool) {
        self.armour = Some(Armour::new(keys));
        if reset {
            self.sequence = 0;
        }
    }

    /// A payload as bytes for the wire.
    pub(crate) fn pack(&mut self, payload: &[u8]) -> Vec<u8> {
        self.seal(frame(payload), |_| {})
    }

    /// Encrypts a packet as it stands, and lets `forge` at its MAC.
    pub(crate) fn seal(&mut self, mut packet: Vec<u8>, forge: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let number = self.sequence;
        self.sequence = number.wrapping_add(1);
        if let Some(armour) = &mut self.armour {
            let mut tag = armour.tag(number, &packet);
            forge(&mut tag);
            armour.cipher.apply_keystream(&mut packet);
            packet.extend_from_slice(&tag);
        }
        packet
    }
}

/// The receiving direction.
#[derive(Default)]
pub(crate) struct Incoming {
    armour: Option<Armour>,
    sequence: u32,
    /// The decrypted first block of a packet that is not complete.
    begun: Option<Vec<u8>>,
}

impl Incoming {
    pub(crate) fn arm(&mut self, keys: &Keys, reset: bool) {
        self.armour = Some(Armour::new(keys));
        if reset {
            self.sequence = 0;
        }
    }

    /// Takes the next payload off the bytes received, when it is complete.
    pub(crate) fn unpack(&mut self, bytes: &mut Vec<u8>, from: &mut usize) -> Option<Vec<u8>> {
        let probe = if self.armour.is_some() { BLOCK } else { 4 };
        if self.begun.is_none() {
            let mut first = bytes.get(*from..*from + probe)?.to_vec();
            *from += probe;
            if let Some(armour) = &mut self.armour {
                armour.cipher.apply_keystream(&mut first);
            }
            self.begun = Some(first);
        }
        let first = self.begun.as_ref()?;
        let len = u32::from_be_bytes(first[..4].try_into().unwrap());
        assert!((5..1 << 20).contains(&len), "not a packet length: {len}");
        let rest = usize::try_from(len).unwrap() + 4 - first.len();
        let tag = if self.armour.is_some() { MAC_LEN } else { 0 };
        let mut body = bytes.get(*from..*from + rest + tag)?.to_vec();
        *from += rest + tag;
        let found = body.split_off(rest);
        let mut packet = self.begun.take()?;
        if let Some(armour) = &mut self.armour {
            armour.cipher.apply_keystream(&mut body);
            packet.extend_from_slice(&body);
            assert_eq!(found, armour.tag(self.sequence, &packet), "a wrong MAC");
        } else {
            packet.extend_from_slice(&body);
        }
        self.sequence = self.sequence.wrapping_add(1);
        if *from == bytes.len() {
            bytes.clear();
            *from = 0;
        }
        let padding = usize::from(packet[4]);
        Some(packet[5..packet.len() - padding].to_vec())
    }
}
