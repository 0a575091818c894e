//! Real proxies in front of a real server: Dante for SOCKS, tinyproxy for HTTP CONNECT.

use std::process::ExitCode;

use libtest_mimic::Trial;
use ractor_ssh::dial::{DialError, Proxy, ProxyError, Via};
use ractor_ssh::{Client, ClientConfig, ConnectError, Pool, PoolConfig};

use crate::common::{NobodyListens, becomes_true, config, config_at, connect, fails, soon, works};
use crate::kit::{Peer, RealProxy, Sshd, peer_test};

pub(crate) fn trials() -> Vec<Trial> {
    let dante = [Peer::OpenSshServer, Peer::Dante];
    let ssh = [Peer::OpenSshServer, Peer::OpenSshClient];
    let tinyproxy = [Peer::OpenSshServer, Peer::Tinyproxy];
    let both = [Peer::OpenSshServer, Peer::Dante, Peer::Tinyproxy];
    let account = [Peer::OpenSshServer, Peer::Dante, Peer::Account];
    vec![
        peer_test("proxies::dante_takes_socks4_and_5", dante, socks),
        peer_test("proxies::ssh_d_takes_every_kind_of_socks_by_name_and_address", ssh, ssh_d),
        peer_test("proxies::dante_takes_a_login_and_refuses_a_wrong_one", account, socks_login),
        peer_test("proxies::what_dante_cannot_or_may_not_reach_is_told_apart", dante, socks_refusals),
        peer_test("proxies::tinyproxy_connects", tinyproxy, http),
        peer_test("proxies::tinyproxy_takes_a_login_and_refuses_a_wrong_one", tinyproxy, http_login),
        peer_test("proxies::what_tinyproxy_cannot_reach_is_told", tinyproxy, http_refusals),
        peer_test("proxies::one_proxy_leads_to_the_next", both, chain),
        peer_test("proxies::a_proxy_that_dies_ends_the_connection", both, dies),
        peer_test("proxies::the_environment_is_read_as_curl_does", [], environment),
        peer_test("proxies::a_pool_shares_connections_that_go_the_same_way", tinyproxy, pooled),
    ]
}

fn via(sshd: &Sshd, proxy: Proxy) -> ClientConfig {
    config(sshd).via(Via::default().proxy(proxy))
}

fn why(error: &ConnectError) -> &ProxyError {
    match error {
        ConnectError::Dial { source: DialError::Proxy { source, .. }, .. } => source,
        other => panic!("{other:?}"),
    }
}

async fn socks() {
    let sshd = Sshd::builder().start().unwrap();
    let dante = RealProxy::dante(None).unwrap();
    let port = dante.port();
    let kinds = [
        Proxy::socks4("127.0.0.1", port),
        Proxy::socks4("127.0.0.1", port).user("somebody"),
        Proxy::socks5("127.0.0.1", port),
        Proxy::socks5("127.0.0.1", port).resolve_here(),
        // A login that is not asked for does no harm.
        Proxy::socks5("localhost", port).login("somebody", "secret".into()),
    ];
    for proxy in kinds {
        by_name_and_address(&sshd, &proxy).await;
    }
}

async fn ssh_d() {
    let sshd = Sshd::builder().start().unwrap();
    let real = RealProxy::ssh_d(&sshd).unwrap();
    let make: [fn(&str, u16) -> Proxy; 3] = [
        |host, port| Proxy::socks4(host, port),
        |host, port| Proxy::socks4a(host, port),
        |host, port| Proxy::socks5(host, port),
    ];
    for make in make {
        by_name_and_address(&sshd, &make("127.0.0.1", real.port())).await;
    }
    assert!(real.log().is_empty(), "{}", real.log());
}

async fn by_name_and_address(sshd: &Sshd, proxy: &Proxy) {
    for host in ["127.0.0.1", "localhost"] {
        let connection = connect(config_at(host, sshd).via(Via::default().proxy(proxy.clone()))).await;
        works(&connection).await;
        assert_eq!(connection.info().await.unwrap().peer_addr, None, "{proxy}: the peer is the proxy");
        connection.close().await;
    }
}

