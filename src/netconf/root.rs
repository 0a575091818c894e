//! What the outermost element of a message is called, and which request it answers.
//!
//! Reads as far as the first start tag and no further: this is no XML parser.

/// The start tag of a message's outermost element.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Root<'a> {
    /// Its name without the prefix.
    pub(super) name: &'a [u8],
    /// The attribute `message-id` (RFC 6241 section 4.1), as it is written.
    pub(super) message_id: Option<&'a [u8]>,
}

/// `None` if there is no start tag.
pub(super) fn root(mut message: &[u8]) -> Option<Root<'_>> {
    message = message.strip_prefix(b"\xef\xbb\xbf").unwrap_or(message);
    loop {
        message = message.trim_ascii_start();
        message = if message.starts_with(b"<?") {
            behind(message, b"?>")?
        } else if message.starts_with(b"<!--") {
            behind(message.get(4..)?, b"-->")?
        } else {
            break;
        };
    }
    let tag = message.strip_prefix(b"<")?;
    let end = tag.iter().position(|byte| byte.is_ascii_whitespace() || matches!(byte, b'/' | b'>'))?;
    let (name, attributes) = tag.split_at_checked(end)?;
    let name = name.rsplit(|byte| *byte == b':').next().filter(|name| !name.is_empty())?;
    Some(Root { name, message_id: attribute(attributes, b"message-id") })
}

fn behind<'a>(text: &'a [u8], mark: &[u8]) -> Option<&'a [u8]> {
    text.get(memchr::memmem::find(text, mark)? + mark.len()..)
}

/// The value of an attribute in `name = "value" name='value' ... >`.
fn attribute<'a>(mut text: &'a [u8], wanted: &[u8]) -> Option<&'a [u8]> {
    loop {
        text = text.trim_ascii_start();
        let equals = text.iter().position(|byte| matches!(byte, b'=' | b'>' | b'/'))?;
        let name = text.get(..equals)?.trim_ascii_end();
        let rest = text.get(equals..)?.strip_prefix(b"=")?.trim_ascii_start();
        let (quote, rest) = rest.split_first().filter(|(quote, _)| matches!(quote, b'"' | b'\''))?;
        let end = rest.iter().position(|byte| byte == quote)?;
        if name == wanted {
            return rest.get(..end);
        }
        text = rest.get(end + 1..)?;
    }
}

/// Whether a hello has exactly this capability: the URI with nothing but white space between it and the tags around it.
pub(super) fn has_capability(hello: &[u8], uri: &str) -> bool {
    memchr::memmem::find_iter(hello, uri).any(|at| {
        let before = hello.get(..at).unwrap_or_default().trim_ascii_end();
        let behind = hello.get(at + uri.len()..).unwrap_or_default().trim_ascii_start();
        before.ends_with(b">") && behind.starts_with(b"<")
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_outermost_element_is_found_behind_what_may_stand_before_it() {
        for (message, name, id) in [
            ("<hello/>", "hello", None),
            (
                "\n<?xml version=\"1.0\"?>\n<nc:rpc-reply xmlns:nc='x>y' message-id = '7'><a/>",
                "rpc-reply",
                Some("7"),
            ),
            ("<!-- <a message-id='1'/> --><rpc-reply\n message-id=\"12\"/>", "rpc-reply", Some("12")),
            ("\u{feff}<notification>message-id=\"1\"", "notification", None),
            ("<rpc-reply x:message-id='1' message-id='2'>", "rpc-reply", Some("2")),
        ] {
            let (name, message_id) = (name.as_bytes(), id.map(str::as_bytes));
            assert_eq!(root(message.as_bytes()), Some(Root { name, message_id }), "{message}");
        }
        for message in ["", "text", "<", "<?xml", "<!-- ", "<>", "< a>"] {
            assert_eq!(root(message.as_bytes()), None, "{message}");
        }
    }

    #[test]
    fn a_capability_is_the_whole_uri() {
        let uri = "urn:ietf:params:netconf:base:1.1";
        assert!(has_capability(b"<capability>\n urn:ietf:params:netconf:base:1.1 </capability>", uri));
        assert!(!has_capability(b"<capability>urn:ietf:params:netconf:base:1.10</capability>", uri));
        assert!(!has_capability(b"<capability>x:urn:ietf:params:netconf:base:1.1</capability>", uri));
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(text in prop::collection::vec(prop::sample::select(&b"<>?!-='\"/: am"[..]), 0..40)) {
            let _ = (root(&text), has_capability(&text, "a"));
        }
    }
}
