//! Whether a connection comes from where its certificate says.

use crate::reactor::{Names, Sake};
use rustls::pki_types::CertificateDer;
use std::net::IpAddr;
use x509_parser::prelude::{FromDer as _, GeneralName, ParsedExtension, X509Certificate};

/// Compares the addresses and names of a certificate with the address that its holder connects from (etcd's rule): one
/// without any is good from everywhere.
///
/// etcd also compares names with wildcards with the name that the address is registered under; that is not done here, so a
/// certificate that has nothing else is refused, with a text that says so.
///
/// # Errors
/// What does not fit, for the log.
pub(crate) async fn check_origin(
    certificate: &CertificateDer<'_>,
    from: IpAddr,
    lookups: &Names,
) -> Result<(), String> {
    let (addresses, names) = alternatives(certificate)?;
    if addresses.is_empty() && names.is_empty() {
        return Ok(());
    }
    let from = from.to_canonical();
    if addresses.contains(&from) {
        return Ok(());
    }
    if names.is_empty() {
        let valid: Vec<String> = addresses.iter().map(IpAddr::to_string).collect();
        return Err(format!(
            "x509: certificate is valid for {}, not {from}",
            valid.join(", ")
        ));
    }
    let (wildcards, whole): (Vec<&String>, Vec<&String>) =
        names.iter().partition(|name| name.starts_with("*."));
    let mut trouble = String::new();
    for name in whole {
        match lookups.look_up(name, Sake::Stranger).await {
            Ok(found) => {
                if found.into_iter().any(|it| it.ip().to_canonical() == from) {
                    return Ok(());
                }
            }
            Err(error) => trouble = format!(" ({error})"),
        }
    }
    if !wildcards.is_empty() {
        trouble.push_str(
            "; reeve does not look up the name of an address: add the address to the certificate, or give \
             --peer-skip-client-san-verification",
        );
    }
    Err(format!(
        "tls: \"{from}\" does not match any of DNSNames {names:?}{trouble}"
    ))
}

/// The addresses and names that a certificate is valid for.
fn alternatives(certificate: &CertificateDer<'_>) -> Result<(Vec<IpAddr>, Vec<String>), String> {
    let (_, parsed) = X509Certificate::from_der(certificate)
        .map_err(|error| format!("x509: malformed certificate: {error}"))?;
    let (mut addresses, mut names) = (Vec::new(), Vec::new());
    for extension in parsed.extensions() {
        let ParsedExtension::SubjectAlternativeName(alternatives) = extension.parsed_extension()
        else {
            continue;
        };
        for name in &alternatives.general_names {
            match name {
                GeneralName::DNSName(name) => names.push((*name).to_owned()),
                GeneralName::IPAddress(bytes) => addresses.extend(address(bytes)),
                _ => {}
            }
        }
    }
    Ok((addresses, names))
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let four: Result<[u8; 4], _> = bytes.try_into();
    let sixteen: Result<[u8; 16], _> = bytes.try_into();
    let address = four.map(IpAddr::from).or(sixteen.map(IpAddr::from));
    address.ok().map(|address| address.to_canonical())
}
