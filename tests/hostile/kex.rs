//! Key exchange by `curve25519-sha256` with an `ssh-ed25519` host key, for either role and step by step, so that a
//! test can do something else between two steps (RFC 4253 sections 7 and 8, RFC 8731).

use curve25519_dalek::montgomery::MontgomeryPoint;
use ed25519_dalek::{Signer, SigningKey, VerifyingKey};
use sha2::{Digest, Sha256};

use crate::packet::Keys;
use crate::peer::{Gone, Peer};
use crate::wire::{Payload, Reader, number};

/// Which end of the connection we are.
#[derive(Debug, Clone)]
pub(crate) enum Role {
    Client,
    Server(Box<SigningKey>),
}

impl Role {
    pub(crate) fn is_client(&self) -> bool {
        matches!(self, Self::Client)
    }
}

/// What a KEXINIT says (RFC 4253 section 7.1).
#[derive(Debug, Clone)]
pub(crate) struct Lists {
    pub(crate) kex: String,
    pub(crate) host_key: String,
    pub(crate) cipher: String,
    pub(crate) mac: String,
    pub(crate) compression: String,
    pub(crate) guess_follows: bool,
}

impl Lists {
    /// What this peer can do, with strict key exchange.
    pub(crate) fn honest(role: &Role) -> Self {
        let side = if role.is_client() { "c" } else { "s" };
        Self {
            kex: format!("curve25519-sha256,kex-strict-{side}-v00@openssh.com"),
            host_key: "ssh-ed25519".to_owned(),
            cipher: "aes128-ctr".to_owned(),
            mac: "hmac-sha2-256".to_owned(),
            compression: "none".to_owned(),
            guess_follows: false,
        }
    }

    pub(crate) fn payload(&self) -> Payload {
        let twice = |payload: Payload, list: &str| payload.string(list).string(list);
        let payload = Payload::new(number::KEXINIT).raw(rand::random::<[u8; 16]>());
        let payload = payload.string(&self.kex).string(&self.host_key);
        let payload = twice(payload, &self.cipher);
        let payload = twice(payload, &self.mac);
        let payload = twice(payload, &self.compression);
        twice(payload, "").bool(self.guess_follows).u32(0)
    }
}

/// One key exchange under way.
pub(crate) struct Exchange {
    ours: Vec<u8>,
    theirs: Vec<u8>,
    secret: [u8; 32],
    public: [u8; 32],
    outcome: Option<([u8; 32], Vec<u8>)>,
}

impl Exchange {
    /// Sends our KEXINIT.
    pub(crate) async fn begin(peer: &mut Peer, lists: &Lists) -> Result<Self, Gone> {
        let ours = lists.payload().0;
        peer.send(&ours).await?;
        let secret = rand::random();
        let public = MontgomeryPoint::mul_base_clamped(secret).0;
        Ok(Self { ours, theirs: Vec::new(), secret, public, outcome: None })
    }

    /// The peer's KEXINIT, which may have come before.
    pub(crate) fn theirs(&mut self, payload: Vec<u8>) {
        assert_eq!(payload[0], number::KEXINIT);
        self.theirs = payload;
    }

    pub(crate) async fn hear_theirs(&mut self, peer: &mut Peer) -> Result<(), Gone> {
        let payload = peer.wait_for(number::KEXINIT).await?;
        self.theirs(payload);
        Ok(())
    }

    /// A client's first message.
    pub(crate) fn ecdh_init(&self) -> Payload {
        Payload::new(number::ECDH_INIT).string(self.public)
    }

    /// The exchange of public values, with a verified or given signature.
    pub(crate) async fn exchange_keys(&mut self, peer: &mut Peer) -> Result<(), Gone> {
        match peer.role.clone() {
            Role::Client => {
                peer.send(self.ecdh_init()).await?;
                self.hear_reply(peer).await
            }
            Role::Server(key) => {
                let init = peer.wait_for(number::ECDH_INIT).await?;
                let public = Reader::after_number(&init).string().try_into().unwrap();
                let blob = host_key_blob(&key.verifying_key());
                let hash = self.agree(peer, &blob, public);
                let signature = Payload::default().string("ssh-ed25519").string(key.sign(&hash).to_bytes());
                let reply =
                    Payload::new(number::ECDH_REPLY).string(blob).string(self.public).string(signature);
                peer.send(reply).await
            }
        }
    }

