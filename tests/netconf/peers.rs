//! The client against `netconfd`, `ncclient` against a server made of the codec, and the example as both.

use std::path::Path;
use std::process::Stdio;

use libtest_mimic::Trial;
use ractor_ssh::netconf::{NetconfOptions, NetconfSession};

use crate::kit::{KeyKind, KeyPair, Peer, peer_test};
use crate::support::{Netconfd, Served, run_example};

pub(crate) fn trials() -> Vec<Trial> {
    let netconfd = [Peer::OpenSshServer, Peer::Netconfd, Peer::Python];
    let ncclient = [Peer::OpenSshClient, Peer::Ncclient];
    vec![
        peer_test("netconfd::answers_our_client_in_both_versions", netconfd, || async {
            let server = Netconfd::start();
            for options in [NetconfOptions::new(), NetconfOptions::new().only_1_0()] {
                answers(&server, options).await;
            }
        }),
        peer_test("netconfd::is_asked_by_the_example", netconfd, example_client),
        peer_test("ncclient::talks_to_a_server_made_of_the_codec", ncclient, ncclient_to_us),
        peer_test("example_netconf::client_and_server_understand_each_other", Peer::OpenSshClient, both),
        peer_test("example_netconf::the_port_is_830_unless_it_is_said_or_stands_in_a_file", [], port),
    ]
}

async fn answers(server: &Netconfd, options: NetconfOptions) {
    let conn = server.connect().await;
    let mut session = NetconfSession::open(conn.subsystem("netconf"), options).await.unwrap();
    assert!(session.has_capability("urn:ietf:params:netconf:base:1.1"));
    let text = |reply: bytes::Bytes| String::from_utf8(reply.to_vec()).unwrap();
    let reply = text(session.rpc("<get-config><source><running/></source></get-config>").await.unwrap());
    assert!(reply.contains("<data") && reply.contains("message-id=\"1\""), "{reply}");
    // Some kilobytes.
    let reply = text(session.rpc("<get/>").await.unwrap());
    assert!(
        reply.len() > 4000 && reply.trim_end().ends_with("</rpc-reply>"),
        "{} bytes: {reply}",
        reply.len()
    );
    let reply = text(session.rpc("<no-such-thing/>").await.unwrap());
    assert!(reply.contains("<rpc-error") && reply.contains("message-id=\"3\""), "{reply}");
    // A large request, and a character that is more than a byte.
    let filler = "\u{fc}".repeat(300_000);
    let reply = text(session.rpc(&format!("<get><!-- {filler} --></get>")).await.unwrap());
    assert!(reply.contains("<data"), "{reply}");
    assert!(text(session.close().await.unwrap()).contains("<ok/>"));
    conn.close().await;
}

async fn example_client() {
    let server = Netconfd::start();
    let sshd = &server.sshd;
    let (port, known_hosts) = (sshd.port().to_string(), sshd.known_hosts());
    let destination = format!("{}@127.0.0.1", sshd.user());
    let base = [
        "call",
        "-F",
        "none",
        "-p",
        &port,
        "-i",
        sshd.identity().to_str().unwrap(),
        "--known-hosts",
        known_hosts.to_str().unwrap(),
    ];
    for (words, status, out) in [
        (
            &["--version-1-0", &destination, "<get-config><source><running/></source></get-config>"][..],
            0,
            "<data",
        ),
        (&[&destination, "<get-config><source><running/></source></get-config>"], 0, "<data"),
        (&[&destination, "<nonsense/>"], 1, "<rpc-error"),
        (&["--subsystem", "nothing", &destination, "<get/>"], 255, ""),
    ] {
        let output = run_example(&[&base[..], words].concat()).await;
        let (stdout, stderr) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.code() == Some(status) && stdout.contains(out), "{words:?}: {stdout}{stderr}");
        assert_eq!(stderr.is_empty(), status != 255, "{stderr}");
    }
}

const SCRIPT: &str = r#"
import sys
from ncclient import manager
from ncclient.operations import RPCError
from ncclient.xml_ import to_ele

