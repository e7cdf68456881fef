//! Channel binding of the kind `tls-server-end-point` (RFC 5929): a hash of the server's certificate,
//! made with the hash of the certificate's own signature. Both ends must take the same one.

use sha2::{Digest, Sha224, Sha256, Sha384, Sha512};

const SEQUENCE: u8 = 0x30;
const OBJECT_IDENTIFIER: u8 = 0x06;

/// `1.2.840.113549.1.1`: RSA with a hash.
const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01];
/// `1.2.840.10045.4`: ECDSA with a hash.
const ECDSA: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04];

/// `None` for what is no certificate, and for signatures without a hash of their own (Ed25519,
/// RSA-PSS): PostgreSQL has no binding for those either.
pub(crate) fn server_end_point(certificate: &[u8]) -> Option<Vec<u8>> {
    let (fields, _) = element(certificate, SEQUENCE)?;
    let (_signed, rest) = element(fields, SEQUENCE)?;
    let (algorithm, _) = element(rest, SEQUENCE)?;
    let (identifier, _) = element(algorithm, OBJECT_IDENTIFIER)?;
    let hash = match (identifier.strip_prefix(RSA), identifier.strip_prefix(ECDSA)) {
        // MD5 and SHA-1 are replaced by SHA-256.
        (Some([0x04 | 0x05 | 0x0b]), _) | (_, Some([0x01] | [0x03, 0x02])) => {
            Sha256::digest(certificate).to_vec()
        }
        (Some([0x0c]), _) | (_, Some([0x03, 0x03])) => Sha384::digest(certificate).to_vec(),
        (Some([0x0d]), _) | (_, Some([0x03, 0x04])) => Sha512::digest(certificate).to_vec(),
        (Some([0x0e]), _) | (_, Some([0x03, 0x01])) => Sha224::digest(certificate).to_vec(),
        _ => return None,
    };
    Some(hash)
}

/// The content of the first DER element, and what follows it.
fn element(input: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&found, rest) = input.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x83 => {
            let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (bytes.iter().fold(0, |length, &byte| length << 8 | usize::from(byte)), rest)
        }
        _ => return None,
    };
    (found == tag).then(|| rest.split_at_checked(length))?
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};

    use super::*;

    fn certificate(algorithm: &'static rcgen::SignatureAlgorithm) -> Vec<u8> {
        let key = KeyPair::generate_for(algorithm).expect("a key");
        let parameters = CertificateParams::new(["localhost".to_owned()]).expect("a name");
        parameters.self_signed(&key).expect("a certificate").der().to_vec()
    }

    #[test]
    fn the_hash_is_that_of_the_certificates_own_signature() {
        let sha256 = certificate(&rcgen::PKCS_ECDSA_P256_SHA256);
        assert_eq!(server_end_point(&sha256), Some(Sha256::digest(&sha256).to_vec()));
        let sha384 = certificate(&rcgen::PKCS_ECDSA_P384_SHA384);
        assert_eq!(server_end_point(&sha384), Some(Sha384::digest(&sha384).to_vec()));
        let without = certificate(&rcgen::PKCS_ED25519);
        assert_eq!(server_end_point(&without), None);
    }

    #[test]
    fn what_is_no_certificate_has_no_hash() {
        let whole = certificate(&rcgen::PKCS_ECDSA_P256_SHA256);
        for length in 0..whole.len() - 100 {
            let cut = whole.get(..length).expect("it is shorter");
            assert_eq!(server_end_point(cut), None, "{length} bytes");
        }
        assert_eq!(server_end_point(&[0x30, 0x84, 0xff, 0xff, 0xff, 0xff]), None);
    }
}
