//! User certificates, signed by `ssh-keygen` and presented by OpenSSH's client and ours.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use libtest_mimic::Trial;
use ractor_ssh::auth::{Auth, Identity};
use ractor_ssh::login::{AuthorizedKeys, CertificateRefusal, LoginRefusal, SourcePenalties};
use ractor_ssh::wire::PtyRequest;
use ractor_ssh::wire::keys::PublicKey;
use ractor_ssh::{Client, DaemonConfig};

use crate::kit::{KeyKind, KeyPair, Peer, peer_test};
use crate::ours::Quiet;
use crate::programs::router;
use crate::support::{Served, Ssh, soon};

const SSH: [Peer; 1] = [Peer::OpenSshClient];

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        peer_test("a_certificate_of_a_trusted_authority_lets_in_and_others_do_not", SSH, table),
        peer_test("certificates_of_every_kind_of_key_and_authority_let_in", SSH, kinds),
        peer_test("principals_can_be_mapped_to_users", SSH, mapped),
        peer_test("an_authority_in_authorized_keys_signs_for_its_principals", SSH, authority_line),
        peer_test("a_certificate_permits_what_its_extensions_name", SSH, extensions),
        peer_test("a_plain_key_is_not_let_in_by_the_authority_that_knows_it", SSH, plain_key),
    ]
}

type Refusals = Arc<Mutex<Vec<LoginRefusal>>>;

struct Case {
    ssh: Ssh,
    authority: KeyPair,
    refusals: Refusals,
}

impl Case {
    fn new(kind: KeyKind, authority: KeyKind) -> Self {
        let ssh = Ssh::with_key(kind);
        let authority = KeyPair::generate(ssh.directory().join("ca"), authority).unwrap();
        Self { ssh, authority, refusals: Refusals::default() }
    }

    fn authority(&self) -> PublicKey {
        PublicKey::from_openssh(&self.authority.public_line().unwrap()).unwrap()
    }

    async fn served(&self, change: impl FnOnce(DaemonConfig) -> DaemonConfig) -> Served {
        let refusals = Arc::clone(&self.refusals);
        Served::bare(|config| {
            change(
                config
                    .router(router())
                    .login_delay(Duration::from_millis(20))
                    .source_penalties(SourcePenalties::off())
                    .on_login_failed(move |_, _, why| refusals.lock().unwrap().push(why.clone())),
            )
        })
        .await
    }

    fn certify(&self, principals: &[&str], validity: &str, extra: &[&str]) {
        self.authority.certify_user(self.ssh.key(), principals, validity, extra).unwrap();
    }

    async fn lets_in(&self, served: &Served) -> bool {
        let output = soon(self.ssh.command(served).args(["127.0.0.1", "fail"]).output()).await.unwrap();
        match output.status.code() {
            Some(7) => true,
            Some(255) => false,
            _ => panic!("{output:?}"),
        }
    }

    /// Why the certificate was refused, not the key in it.
    fn refusal(&self) -> Option<CertificateRefusal> {
        let refusals = std::mem::take(&mut *self.refusals.lock().unwrap());
        refusals.into_iter().find_map(|refusal| match refusal {
            LoginRefusal::Certificate(refusal) => Some(refusal),
            _ => None,
        })
    }
}

async fn table() {
    let case = Case::new(KeyKind::Ed25519, KeyKind::Ed25519);
    let served = case.served(|config| config.trusted_user_ca(&case.authority())).await;
    let options = |extra: &[&str]| {
        case.certify(&["alice"], "+1h", extra);
    };
    case.certify(&["alice", "bob"], "+1h", &[]);
    assert!(case.lets_in(&served).await);
    options(&["-O", "source-address=10.0.0.0/8,127.0.0.0/8"]);
    assert!(case.lets_in(&served).await);
    assert_eq!(case.refusal(), None);

    case.certify(&["bob"], "+1h", &[]);
    assert!(!case.lets_in(&served).await);
    assert_eq!(case.refusal(), Some(CertificateRefusal::WrongPrincipal(vec!["bob".to_owned()])));
    case.certify(&[], "+1h", &[]);
    assert!(!case.lets_in(&served).await);
    assert_eq!(case.refusal(), Some(CertificateRefusal::NoPrincipals));
    options(&["-O", "source-address=10.0.0.0/8"]);
    assert!(!case.lets_in(&served).await);
    assert_eq!(case.refusal(), Some(CertificateRefusal::WrongAddress("10.0.0.0/8".to_owned())));
    options(&["-O", "critical:no-such@example.com=x"]);
    assert!(!case.lets_in(&served).await);
    let unknown = vec!["no-such@example.com".to_owned()];
    assert_eq!(case.refusal(), Some(CertificateRefusal::CriticalOptions(unknown)));

    // russh refuses these itself, before anybody is asked.
    case.certify(&["alice"], "-2h:-1h", &[]);
    assert!(!case.lets_in(&served).await);
    case.certify(&["alice"], "+1h:+2h", &[]);
    assert!(!case.lets_in(&served).await);

    let stranger = KeyPair::generate(case.ssh.directory().join("stranger"), KeyKind::Ed25519).unwrap();
    stranger.certify_user(case.ssh.key(), &["alice"], "+1h", &[]).unwrap();
    assert!(!case.lets_in(&served).await);
    assert!(matches!(case.refusal(), Some(CertificateRefusal::UnknownAuthority { .. })));

    case.certify(&["alice"], "+1h", &[]);
    for revoked in [case.authority(), case.ssh.public_key()] {
        let served =
            case.served(|config| config.trusted_user_ca(&case.authority()).revoked_keys([revoked])).await;
        assert!(!case.lets_in(&served).await);
        assert!(case.refusals.lock().unwrap().contains(&LoginRefusal::Revoked));
    }
    assert!(case.lets_in(&served).await);
}

