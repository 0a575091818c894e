//! The messages of the ssh-agent protocol that a login needs (draft-miller-ssh-agent), as bytes.
//!
//! Encodes requests and decodes answers; knows nothing of sockets or keys.

/// No message of an agent is longer; OpenSSH has the same limit.
pub(super) const MAX_FRAME: usize = 256 * 1024;
/// More identities than any login could offer.
const MAX_IDENTITIES: u32 = 1024;

const REQUEST_IDENTITIES: u8 = 11;
const IDENTITIES_ANSWER: u8 = 12;
const SIGN_REQUEST: u8 = 13;
const SIGN_RESPONSE: u8 = 14;
const EXTENSION: u8 = 27;
const FAILURE: u8 = 5;
const SUCCESS: u8 = 6;
const EXTENSION_FAILURE: u8 = 28;

/// Answers SSH_AGENT_RSA_SHA2_256 and SSH_AGENT_RSA_SHA2_512 ask for.
pub(super) const RSA_SHA2_256: u32 = 2;
/// See [`RSA_SHA2_256`].
pub(super) const RSA_SHA2_512: u32 = 4;

/// Why an agent's answer is of no use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Answer {
    /// The agent said no.
    #[error("the agent declined")]
    Declined,
    /// It makes no sense.
    #[error("the agent's answer cannot be understood")]
    Garbled,
}

/// A request, with its length in front.
pub(super) fn request_identities() -> Option<Vec<u8>> {
    frame(&[REQUEST_IDENTITIES])
}

/// Asks to sign `data` with the key (or certificate) `blob`; `None` if that is too long to be sent.
pub(super) fn sign_request(blob: &[u8], data: &[u8], flags: u32) -> Option<Vec<u8>> {
    let mut body = vec![SIGN_REQUEST];
    put_string(&mut body, blob)?;
    put_string(&mut body, data)?;
    body.extend_from_slice(&flags.to_be_bytes());
    frame(&body)
}

/// Tells which session the signatures are for (`session-bind@openssh.com`, OpenSSH PROTOCOL.agent).
///
/// `forwarding`: what follows comes from the other end of the session, and is not its login.
pub(super) fn bind_request(
    host_key: &[u8],
    session_id: &[u8],
    signature: &[u8],
    forwarding: bool,
) -> Option<Vec<u8>> {
    let mut body = vec![EXTENSION];
    put_string(&mut body, b"session-bind@openssh.com")?;
    put_string(&mut body, host_key)?;
    put_string(&mut body, session_id)?;
    put_string(&mut body, signature)?;
    body.push(u8::from(forwarding));
    frame(&body)
}

/// The key blobs and comments of an answer to [`request_identities`].
pub(super) fn read_identities(body: &[u8]) -> Result<Vec<(Vec<u8>, String)>, Answer> {
    let mut rest = expect(body, IDENTITIES_ANSWER)?;
    let count = take_u32(&mut rest).ok_or(Answer::Garbled)?;
    let mut identities = Vec::new();
    for _ in 0..count.min(MAX_IDENTITIES) {
        let blob = take_string(&mut rest).ok_or(Answer::Garbled)?;
        let comment = take_string(&mut rest).ok_or(Answer::Garbled)?;
        identities.push((blob.to_vec(), String::from_utf8_lossy(comment).into_owned()));
    }
    Ok(identities)
}

/// The signature blob of an answer to [`sign_request`].
pub(super) fn read_signature(body: &[u8]) -> Result<Vec<u8>, Answer> {
    let mut rest = expect(body, SIGN_RESPONSE)?;
    take_string(&mut rest).map(<[u8]>::to_vec).ok_or(Answer::Garbled)
}

/// Whether the agent took a request that is only answered with yes or no.
pub(super) fn read_success(body: &[u8]) -> Result<(), Answer> {
    expect(body, SUCCESS).map(|_| ())
}

/// The algorithm name a signature blob starts with (RFC 4253 section 6.6).
pub(super) fn signature_algorithm(mut blob: &[u8]) -> Option<&str> {
    std::str::from_utf8(take_string(&mut blob)?).ok()
}

fn expect(body: &[u8], kind: u8) -> Result<&[u8], Answer> {
    match body.split_first() {
        Some((found, rest)) if *found == kind => Ok(rest),
        Some((&(FAILURE | EXTENSION_FAILURE), _)) => Err(Answer::Declined),
        _ => Err(Answer::Garbled),
    }
}

fn frame(body: &[u8]) -> Option<Vec<u8>> {
    let mut framed = Vec::with_capacity(body.len() + 4);
    put_string(&mut framed, body)?;
    (body.len() <= MAX_FRAME).then_some(framed)
}

fn put_string(out: &mut Vec<u8>, bytes: &[u8]) -> Option<()> {
    out.extend_from_slice(&u32::try_from(bytes.len()).ok()?.to_be_bytes());
    out.extend_from_slice(bytes);
    Some(())
}

fn take_u32(rest: &mut &[u8]) -> Option<u32> {
    let (head, tail) = rest.split_first_chunk::<4>()?;
    *rest = tail;
    Some(u32::from_be_bytes(*head))
}

fn take_string<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let len = usize::try_from(take_u32(rest)?).ok()?;
    let (head, tail) = rest.split_at_checked(len)?;
    *rest = tail;
    Some(head)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sign_request_carries_blob_data_and_flags() {
        let framed = sign_request(b"key", b"data", RSA_SHA2_512).unwrap();
        assert_eq!(framed, b"\0\0\0\x14\x0d\0\0\0\x03key\0\0\0\x04data\0\0\0\x04");
        assert!(sign_request(b"key", &vec![0; MAX_FRAME], 0).is_none(), "too long for any agent");
    }

    #[test]
    fn truncated_and_lying_answers_are_garbled() {
        let whole = b"\x0c\0\0\0\x01\0\0\0\x03key\0\0\0\x01c";
        assert_eq!(read_identities(whole).unwrap(), [(b"key".to_vec(), "c".to_owned())]);
        for cut in 0..whole.len() {
            assert_eq!(read_identities(&whole[..cut]), Err(Answer::Garbled), "cut at {cut}");
        }
        assert_eq!(read_identities(b"\x0c\xff\xff\xff\xff"), Err(Answer::Garbled));
        assert_eq!(read_signature(b"\x0e\xff\xff\xff\xff"), Err(Answer::Garbled));
        assert_eq!(read_signature(&[FAILURE]), Err(Answer::Declined));
        assert_eq!(read_success(&[EXTENSION_FAILURE]), Err(Answer::Declined));
        assert_eq!(read_success(&[]), Err(Answer::Garbled));
        assert_eq!(signature_algorithm(b"\0\0\0\x03abc\0"), Some("abc"));
        assert_eq!(signature_algorithm(b"\0\0\0\x09abc"), None);
    }
}
