use super::*;
use crate::auth::KeyboardInteractive;
use crate::ssh_config::{Asked, Local, SshConfig};

fn options(text: &str) -> HostOptions {
    let local = Local::new("me", 1000, "/home/me", "desk");
    SshConfig::parse(text).unwrap().resolve(&Asked::host("h").local(local)).unwrap()
}

fn applying(options: &HostOptions) -> Applying<'_> {
    Applying { options, left: Vec::new(), problems: Vec::new() }
}

fn left(text: &str) -> Vec<(&'static str, bool)> {
    let applied = options(text).client_config(&Asking::nobody()).unwrap();
    applied.left.iter().map(|left| (left.keyword, left.left == Left::ForCaller)).collect()
}

#[test]
fn deadlines_follow_connect_timeout() {
    let timeouts = |text| applying(&options(text)).timeouts();
    assert_eq!(timeouts(""), Timeouts::default());
    let five = timeouts("ConnectTimeout 5");
    assert_eq!((five.dial, five.version), (Duration::from_secs(5), Duration::from_secs(5)));
    assert_eq!(timeouts("ConnectTimeout none").dial, Duration::MAX);
    assert_eq!(timeouts("ConnectTimeout 0").dial, Duration::MAX);
}

#[test]
fn as_many_questions_are_asked_as_server_alive_count_max_says() {
    let keepalive = |text| applying(&options(text)).keepalive();
    assert_eq!(keepalive(""), Keepalive::default());
    assert_eq!(keepalive("ServerAliveInterval 15"), Keepalive::new(Duration::from_secs(15), 4));
    assert_eq!(
        keepalive("ServerAliveInterval 15\nServerAliveCountMax 1"),
        Keepalive::new(Duration::from_secs(15), 2)
    );
    assert_eq!(
        keepalive("ServerAliveInterval 15\nServerAliveCountMax 0"),
        Keepalive::new(Duration::from_secs(15), u32::MAX)
    );
    assert_eq!(keepalive("ServerAliveInterval 0\nServerAliveCountMax 9"), Keepalive::off());
    assert_eq!(keepalive("ServerAliveCountMax 9").interval, Keepalive::default().interval);
    for text in ["ServerAliveInterval 1\nServerAliveCountMax 1", "ServerAliveInterval 0"] {
        assert_eq!(keepalive(text).check(), Ok(()), "{text}");
    }
}

#[test]
fn rekey_limit_sets_both_limits() {
    let rekey = |text| applying(&options(text)).rekey();
    assert_eq!(rekey(""), RekeyLimit::default());
    assert_eq!(rekey("RekeyLimit 1M 1m"), RekeyLimit::new(1 << 20, Duration::from_secs(60)));
    assert_eq!(rekey("RekeyLimit 1M"), RekeyLimit::new(1 << 20, Duration::MAX));
    assert_eq!(rekey("RekeyLimit default 1m"), RekeyLimit::new(1 << 30, Duration::from_secs(60)));
}

#[test]
fn identities_are_tried_in_the_order_of_openssh() {
    let asking = Asking::nobody()
        .password_with(|_| async { None })
        .keyboard_interactive(KeyboardInteractive::new().answer("*", "x".into()));
    let sources = |text: &str, asking: &Asking| {
        let options = options(text);
        let auth = applying(&options).auth(asking);
        assert_eq!(auth.check("me"), Ok(()), "{text}");
        let debug = format!("{auth:?}");
        ["Agent", "/k1", "/k2", "/c1", "Password", "KeyboardInteractive", "None]"]
            .into_iter()
            .filter_map(|part| debug.find(part).map(|at| (at, part)))
            .collect::<std::collections::BTreeMap<_, _>>()
            .into_values()
            .collect::<Vec<_>>()
    };
    let files = "IdentityFile /k1\nIdentityFile /k2\n";
    let with = |more: &str| format!("{files}{more}");
    assert_eq!(sources(files, &asking), ["Agent", "/k1", "/k2", "KeyboardInteractive", "Password"]);
    assert_eq!(sources(&with("IdentitiesOnly yes"), &Asking::nobody()), ["Agent", "/k1", "/k2"]);
    assert_eq!(sources(&with("IdentityAgent none"), &Asking::nobody()), ["/k1", "/k2"]);
    assert_eq!(sources(&with("CertificateFile /c1"), &Asking::nobody()), ["Agent", "/k1", "/c1", "/k2"]);
    assert_eq!(sources(&with("BatchMode yes"), &asking), ["Agent", "/k1", "/k2"]);
    assert_eq!(sources(&with("NumberOfPasswordPrompts 0"), &asking), ["Agent", "/k1", "/k2"]);
    assert_eq!(sources(&with("PubkeyAuthentication no"), &asking), ["KeyboardInteractive", "Password"]);
    assert_eq!(
        sources(&with("PasswordAuthentication no\nIdentityAgent none"), &asking),
        ["/k1", "/k2", "KeyboardInteractive"]
    );
    assert_eq!(sources(&with("PreferredAuthentications password"), &asking), ["Password"]);
    assert_eq!(sources("PubkeyAuthentication no", &Asking::nobody()), ["None]"]);
    assert_eq!(sources("IdentityFile none\nIdentitiesOnly yes", &Asking::nobody()), ["None]"]);
}