async fn kinds() {
    for (kind, authority) in [
        (KeyKind::EcdsaP256, KeyKind::Rsa3072),
        (KeyKind::Rsa2048, KeyKind::EcdsaP384),
        (KeyKind::Ed25519, KeyKind::EcdsaP521),
    ] {
        let case = Case::new(kind, authority);
        let served = case.served(|config| config.trusted_user_ca(&case.authority())).await;
        case.certify(&["alice"], "+1h", &[]);
        assert!(case.lets_in(&served).await, "{kind:?} signed by {authority:?}: {:?}", case.refusals);
    }
    // The same signature with SHA-1 is not good enough for an authority.
    let case = Case::new(KeyKind::Ed25519, KeyKind::Rsa2048);
    let served = case.served(|config| config.trusted_user_ca(&case.authority())).await;
    case.certify(&["alice"], "+1h", &["-t", "ssh-rsa"]);
    assert!(!case.lets_in(&served).await);
    assert_eq!(case.refusal(), Some(CertificateRefusal::SignatureAlgorithm("ssh-rsa".to_owned())));
}

async fn mapped() {
    let case = Case::new(KeyKind::Ed25519, KeyKind::Ed25519);
    let served = case
        .served(|config| {
            config.trusted_user_ca(&case.authority()).user_principals(|attempt| async move {
                if attempt.user == "alice" { vec!["ops".to_owned(), "root".to_owned()] } else { Vec::new() }
            })
        })
        .await;
    case.certify(&["ops"], "+1h", &[]);
    assert!(case.lets_in(&served).await);
    case.certify(&["alice"], "+1h", &[]);
    assert!(!case.lets_in(&served).await, "the name alone is not among them");
}

async fn authority_line() {
    let case = Case::new(KeyKind::Ed25519, KeyKind::Ed25519);
    let key = case.authority.public_fields().unwrap();
    let table = [
        ("cert-authority", "alice", true),
        ("cert-authority", "ops", false),
        ("cert-authority,principals=\"ops,dev\"", "ops", true),
        ("cert-authority,principals=\"ops,dev\"", "alice", false),
        ("cert-authority,from=\"10.0.0.0/8\"", "alice", false),
        ("cert-authority,expiry-time=\"20200101\"", "alice", false),
        ("", "alice", false),
    ];
    for (options, principal, good) in table {
        let keys = AuthorizedKeys::parse(&format!("{options} {key}"));
        assert!(keys.problems().is_empty());
        let served = case.served(|config| config.authorized_keys(keys)).await;
        case.certify(&[principal], "+1h", &[]);
        assert_eq!(case.lets_in(&served).await, good, "{options} for {principal}: {:?}", case.refusals);
    }
}

/// Whether our client, with the certificate, gets a terminal.
async fn gets_a_terminal(case: &Case, served: &Served) -> bool {
    let identity = Identity::load(case.ssh.key().path(), ractor_ssh::auth::Passphrase::none()).await.unwrap();
    let identity = identity.with_certificate(case.ssh.key().certificate_path()).await.unwrap();
    let config = served.client_config().auth(Auth::new().identity(identity));
    let conn = soon(Client::new(config).connect()).await.unwrap();
    let channel = conn.session_channel(Quiet).await.unwrap();
    let asked = soon(channel.ptty_alloc(PtyRequest::new("vt100").size(80, 24))).await;
    soon(conn.close()).await;
    asked.is_ok()
}

async fn extensions() {
    let case = Case::new(KeyKind::Ed25519, KeyKind::Ed25519);
    let trusted = case.served(|config| config.trusted_user_ca(&case.authority())).await;
    case.certify(&["alice"], "+1h", &[]);
    assert!(gets_a_terminal(&case, &trusted).await, "ssh-keygen permits it by default");
    case.certify(&["alice"], "+1h", &["-O", "no-pty"]);
    assert!(!gets_a_terminal(&case, &trusted).await);
    case.certify(&["alice"], "+1h", &["-O", "clear"]);
    assert!(!gets_a_terminal(&case, &trusted).await);
    case.certify(&["alice"], "+1h", &[]);
    let line = format!("cert-authority,no-pty {}", case.authority.public_fields().unwrap());
    let listed = case.served(|config| config.authorized_keys(AuthorizedKeys::parse(&line))).await;
    assert!(!gets_a_terminal(&case, &listed).await, "the line takes away");
}

/// The key is asked to sign, for it may have come with a certificate; that is all.
async fn plain_key() {
    let case = Case::new(KeyKind::Ed25519, KeyKind::Ed25519);
    let served = case.served(|config| config.trusted_user_ca(&case.authority())).await;
    assert!(!case.lets_in(&served).await);
    assert_eq!(*case.refusals.lock().unwrap(), [LoginRefusal::Denied]);
}