    pub(crate) async fn hear_reply(&mut self, peer: &mut Peer) -> Result<(), Gone> {
        let reply = peer.wait_for(number::ECDH_REPLY).await?;
        let mut reader = Reader::after_number(&reply);
        let blob = reader.string().to_vec();
        let public = reader.string().try_into().unwrap();
        let mut signature = Reader(reader.string());
        assert_eq!(signature.string(), b"ssh-ed25519");
        let signature = ed25519_dalek::Signature::from_slice(signature.string()).unwrap();
        let hash = self.agree(peer, &blob, public);
        let mut key = Reader(&blob);
        assert_eq!(key.string(), b"ssh-ed25519");
        let key = VerifyingKey::from_bytes(key.string().try_into().unwrap()).unwrap();
        key.verify_strict(&hash, &signature).expect("the daemon's signature");
        Ok(())
    }

    fn agree(&mut self, peer: &mut Peer, blob: &[u8], theirs: [u8; 32]) -> Vec<u8> {
        let shared = MontgomeryPoint(theirs).mul_clamped(self.secret).0;
        let order = |ours: &[u8], theirs: &[u8]| {
            let (first, second) = if peer.role.is_client() { (ours, theirs) } else { (theirs, ours) };
            Payload::default().string(first).string(second)
        };
        let all = order(peer.our_version.as_bytes(), peer.their_version.as_bytes())
            .raw(order(&self.ours, &self.theirs))
            .string(blob)
            .raw(order(&self.public, &theirs))
            .mpint(&shared);
        let hash = Sha256::digest(&all.0).to_vec();
        if peer.session.is_empty() {
            peer.session.clone_from(&hash);
            let theirs = String::from_utf8_lossy(&self.theirs).into_owned();
            peer.strict =
                theirs.contains("kex-strict-") && String::from_utf8_lossy(&self.ours).contains("kex-strict-");
        }
        self.outcome = Some((shared, hash.clone()));
        hash
    }

    /// NEWKEYS in both directions; from then on the new keys are in force.
    pub(crate) async fn change_keys(&mut self, peer: &mut Peer) -> Result<(), Gone> {
        peer.send(Payload::new(number::NEWKEYS)).await?;
        let (ours, theirs) = self.keys(peer);
        peer.outgoing.arm(&ours, peer.strict);
        peer.wait_for(number::NEWKEYS).await?;
        peer.arm_incoming(&theirs);
        Ok(())
    }

    /// The keys we send with, and those of the peer (RFC 4253 section 7.2).
    pub(crate) fn keys(&self, peer: &Peer) -> (Keys, Keys) {
        let (shared, hash) = self.outcome.as_ref().expect("no public values yet");
        let derive = |letter: u8| {
            let text = Payload::default().mpint(shared).raw(hash).byte(letter).raw(&peer.session);
            Sha256::digest(&text.0)
        };
        let half = |letter| derive(letter)[..16].try_into().unwrap();
        let client = Keys { iv: half(b'A'), key: half(b'C'), mac: derive(b'E').into() };
        let server = Keys { iv: half(b'B'), key: half(b'D'), mac: derive(b'F').into() };
        if peer.role.is_client() { (client, server) } else { (server, client) }
    }

    /// All of it, as it should be.
    pub(crate) async fn run(peer: &mut Peer) -> Result<(), Gone> {
        let lists = Lists::honest(&peer.role);
        let mut exchange = Self::begin(peer, &lists).await?;
        exchange.hear_theirs(peer).await?;
        exchange.exchange_keys(peer).await?;
        exchange.change_keys(peer).await
    }
}

/// A host key in SSH's own form (RFC 8709 section 4).
pub(crate) fn host_key_blob(key: &VerifyingKey) -> Vec<u8> {
    Payload::default().string("ssh-ed25519").string(key.as_bytes()).0
}
