//! SOCKS4, SOCKS4a and SOCKS5, by `tokio-socks`: how it is asked, and what its errors mean here.

use std::net::IpAddr;

use secrecy::ExposeSecret as _;
use tokio::net::lookup_host;
use tokio_socks::tcp::{Socks4Stream, Socks5Stream};
use tokio_socks::{Error, IntoTargetAddr as _, TargetAddr};

use super::dialer::ByteStream;
use super::error::ProxyError;
use super::proxy::{Kind, Proxy, authority, is_host};

pub(super) async fn connect(
    proxy: &Proxy,
    io: Box<dyn ByteStream>,
    host: &str,
    port: u16,
) -> Result<Box<dyn ByteStream>, ProxyError> {
    let to = authority(host, port);
    let target = if proxy.resolve_here {
        look_up(host, port, proxy.kind == Kind::Socks4).await?
    } else if is_host(host) {
        (host, port).into_target_addr().map_err(|error| meaning(error, proxy, &to))?
    } else {
        return Err(no_address(host, "it is no host name"));
    };
    let user = proxy.user.as_deref();
    let done = match proxy.kind {
        Kind::Socks5 => match (user, &proxy.password) {
            (Some(user), Some(password)) => {
                let password = password.expose_secret();
                Socks5Stream::connect_with_password_and_socket(io, target, user, password).await
            }
            _ => Socks5Stream::connect_with_socket(io, target).await,
        }
        .map(Socks5Stream::into_inner),
        _ => {
            if matches!(target, TargetAddr::Ip(address) if address.is_ipv6()) {
                return Err(no_address(host, "SOCKS4 knows IPv4 only"));
            }
            match user {
                Some(user) => Socks4Stream::connect_with_userid_and_socket(io, target, user).await,
                None => Socks4Stream::connect_with_socket(io, target).await,
            }
            .map(Socks4Stream::into_inner)
        }
    };
    done.map_err(|error| meaning(error, proxy, &to))
}

fn no_address(host: &str, why: impl Into<String>) -> ProxyError {
    ProxyError::NoAddress { host: host.to_owned(), why: why.into() }
}

async fn look_up(host: &str, port: u16, only_v4: bool) -> Result<TargetAddr<'static>, ProxyError> {
    let literal = host.parse::<IpAddr>().is_ok();
    let mut found = lookup_host((host, port)).await.map_err(|error| no_address(host, error.to_string()))?;
    match found.find(|address| !only_v4 || address.is_ipv4()) {
        Some(address) => Ok(TargetAddr::Ip(address)),
        None if literal => Err(no_address(host, "SOCKS4 knows IPv4 only")),
        None => Err(no_address(host, "it has no IPv4 address, and SOCKS4 knows no other")),
    }
}

fn meaning(error: Error, proxy: &Proxy, to: &str) -> ProxyError {
    let failed = |why: &str| ProxyError::Failed { to: to.to_owned(), why: why.to_owned() };
    match error {
        Error::Io(error) => error.into(),
        Error::NoAcceptableAuthMethods | Error::AuthorizationRequired if proxy.user.is_none() => {
            ProxyError::LoginRequired { asks: "none of the methods without one".to_owned() }
        }
        Error::NoAcceptableAuthMethods => {
            ProxyError::LoginRefused("it knows no login by password".to_owned())
        }
        Error::PasswordAuthFailure(code) => ProxyError::LoginRefused(format!("status {code}")),
        Error::IdentdAuthFailure | Error::InvalidUserIdAuthFailure => {
            ProxyError::LoginRefused(error.to_string())
        }
        Error::ConnectionNotAllowedByRuleset => {
            ProxyError::Denied { to: to.to_owned(), why: "not allowed by its rules".to_owned() }
        }
        Error::GeneralSocksServerFailure => failed("general failure"),
        Error::NetworkUnreachable => failed("network unreachable"),
        Error::HostUnreachable => failed("host unreachable"),
        Error::ConnectionRefused => failed("connection refused"),
        Error::TtlExpired => failed("TTL expired"),
        Error::AddressTypeNotSupported => failed("it does not know this type of address"),
        Error::CommandNotSupported => ProxyError::Nonsense("it does not know CONNECT".to_owned()),
        // What it says for a reply code it does not know as well.
        Error::UnknownAuthMethod | Error::UnknownError => ProxyError::Nonsense(
            "a method or a reply code that was not asked for or does not exist".to_owned(),
        ),
        other => ProxyError::Nonsense(other.to_string()),
    }
}
