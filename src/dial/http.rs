//! HTTP CONNECT (RFC 9110 section 9.3.6): one request, one answer, and not a byte more than that is taken.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Buf as _, BytesMut};
use secrecy::ExposeSecret as _;
use secrecy::zeroize::Zeroizing;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::dialer::ByteStream;
use super::error::ProxyError;
use super::glued::Glued;
use super::proxy::{Proxy, authority, is_host};
use crate::error::ConfigError;

/// The longest head of an answer.
const MOST_HEAD: usize = 64 * 1024;
const MOST_HEADERS: usize = 128;
/// So much of an answer is looked at as it comes, so that nonsense is told at once; more, when a line has ended.
const AT_ONCE: usize = 256;
/// Interim answers (1xx) before the one that counts.
const MOST_INTERIM: usize = 8;

/// What an answer says.
#[derive(Debug, PartialEq, Eq)]
struct Head {
    status: u16,
    reason: String,
    /// The login schemes it asks for.
    schemes: Vec<String>,
}

pub(super) async fn connect(
    proxy: &Proxy,
    mut io: Box<dyn ByteStream>,
    host: &str,
    port: u16,
) -> Result<Box<dyn ByteStream>, ProxyError> {
    if !is_host(host) {
        return Err(ProxyError::NoAddress { host: host.to_owned(), why: "it is no host name".to_owned() });
    }
    let to = authority(host, port);
    io.write_all(request(proxy, &to).as_bytes()).await?;
    io.flush().await?;
    let mut read = BytesMut::with_capacity(4096);
    let mut interim = 0;
    let mut looked_at = 0;
    let head = loop {
        let ended = read.get(looked_at..).unwrap_or_default().contains(&b'\n');
        looked_at = read.len();
        if (ended || looked_at < AT_ONCE)
            && let Some((head, length)) = parse(&read)?
        {
            // Of a 2xx, what follows is the target's, whatever Content-Length and Transfer-Encoding say.
            read.advance(length);
            if !(100..200).contains(&head.status) {
                break head;
            }
            interim += 1;
            looked_at = 0;
            if head.status == 101 || interim > MOST_INTERIM {
                return Err(ProxyError::Nonsense(format!("status {} to CONNECT", head.status)));
            }
            continue;
        }
        if read.len() >= MOST_HEAD {
            return Err(ProxyError::Nonsense(format!("a head of more than {MOST_HEAD} bytes")));
        }
        if io.read_buf(&mut read).await? == 0 {
            return Err(ProxyError::Closed);
        }
    };
    match judge(head, proxy, &to) {
        None if read.is_empty() => Ok(io),
        None => Ok(Box::new(Glued::new(read.freeze(), io))),
        Some(error) => Err(error),
    }
}

fn request(proxy: &Proxy, to: &str) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(1024));
    let mut line = |words: &[&str]| {
        words.iter().for_each(|word| text.push_str(word));
        text.push_str("\r\n");
    };
    line(&["CONNECT ", to, " HTTP/1.1"]);
    line(&["Host: ", to]);
    if let (Some(user), Some(password)) = (&proxy.user, &proxy.password) {
        let login = Zeroizing::new(format!("{user}:{}", password.expose_secret()));
        let login = Zeroizing::new(STANDARD.encode(login.as_bytes()));
        line(&["Proxy-Authorization: Basic ", &login]);
    }
    for (name, value) in &proxy.headers {
        line(&[name, ": ", value]);
    }
    line(&[]);
    text
}

/// The first whole head in `read`, and its length.
fn parse(read: &[u8]) -> Result<Option<(Head, usize)>, ProxyError> {
    let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
    let mut answer = httparse::Response::new(&mut headers);
    let status = answer.parse(read).map_err(|error| ProxyError::Nonsense(error.to_string()))?;
    let httparse::Status::Complete(length) = status else { return Ok(None) };
    // tinyproxy says 401 and `WWW-Authenticate` to a wrong login.
    let asks: &[&str] =
        if answer.code == Some(401) { &["www-authenticate"] } else { &["proxy-authenticate"] };
    let schemes = answer
        .headers
        .iter()
        .filter(|header| asks.iter().any(|name| header.name.eq_ignore_ascii_case(name)))
        .filter_map(|header| std::str::from_utf8(header.value).ok()?.split_whitespace().next())
        .map(shown)
        .collect();
    let reason = shown(answer.reason.unwrap_or_default());
    Ok(Some((Head { status: answer.code.unwrap_or_default(), reason, schemes }, length)))
}