async fn socks_login() {
    let sshd = Sshd::builder().start().unwrap();
    let dante = RealProxy::dante(Some(("proxyuser", "right"))).unwrap();
    let proxy = || Proxy::socks5("127.0.0.1", dante.port());
    works(&connect(via(&sshd, proxy().login("proxyuser", "right".into()))).await).await;
    let error = fails(via(&sshd, proxy().login("proxyuser", "wrong".into()))).await;
    assert!(matches!(why(&error), ProxyError::LoginRefused(_)), "{error:?}");
    assert!(!error.is_retryable());
    let error = fails(via(&sshd, proxy())).await;
    assert!(matches!(why(&error), ProxyError::LoginRequired { .. }), "{error:?}");
}

async fn socks_refusals() {
    let sshd = Sshd::builder().start().unwrap();
    let dante = RealProxy::dante(None).unwrap();
    let nobody = NobodyListens::new();
    let proxy = || Proxy::socks5("127.0.0.1", dante.port());
    let error = fails(via(&sshd, proxy()).port(nobody.port())).await;
    let ProxyError::Failed { why: words, .. } = why(&error) else { panic!("{error:?}") };
    assert_eq!(words, "connection refused");
    assert!(error.is_retryable());
    let blocked = ClientConfig::new("127.0.0.66", "x").via(Via::default().proxy(proxy()));
    let error = fails(blocked).await;
    assert!(matches!(why(&error), ProxyError::Denied { .. }), "{error:?}");
    assert!(!error.is_retryable());
    let gone = fails(via(&sshd, Proxy::socks5("127.0.0.1", nobody.port()))).await;
    assert!(matches!(why(&gone), ProxyError::Unreachable(_)), "{gone:?}");
    let text = gone.to_string();
    let named = format!("socks5h://127.0.0.1:{}", nobody.port());
    assert!(text.contains(&named) && text.contains(&sshd.port().to_string()), "{text}");
}

async fn http() {
    let sshd = Sshd::builder().start().unwrap();
    let tinyproxy = RealProxy::tinyproxy(None).unwrap();
    let proxy = Proxy::http("127.0.0.1", tinyproxy.port()).header("User-Agent", "ractor-ssh");
    works(&connect(via(&sshd, proxy)).await).await;
    assert!(tinyproxy.log().contains(&format!("CONNECT 127.0.0.1:{}", sshd.port())), "{}", tinyproxy.log());
}

async fn http_login() {
    let sshd = Sshd::builder().start().unwrap();
    let tinyproxy = RealProxy::tinyproxy(Some(("somebody", "right"))).unwrap();
    let proxy = || Proxy::http("127.0.0.1", tinyproxy.port());
    works(&connect(via(&sshd, proxy().login("somebody", "right".into()))).await).await;
    let error = fails(via(&sshd, proxy().login("somebody", "wrong".into()))).await;
    assert!(matches!(why(&error), ProxyError::LoginRefused(_)), "{error:?}");
    assert!(!error.is_retryable() && !error.to_string().contains("wrong"), "{error}");
    let error = fails(via(&sshd, proxy())).await;
    let ProxyError::LoginRequired { asks } = why(&error) else { panic!("{error:?}") };
    assert_eq!(asks, "Basic");
}

async fn http_refusals() {
    let sshd = Sshd::builder().start().unwrap();
    let tinyproxy = RealProxy::tinyproxy(None).unwrap();
    let nobody = NobodyListens::new();
    let error = fails(via(&sshd, Proxy::http("127.0.0.1", tinyproxy.port())).port(nobody.port())).await;
    let ProxyError::Failed { why: words, .. } = why(&error) else { panic!("{error:?}") };
    assert!(words.starts_with("500"), "{words}");
}

async fn chain() {
    let sshd = Sshd::builder().start().unwrap();
    let dante = RealProxy::dante(None).unwrap();
    let tinyproxy = RealProxy::tinyproxy(None).unwrap();
    let way = Via::default()
        .proxy(Proxy::http("127.0.0.1", tinyproxy.port()))
        .proxy(Proxy::socks5("127.0.0.1", dante.port()));
    works(&connect(config(&sshd).via(way.clone())).await).await;
    assert!(tinyproxy.log().contains(&format!("CONNECT 127.0.0.1:{}", dante.port())), "{}", tinyproxy.log());
    let back = Via::default()
        .proxy(Proxy::socks5("127.0.0.1", dante.port()))
        .proxy(Proxy::http("127.0.0.1", tinyproxy.port()));
    works(&connect(config(&sshd).via(back)).await).await;
    // The one that fails is the one that is named.
    let nobody = NobodyListens::new();
    let error = fails(config(&sshd).via(way).port(nobody.port())).await;
    assert!(
        error.to_string().contains(&format!("the proxy socks5h://127.0.0.1:{}", dante.port())),
        "{error}"
    );
}

