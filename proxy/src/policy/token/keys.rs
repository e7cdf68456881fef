//! Keys tokens are verified with, and sets of them (RFC 7517). A key verifies only algorithms of its own
//! kind: a public key is never taken for a secret.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::{
    hmac,
    signature::{
        ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256,
        RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256,
        RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512, RsaParameters, RsaPublicKeyComponents,
        UnparsedPublicKey, VerificationAlgorithm,
    },
};
use routes::TokenAlgorithm;
use serde::Deserialize;

/// Keys of one set that are looked at.
const KEYS_MAX: usize = 64;

/// Keys that are tried for a token that names none.
const TRIED_MAX: usize = 4;

/// One key.
#[derive(Debug)]
pub(crate) struct Key {
    kid: Option<String>,
    /// The only algorithm it is for, if it says so.
    only: Option<TokenAlgorithm>,
    material: Material,
}

enum Material {
    Rsa { modulus: Vec<u8>, exponent: Vec<u8> },
    P256(Vec<u8>),
    P384(Vec<u8>),
    Ed25519(Vec<u8>),
    Secret(Vec<u8>),
}

/// What an issuer verifies with.
#[derive(Debug, Default)]
pub(crate) struct KeySet(Vec<Key>);

/// What a set says about a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signature {
    Valid,
    Invalid,
    /// No key of the set could have made it.
    NoKey,
}

/// A document is no set of keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the answer is not a JSON Web Key Set with a key that can be used")]
pub(crate) struct NotAKeySet;

#[derive(Deserialize)]
struct SetDocument {
    keys: Vec<serde_json::Value>,
}

#[derive(Deserialize)]
struct KeyDocument {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    key_ops: Option<Vec<String>>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

impl KeySet {
    /// The set that consists of a secret.
    pub(crate) fn of_secret(secret: &str) -> Self {
        let material = Material::Secret(secret.as_bytes().to_vec());
        Self(vec![Key { kid: None, only: None, material }])
    }

    /// Reads a JSON Web Key Set. Keys that are not for signatures, secret ones and unknown ones are
    /// left out.
    ///
    /// # Errors
    /// When it is none, or no key is left.
    pub(crate) fn read(document: &[u8]) -> Result<Self, NotAKeySet> {
        let set: SetDocument = serde_json::from_slice(document).map_err(|_| NotAKeySet)?;
        let keys: Vec<Key> = set.keys.into_iter().filter_map(Key::read).take(KEYS_MAX).collect();
        if keys.is_empty() { Err(NotAKeySet) } else { Ok(Self(keys)) }
    }

    /// Verifies a signature with the key of this id, or with those that fit when there is no id.
    pub(crate) fn verify(
        &self,
        algorithm: TokenAlgorithm,
        kid: Option<&str>,
        signed: &[u8],
        signature: &[u8],
    ) -> Signature {
        let is_named = |key: &Key| kid.is_none() || key.kid.is_none() || key.kid.as_deref() == kid;
        let fitting = self.0.iter().filter(|key| key.fits(algorithm) && is_named(key));
        let mut outcome = Signature::NoKey;
        for key in fitting.take(TRIED_MAX) {
            if key.verify(algorithm, signed, signature) {
                return Signature::Valid;
            }
            outcome = Signature::Invalid;
        }
        outcome
    }
}

impl Key {
    fn read(document: serde_json::Value) -> Option<Self> {
        let document: KeyDocument = serde_json::from_value(document).ok()?;
        let is_for_signatures = document.usage.as_deref().is_none_or(|usage| usage == "sig")
            && document.key_ops.as_ref().is_none_or(|ops| ops.iter().any(|op| op == "verify"));
        if !is_for_signatures {
            return None;
        }
        let only = match &document.alg {
            Some(name) => Some(TokenAlgorithm::from_name(name)?),
            None => None,
        };
        let bytes = |text: &Option<String>| URL_SAFE_NO_PAD.decode(text.as_deref()?).ok();
        let point = |size: usize| {
            let (x, y) = (bytes(&document.x)?, bytes(&document.y)?);
            (x.len() == size && y.len() == size).then(|| [&[4], x.as_slice(), &y].concat())
        };
        let unsigned = |number: Vec<u8>| {
            let zeros = number.iter().take_while(|byte| **byte == 0).count();
            number.get(zeros..).map(<[u8]>::to_vec)
        };
        let material = match (document.kty.as_str(), document.crv.as_deref()) {
            ("RSA", None) => Material::Rsa {
                modulus: unsigned(bytes(&document.n)?)?,
                exponent: unsigned(bytes(&document.e)?)?,
            },
            ("EC", Some("P-256")) => Material::P256(point(32)?),
            ("EC", Some("P-384")) => Material::P384(point(48)?),
            ("OKP", Some("Ed25519")) => {
                Material::Ed25519(bytes(&document.x).filter(|x| x.len() == 32)?)
            }
            _ => return None,
        };
        Some(Self { kid: document.kid, only, material })
    }

