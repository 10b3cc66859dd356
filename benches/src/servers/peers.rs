//! How the peers are configured: TLS 1.3 with an RSA key of 2,048 bits, nothing persistent, nothing limited.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use openssl::asn1::Asn1Time;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::PKey;
use openssl::rsa::Rsa;
use openssl::ssl::{SslContext, SslMethod, SslVerifyMode, SslVersion};
use openssl::x509::{X509, X509NameBuilder};

use super::Kind;

/// A client's side of TLS 1.3. It is the server that is measured: certificates aren't checked.
pub fn client_context() -> Result<SslContext> {
    let mut context = SslContext::builder(SslMethod::tls_client())?;
    context.set_min_proto_version(Some(SslVersion::TLS1_3))?;
    context.set_verify(SslVerifyMode::NONE);
    Ok(context.build())
}

/// The command that starts a peer in the foreground.
pub fn command(kind: Kind, dir: &Path, port: u16) -> Result<Command> {
    // A peer that is started by root becomes another user.
    fs::set_permissions(dir, fs::Permissions::from_mode(0o755))?;
    certificate(dir)?;
    let config = dir.join("config");
    let mut command = Command::new(installed(kind)?);
    let text = match kind {
        Kind::Mosquitto => {
            command.arg("-c").arg(&config);
            mosquitto(dir, port)
        }
        Kind::Ngircd => {
            command.args(["--nodaemon", "--config"]).arg(&config);
            ngircd(dir, port)
        }
        _ => {
            command.args(["--nofork", "--nopid", "--runasroot", "--config"]).arg(&config);
            inspircd(dir, port)
        }
    };
    fs::write(&config, text)?;
    fs::set_permissions(&config, fs::Permissions::from_mode(0o644))?;
    Ok(command)
}

/// Debian's package, which is installed if that can be done.
fn installed(kind: Kind) -> Result<String> {
    let program = format!("/usr/sbin/{}", kind.title());
    if !Path::new(&program).exists() {
        let mut apt = Command::new("apt-get");
        apt.args(["install", "-qq", "-y", "--no-install-recommends", kind.title()]);
        let done = apt.env("DEBIAN_FRONTEND", "noninteractive").output().context("apt-get")?;
        ensure!(done.status.success(), "{} isn't installed, and can't be", kind.title());
    }
    Ok(program)
}

fn certificate(dir: &Path) -> Result<()> {
    let key = PKey::from_rsa(Rsa::generate(2048)?)?;
    let mut name = X509NameBuilder::new()?;
    name.append_entry_by_nid(Nid::COMMONNAME, "localhost")?;
    let name = name.build();
    let mut certificate = X509::builder()?;
    certificate.set_version(2)?;
    certificate.set_subject_name(&name)?;
    certificate.set_issuer_name(&name)?;
    certificate.set_pubkey(&key)?;
    certificate.set_not_before(&*Asn1Time::days_from_now(0)?)?;
    certificate.set_not_after(&*Asn1Time::days_from_now(30)?)?;
    certificate.sign(&key, MessageDigest::sha256())?;
    fs::write(dir.join("cert.pem"), certificate.build().to_pem()?)?;
    // A key that nobody trusts, readable by whatever user a peer becomes.
    fs::write(dir.join("key.pem"), key.private_key_to_pem_pkcs8()?)?;
    Ok(())
}

fn mosquitto(dir: &Path, port: u16) -> String {
    let dir = dir.display();
    format!(
        "listener {port} 127.0.0.1\n\
         certfile {dir}/cert.pem\n\
         keyfile {dir}/key.pem\n\
         tls_version tlsv1.3\n\
         allow_anonymous true\n\
         persistence false\n\
         max_queued_messages 0\n\
         set_tcp_nodelay true\n\
         log_dest none\n\
         user root\n"
    )
}

fn ngircd(dir: &Path, port: u16) -> String {
    let dir = dir.display();
    format!(
        "[Global]\n\
         Name = irc.example.org\n\
         Info = benchmark\n\
         Listen = 127.0.0.1\n\
         MotdPhrase = hello\n\
         Ports =\n\
         [Limits]\n\
         MaxConnections = 0\n\
         MaxConnectionsIP = 0\n\
         MaxJoins = 0\n\
         MaxPenaltyTime = 0\n\
         PingTimeout = 3600\n\
         [Options]\n\
         DNS = no\n\
         Ident = no\n\
         PAM = no\n\
         [SSL]\n\
         CertFile = {dir}/cert.pem\n\
         KeyFile = {dir}/key.pem\n\
         Ports = {port}\n"
    )
}

fn inspircd(dir: &Path, port: u16) -> String {
    let dir = dir.display();
    format!(
        "<server name=\"irc.example.org\" description=\"benchmark\" network=\"benchmark\" id=\"1AA\">\n\
         <admin name=\"nobody\" nick=\"nobody\" email=\"nobody@example.org\">\n\
         <path datadir=\"{dir}\" logdir=\"{dir}\" runtimedir=\"{dir}\">\n\
         <module name=\"ssl_gnutls\">\n\
         <sslprofile name=\"bench\" provider=\"gnutls\" certfile=\"{dir}/cert.pem\" keyfile=\"{dir}/key.pem\">\n\
         <bind address=\"127.0.0.1\" port=\"{port}\" type=\"clients\" sslprofile=\"bench\">\n\
         <connect name=\"all\" allow=\"*\" timeout=\"300\" pingfreq=\"3600\" resolvehostnames=\"no\" useident=\"no\"\n\
         fakelag=\"no\" commandrate=\"1000000000\" threshold=\"1000000\" recvq=\"10000000\" softsendq=\"100000000\"\n\
         hardsendq=\"100000000\" localmax=\"100000\" globalmax=\"100000\" maxconnwarn=\"no\" limit=\"100000\">\n\
         <performance softlimit=\"100000\" somaxconn=\"1024\" netbuffersize=\"65534\" timeskipwarn=\"0\">\n\
         <options allowzerolimit=\"yes\" maxlist=\"100\">\n\
         <log method=\"file\" type=\"*\" level=\"default\" target=\"{dir}/log\">\n"
    )
}