host, port, key = sys.argv[1], int(sys.argv[2]), sys.argv[3]
with manager.connect(host=host, port=port, username="alice", key_filename=key, hostkey_verify=False,
                     allow_agent=False, look_for_keys=False, timeout=30) as m:
    assert ":base:1.1" in m.server_capabilities, list(m.server_capabilities)
    text = "".join(chr(0x20 + i % 0x5f) for i in range(500000)).replace("<", "(").replace("&", "+").replace("]", "[")
    config = '<config><note xmlns="urn:example:note">%s \u00fc</note></config>' % text
    m.edit_config(target="running", config=config)
    data = m.get_config(source="running").data_xml
    assert text.replace(">", "&gt;") in data or text in data, len(data)
    assert "\u00fc" in data or "&#252;" in data
    try:
        m.dispatch(to_ele("<no-such-thing/>"))
    except RPCError as error:
        assert error.tag == "operation-not-supported", error.tag
    else:
        raise AssertionError("no error")
    for n in range(20):
        m.edit_config(target="running", config='<config><n xmlns="urn:example:note">%d</n></config>' % n)
        assert ">%d<" % n in m.get_config(source="running").data_xml
print("well")
"#;

fn key(directory: &Path) -> KeyPair {
    KeyPair::generate(directory.join("id"), KeyKind::Ed25519).unwrap()
}

async fn ncclient_to_us() {
    let directory = tempfile::tempdir().unwrap();
    let key = key(directory.path());
    let server = Served::start(&directory.path().join("id.pub"));
    let mut command = tokio::process::Command::new("/usr/bin/python3");
    command.args(["-c", SCRIPT, "127.0.0.1", &server.port.to_string()]).arg(key.path());
    command.env("HOME", directory.path()).stdin(Stdio::null()).kill_on_drop(true);
    let output = command.output().await.unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && output.stdout == b"well\n", "{stderr}");
}

async fn both() {
    let directory = tempfile::tempdir().unwrap();
    let key = key(directory.path());
    let server = Served::start(&directory.path().join("id.pub"));
    let port = server.port.to_string();
    let words = |more: &[&'static str]| {
        let key = key.path().to_str().unwrap();
        let base = ["call", "-F", "none", "-p", &port, "-i", key, "--pin", &server.pin];
        base.iter().chain(more).map(|word| (*word).to_owned()).collect::<Vec<_>>()
    };
    for (more, status, out) in [
        (
            &[
                "alice@127.0.0.1",
                "<edit-config><target><running/></target><config><a>7</a></config></edit-config>",
            ][..],
            0,
            "<ok/>",
        ),
        (
            &["alice@127.0.0.1", "<get-config><source><running/></source></get-config>"],
            0,
            "<data><a>7</a></data>",
        ),
        (&["--version-1-0", "alice@127.0.0.1", "<get/>", "<nonsense/>"], 1, "operation-not-supported"),
    ] {
        let words = words(more);
        let output = run_example(&words.iter().map(String::as_str).collect::<Vec<_>>()).await;
        let (stdout, stderr) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.code() == Some(status) && stdout.contains(out), "{more:?}: {stdout}{stderr}");
    }
}

/// The command that leads to the server is told the port.
async fn port() {
    let directory = tempfile::tempdir().unwrap();
    let (seen, config) = (directory.path().join("seen"), directory.path().join("config"));
    let known = format!("ProxyCommand echo %h %p > {}\nHost router\nPort 2022\n", seen.display());
    std::fs::write(&config, known).unwrap();
    let config = config.to_str().unwrap();
    for (words, wanted) in [
        (&["bridge"][..], "bridge 830\n"),
        (&["router"], "router 2022\n"),
        (&["-o", "Port=2222", "router"], "router 2222\n"),
        (&["-p", "22", "router"], "router 22\n"),
    ] {
        let output = run_example(&[&["call", "-F", config], words, &["<get/>"]].concat()).await;
        assert_eq!(output.status.code(), Some(255), "it hangs up at once: {output:?}");
        assert_eq!(std::fs::read_to_string(&seen).unwrap(), wanted, "{words:?}");
    }
}