/// A proxy's words, as they may stand in an error: short, printable.
fn shown(words: &str) -> String {
    words.chars().filter(|c| !c.is_control()).take(120).collect()
}

/// The error, unless the stream is connected.
fn judge(head: Head, proxy: &Proxy, to: &str) -> Option<ProxyError> {
    let to = to.to_owned();
    let why = format!("{} {}", head.status, head.reason).trim_end().to_owned();
    match head.status {
        200..=299 => None,
        401 | 407 if proxy.user.is_none() => {
            Some(ProxyError::LoginRequired { asks: head.schemes.join(", ") })
        }
        401 | 407
            if head.schemes.is_empty()
                || head.schemes.iter().any(|name| name.eq_ignore_ascii_case("basic")) =>
        {
            Some(ProxyError::LoginRefused(why))
        }
        401 | 407 => Some(ProxyError::LoginRefused(format!(
            "{why}; it wants {}, and we know Basic only",
            head.schemes.join(", ")
        ))),
        400..=499 if head.status != 408 && head.status != 429 => Some(ProxyError::Denied { to, why }),
        _ => Some(ProxyError::Failed { to, why }),
    }
}

/// Names the first header that is none (RFC 9110 section 5).
pub(super) fn check_headers(headers: &[(String, String)]) -> Result<(), ConfigError> {
    let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    for (name, value) in headers {
        if name.is_empty() || !name.chars().all(token) {
            return Err(ConfigError::new(
                "proxy.header",
                format!("{name:?} is no header name"),
                "see RFC 9110",
            ));
        }
        if value.chars().any(|c| c.is_control() && c != '\t') {
            return Err(ConfigError::new(
                "proxy.header",
                format!("the value of {name} has a control character"),
                "give one line of text",
            ));
        }
        if name.eq_ignore_ascii_case("host") {
            return Err(ConfigError::new("proxy.header", "Host is set by us", "leave it out"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_whole_or_not_yet() {
        let answer = b"HTTP/1.1 200 Connection established\r\nProxy-Agent: x\r\n\r\nSSH-2.0-x\r\n";
        let length = answer.len() - b"SSH-2.0-x\r\n".len();
        for cut in 0..length {
            assert_eq!(parse(&answer[..cut]).unwrap(), None, "{cut}");
        }
        let (head, taken) = parse(answer).unwrap().unwrap();
        assert_eq!((head.status, taken), (200, length));
    }

    #[test]
    fn statuses_mean_what_they_say() {
        let plain = Proxy::http("p", 80);
        let login = Proxy::http("p", 80).login("me", "x".into());
        let head = |status, schemes: &[&str]| Head {
            status,
            reason: "Words".to_owned(),
            schemes: schemes.iter().map(|&name| name.to_owned()).collect(),
        };
        assert!(judge(head(200, &[]), &plain, "t:22").is_none());
        assert!(judge(head(204, &[]), &plain, "t:22").is_none());
        let said = |head, proxy: &Proxy| judge(head, proxy, "t:22").unwrap();
        assert!(
            matches!(said(head(407, &["Basic"]), &plain), ProxyError::LoginRequired { asks } if asks == "Basic")
        );
        assert!(matches!(said(head(407, &["Basic"]), &login), ProxyError::LoginRefused(_)));
        let wrong = said(head(407, &["Negotiate", "NTLM"]), &login);
        assert!(wrong.to_string().contains("Negotiate, NTLM"), "{wrong}");
        assert!(!said(head(403, &[]), &plain).is_retryable());
        assert!(said(head(429, &[]), &plain).is_retryable());
        assert!(said(head(502, &[]), &plain).is_retryable());
        assert!(said(head(302, &[]), &plain).to_string().contains("302 Words"));
    }

    #[test]
    fn what_is_no_answer_is_nonsense() {
        for answer in
            [&b"SSH-2.0-OpenSSH_9\r\n"[..], b"\x05\x00", b"HTTP/1.1 abc\r\n\r\n", b"HTTP/9.9 200 OK\r\n\r\n"]
        {
            assert!(matches!(parse(answer), Err(ProxyError::Nonsense(_))), "{answer:?}");
        }
    }

    #[test]
    fn a_request_has_target_login_and_headers() {
        let proxy = Proxy::http("p", 80).login("me", "se cret".into()).header("X-Way", "out");
        let text = request(&proxy, "[::1]:22");
        assert_eq!(
            text.as_str(),
            "CONNECT [::1]:22 HTTP/1.1\r\nHost: [::1]:22\r\nProxy-Authorization: Basic bWU6c2UgY3JldA==\r\n\
             X-Way: out\r\n\r\n"
        );
    }
}