async fn dies() {
    let sshd = Sshd::builder().start().unwrap();
    let (dante, tinyproxy) = (RealProxy::dante(None).unwrap(), RealProxy::tinyproxy(None).unwrap());
    let ways = [
        (Proxy::socks5("127.0.0.1", dante.port()), &dante),
        (Proxy::http("127.0.0.1", tinyproxy.port()), &tinyproxy),
    ];
    for (proxy, real) in ways {
        let connection = connect(via(&sshd, proxy)).await;
        works(&connection).await;
        let child = connection.exec("cat").spawn().await.unwrap();
        real.kill();
        let end = soon("its end", connection.closed()).await;
        assert!(end.is_retryable(), "{end:?}");
        assert!(soon("the command", child.wait_with_output()).await.is_err());
    }
}

async fn pooled() {
    let sshd = Sshd::builder().start().unwrap();
    let tinyproxy = RealProxy::tinyproxy(None).unwrap();
    let pool = Pool::new(PoolConfig::new()).unwrap();
    let by_proxy = || via(&sshd, Proxy::http("127.0.0.1", tinyproxy.port()));
    for config in [by_proxy(), by_proxy(), config(&sshd)] {
        let host = pool.get_as("same", Client::new(config));
        let output = soon("a command", host.exec("echo $PPID").output()).await.unwrap();
        assert!(output.status.success(), "{output:?}");
    }
    // Two configurations that go the same way share one; the third goes another way.
    let through = || tinyproxy.log().matches("CONNECT 127.0.0.1").count();
    becomes_true("tinyproxy has logged it", || through() > 0).await;
    assert_eq!(through(), 1, "{}", tinyproxy.log());
    assert_eq!(sshd.log().matches("Accepted publickey").count(), 2, "{}", sshd.log());
}

/// Set in processes of ours that tell which proxy their environment names.
const ASKED: &str = "DIALING_TELLS_ITS_PROXY";

/// Whether this process is one of them: the environment of a process that has threads is not to be written.
pub(crate) fn is_asked_for_the_environment() -> bool {
    std::env::var_os(ASKED).is_some()
}

pub(crate) fn tell_the_environment() -> ExitCode {
    match Proxy::from_env("target.example.org", 22) {
        Ok(Some(proxy)) => println!("{proxy}"),
        Ok(None) => println!("none"),
        Err(error) => println!("{error}"),
    }
    ExitCode::SUCCESS
}

async fn environment() {
    let cases: [(&[(&str, &str)], &str); 8] = [
        (&[], "none"),
        (&[("ALL_PROXY", "")], "none"),
        (&[("ALL_PROXY", "socks5h://upper")], "socks5h://upper:1080"),
        (&[("all_proxy", "http://lower"), ("ALL_PROXY", "socks5h://upper")], "http://lower:80"),
        (&[("ALL_PROXY", "socks5h://p"), ("NO_PROXY", "example.org")], "none"),
        (&[("ALL_PROXY", "socks5h://p"), ("no_proxy", "example.org:22")], "none"),
        (&[("ALL_PROXY", "socks5h://p"), ("no_proxy", "other.org"), ("NO_PROXY", "*")], "socks5h://p:1080"),
        (&[("ALL_PROXY", "ftp://p")], "ALL_PROXY: has a scheme we do not know"),
    ];
    for (variables, wanted) in cases {
        let mut command = tokio::process::Command::new(std::env::current_exe().unwrap());
        for name in ["ALL_PROXY", "all_proxy", "NO_PROXY", "no_proxy"] {
            command.env_remove(name);
        }
        let output = command.env(ASKED, "1").envs(variables.iter().copied()).output().await.unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(said.starts_with(wanted), "{variables:?}: {said}");
    }
}