    fn fits(&self, algorithm: TokenAlgorithm) -> bool {
        let is_its_kind = match self.material {
            Material::Rsa { .. } => rsa(algorithm).is_some(),
            Material::P256(_) => algorithm == TokenAlgorithm::ES256,
            Material::P384(_) => algorithm == TokenAlgorithm::ES384,
            Material::Ed25519(_) => algorithm == TokenAlgorithm::EdDSA,
            Material::Secret(_) => algorithm.is_symmetric(),
        };
        is_its_kind && self.only.is_none_or(|only| only == algorithm)
    }

    fn verify(&self, algorithm: TokenAlgorithm, signed: &[u8], signature: &[u8]) -> bool {
        let public = |scheme: &'static dyn VerificationAlgorithm, key: &[u8]| {
            UnparsedPublicKey::new(scheme, key).verify(signed, signature).is_ok()
        };
        match &self.material {
            Material::Rsa { modulus, exponent } => rsa(algorithm).is_some_and(|scheme| {
                let key = RsaPublicKeyComponents { n: modulus, e: exponent };
                key.verify(scheme, signed, signature).is_ok()
            }),
            Material::P256(point) => public(&ECDSA_P256_SHA256_FIXED, point),
            Material::P384(point) => public(&ECDSA_P384_SHA384_FIXED, point),
            Material::Ed25519(point) => public(&ED25519, point),
            Material::Secret(secret) => shared(algorithm).is_some_and(|scheme| {
                hmac::verify(&hmac::Key::new(scheme, secret), signed, signature).is_ok()
            }),
        }
    }
}

const fn rsa(algorithm: TokenAlgorithm) -> Option<&'static RsaParameters> {
    match algorithm {
        TokenAlgorithm::RS256 => Some(&RSA_PKCS1_2048_8192_SHA256),
        TokenAlgorithm::RS384 => Some(&RSA_PKCS1_2048_8192_SHA384),
        TokenAlgorithm::RS512 => Some(&RSA_PKCS1_2048_8192_SHA512),
        TokenAlgorithm::PS256 => Some(&RSA_PSS_2048_8192_SHA256),
        TokenAlgorithm::PS384 => Some(&RSA_PSS_2048_8192_SHA384),
        TokenAlgorithm::PS512 => Some(&RSA_PSS_2048_8192_SHA512),
        TokenAlgorithm::ES256
        | TokenAlgorithm::ES384
        | TokenAlgorithm::EdDSA
        | TokenAlgorithm::HS256
        | TokenAlgorithm::HS384
        | TokenAlgorithm::HS512 => None,
    }
}

fn shared(algorithm: TokenAlgorithm) -> Option<hmac::Algorithm> {
    match algorithm {
        TokenAlgorithm::HS256 => Some(hmac::HMAC_SHA256),
        TokenAlgorithm::HS384 => Some(hmac::HMAC_SHA384),
        TokenAlgorithm::HS512 => Some(hmac::HMAC_SHA512),
        TokenAlgorithm::RS256
        | TokenAlgorithm::RS384
        | TokenAlgorithm::RS512
        | TokenAlgorithm::PS256
        | TokenAlgorithm::PS384
        | TokenAlgorithm::PS512
        | TokenAlgorithm::ES256
        | TokenAlgorithm::ES384
        | TokenAlgorithm::EdDSA => None,
    }
}

impl std::fmt::Debug for Material {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Rsa { .. } => "RSA",
            Self::P256(_) => "P-256",
            Self::P384(_) => "P-384",
            Self::Ed25519(_) => "Ed25519",
            Self::Secret(_) => "[secret]",
        })
    }
}