#[test]
fn host_keys_are_judged_as_the_file_says() {
    let policy = |text: &str| {
        let options = options(text);
        format!("{:?}", applying(&options).host_key(&Asking::nobody()))
    };
    assert!(policy("").contains("Refuse") && policy("").contains(r#"["/home/me/.ssh/known_hosts", "#));
    assert!(policy("StrictHostKeyChecking accept-new").contains("Remember"));
    let files = policy("UserKnownHostsFile /u1 /u2\nGlobalKnownHostsFile /g\nHashKnownHosts yes");
    assert!(files.contains(r#"["/u1", "/u2", "/g"]"#) && files.contains("hash_names: true"), "{files}");
    let none = policy("UserKnownHostsFile none\nGlobalKnownHostsFile /g\nStrictHostKeyChecking no");
    assert!(none.contains(r#"["/dev/null", "/g"]"#), "{none}");
    let asking = Asking::nobody().verifier(|_| async { Ok(crate::host_key::HostKeyDecision::Accept) });
    let ask = |text: &str| format!("{:?}", applying(&options(text)).host_key(&asking));
    assert!(ask("").contains("Ask"));
    assert!(ask("BatchMode yes").contains("Refuse"));
    assert!(ask("StrictHostKeyChecking yes").contains("Refuse"));
}

#[test]
fn what_cannot_be_honoured_is_told_and_what_is_done_anyway_is_not() {
    assert_eq!(
        left("Compression no\nCheckHostIP no\nVerifyHostKeyDNS no\nProxyJump none\nUser x\nPort 3"),
        []
    );
    assert_eq!(left("Compression yes\nTunnel yes"), [("compression", false), ("tunnel", false)]);
    assert_eq!(
        left("LocalForward 1 a:1\nSetEnv A=1\nBindAddress ::1\nTCPKeepAlive yes"),
        [("localforward", true), ("setenv", true)]
    );
    assert_eq!(left("StrictHostKeyChecking no"), [("stricthostkeychecking", false)]);
    assert_eq!(left("StrictHostKeyChecking ask"), [("stricthostkeychecking", false)]);
    assert_eq!(
        left("PreferredAuthentications gssapi-with-mic,publickey"),
        [("preferredauthentications", false)]
    );
    assert_eq!(left("Ciphers aes256-ctr,3des-nothing"), [("ciphers", false)]);
    assert_eq!(left("Ciphers -3des-nothing\nLocalCommand x"), [("localcommand", false)]);
}

#[test]
fn a_proxy_is_never_left_out_in_silence() {
    let error = options("ProxyJump a").client_config(&Asking::nobody()).unwrap_err().to_string();
    assert!(error.contains("text:1: proxyjump") && error.contains("SshConfig::client"), "{error}");
    let error = options("ProxyCommand -").client_config(&Asking::nobody()).unwrap_err().to_string();
    assert!(error.contains("text:1: proxycommand means our own input"), "{error}");
    for text in ["ProxyCommand none", "ProxyJump none"] {
        assert_eq!(via(text), Via::tcp(TcpOptions::new()));
    }
}

fn via(text: &str) -> Via {
    applying(&options(text)).via(Start::Here).unwrap()
}

#[test]
fn the_way_is_made_of_what_the_file_says() {
    let tcp = TcpOptions::new();
    assert_eq!(via("AddressFamily inet6"), Via::tcp(tcp.clone().family(dial::AddressFamily::Ipv6)));
    let bound = tcp.clone().local_address([127, 0, 0, 9].into());
    assert_eq!(via("BindAddress 127.0.0.9"), Via::tcp(bound));
    assert_eq!(via("TCPKeepAlive no"), Via::tcp(tcp.clone()));
    let probed = tcp.keepalive(TcpKeepalive::new(Duration::from_secs(7200), Duration::from_secs(75), 9));
    assert_eq!(via("TCPKeepAlive yes"), Via::tcp(probed));
    let command = Via::command(ProxyCommand::shell("nc h 22 %%x"));
    assert_eq!(via("ProxyCommand nc %h %p %%x"), command, "tokens are expanded once");
    assert_eq!(left("ProxyCommand nc %h %p\nBindAddress ::1"), [("bindaddress", false)]);
    for text in ["BindAddress here", "BindAddress ::1\nAddressFamily inet"] {
        let error = options(text).client_config(&Asking::nobody()).unwrap_err().to_string();
        assert!(error.contains("text:1: bindaddress"), "{error}");
    }
}

#[test]
fn a_list_that_leaves_nothing_names_what_there_is() {
    let error = options("Ciphers nothing").client_config(&Asking::nobody()).unwrap_err().to_string();
    assert!(error.contains("text:1: ciphers leaves no algorithm") && error.contains("aes256-ctr"), "{error}");
    for keyword in ["Ciphers", "MACs", "KexAlgorithms", "HostKeyAlgorithms"] {
        let applied = options(&format!("{keyword} *")).client_config(&Asking::nobody()).unwrap();
        assert_eq!(applied.config.check(), Ok(()), "{keyword}: every name we list is one we know");
        let applied = options(&format!("{keyword} +x")).client_config(&Asking::nobody()).unwrap();
        assert_eq!(applied.config.check(), Ok(()), "{keyword}");
    }
    assert!(options("RefuseConnection moved to b").client_config(&Asking::nobody()).is_err());
}

#[test]
fn the_usual_keys_are_those_of_the_local_user() {
    let home = tempfile::tempdir().unwrap();
    std::fs::create_dir(home.path().join(".ssh")).unwrap();
    let key = home.path().join(".ssh/id_ed25519");
    std::fs::write(&key, "").unwrap();
    let local = Local::new("me", 1000, home.path(), "desk");
    let options = SshConfig::default().resolve(&Asked::host("h").local(local)).unwrap();
    let auth = format!("{:?}", applying(&options).auth(&Asking::nobody()));
    assert!(auth.contains(key.to_str().unwrap()) && !auth.contains("id_rsa"), "{auth}");
}
