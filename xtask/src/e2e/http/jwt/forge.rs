//! Makes tokens, right ones and forged ones: any header and any claims, signed by whom one likes.

use anyhow::Context;
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use ring::{
    hmac,
    rand::SystemRandom,
    signature::{
        ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair,
        Ed25519KeyPair, KeyPair,
    },
};
use rsa::{
    RsaPrivateKey, pkcs1v15, pss,
    rand_core::OsRng,
    sha2::{Sha256, Sha512},
    signature::{RandomizedSigner, SignatureEncoding, Signer},
    traits::PublicKeyParts,
};
use serde_json::{Value, json};

/// What HS256 tokens of the issuer `monolith` are signed with.
pub(super) const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// The audience that the proxy asks for.
pub(super) const AUDIENCE: &str = "shop";

/// How much the clocks may differ, in seconds: the default.
pub(super) const LEEWAY: i64 = 30;

/// Bits of keys that are long enough, and of those that are not.
const RSA_BITS: usize = 2_048;
const WEAK_BITS: usize = 1_024;

/// Keys of issuers, and of strangers.
pub(super) struct Forge {
    pub(super) ed: Ed25519KeyPair,
    pub(super) stranger: Ed25519KeyPair,
    pub(super) rsa: RsaPrivateKey,
    pub(super) weak_rsa: RsaPrivateKey,
    rsa_stranger: RsaPrivateKey,
    ec: EcdsaKeyPair,
    /// The same key, whose signatures are in another form.
    ec_der: EcdsaKeyPair,
    /// The key the proxy signs identities with, in PEM.
    pub(super) identity_pem: String,
    pub(super) identity: Ed25519KeyPair,
}

/// Who signs, and how.
#[derive(Clone, Copy, Debug)]
pub(super) enum By<'k> {
    Ed,
    Stranger,
    Rs256,
    Rs512,
    Ps256,
    RsaStranger,
    WeakRsa,
    Es256,
    /// ECDSA in DER, as other protocols have it.
    Es256Der,
    Hs256(&'k [u8]),
    /// These bytes are the signature.
    Bytes(&'k [u8]),
}

impl Forge {
    pub(super) fn new() -> anyhow::Result<Self> {
        let random = SystemRandom::new();
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random);
        let document = document.map_err(refused)?;
        let ec = |algorithm| {
            EcdsaKeyPair::from_pkcs8(algorithm, document.as_ref(), &random).map_err(refused)
        };
        let rsa = |bits| RsaPrivateKey::new(&mut OsRng, bits).context("make an RSA key");
        let (identity_pem, identity) = ed()?;
        Ok(Self {
            ed: ed()?.1,
            stranger: ed()?.1,
            rsa: rsa(RSA_BITS)?,
            weak_rsa: rsa(WEAK_BITS)?,
            rsa_stranger: rsa(RSA_BITS)?,
            ec: ec(&ECDSA_P256_SHA256_FIXED_SIGNING)?,
            ec_der: ec(&ECDSA_P256_SHA256_ASN1_SIGNING)?,
            identity_pem,
            identity,
        })
    }

    /// A token of these parts.
    pub(super) fn token(&self, header: &str, claims: &str, by: By<'_>) -> String {
        let signed = format!("{}.{}", encode(header), encode(claims));
        format!("{signed}.{}", encode(self.signature(signed.as_bytes(), by)))
    }

    /// A good token of the issuer of Ed25519.
    pub(super) fn good(&self) -> String {
        self.token(ED_HEADER, &claims("https://ed.example").to_string(), By::Ed)
    }

    /// A signature over these bytes.
    pub(super) fn signature(&self, signed: &[u8], by: By<'_>) -> Vec<u8> {
        let random = SystemRandom::new();
        let ecdsa = |key: &EcdsaKeyPair| {
            key.sign(&random, signed).expect("there is randomness").as_ref().to_vec()
        };
        match by {
            By::Ed => self.ed.sign(signed).as_ref().to_vec(),
            By::Stranger => self.stranger.sign(signed).as_ref().to_vec(),
            By::Rs256 => rs256(&self.rsa, signed),
            By::RsaStranger => rs256(&self.rsa_stranger, signed),
            By::WeakRsa => rs256(&self.weak_rsa, signed),
            By::Rs512 => {
                pkcs1v15::SigningKey::<Sha512>::new(self.rsa.clone()).sign(signed).to_vec()
            }
            By::Ps256 => {
                let key = pss::BlindedSigningKey::<Sha256>::new(self.rsa.clone());
                key.sign_with_rng(&mut OsRng, signed).to_vec()
            }
            By::Es256 => ecdsa(&self.ec),
            By::Es256Der => ecdsa(&self.ec_der),
            By::Hs256(secret) => {
                hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), signed).as_ref().to_vec()
            }
            By::Bytes(bytes) => bytes.to_vec(),
        }
    }

    /// The public point of the key of ES256.
    pub(super) fn ec_point(&self) -> &[u8] {
        self.ec.public_key().as_ref()
    }

    /// The public halves as sets of keys, by the name of the issuer. What no token may be verified with is
    /// among them: a short key, a secret, and a key for encryption.
    pub(super) fn key_sets(&self) -> [(&'static str, Value); 4] {
        let encryption = with(ed_key("enc", &self.stranger), "use", json!("enc"));
        let secret = json!({ "kty": "oct", "kid": "oct", "k": encode(SECRET) });
        let point = self.ec_point();
        let (x, y) = point.get(1..).unwrap_or_default().split_at(32);
        let ec =
            json!({ "kty": "EC", "crv": "P-256", "kid": "ec", "x": encode(x), "y": encode(y) });
        [
            ("ed", json!({ "keys": [ed_key("ed", &self.ed), encryption, secret] })),
            (
                "rsa",
                json!({ "keys": [rsa_key("rsa", &self.rsa), rsa_key("weak", &self.weak_rsa)] }),
            ),
            ("ec", json!({ "keys": [ec] })),
            ("turning", json!({ "keys": [ed_key("one", &self.ed)] })),
        ]
    }
}

/// Header of a good token of the issuer of Ed25519.
pub(super) const ED_HEADER: &str = r#"{"alg":"EdDSA","kid":"ed"}"#;

/// Claims of a good token of an issuer.
pub(super) fn claims(issuer: &str) -> Value {
    json!({ "iss": issuer, "aud": AUDIENCE, "sub": "alice", "exp": now() + 600 })
}

/// An object with this member, too.
pub(super) fn with(mut object: Value, name: &str, value: Value) -> Value {
    if let Some(members) = object.as_object_mut() {
        members.insert(name.to_owned(), value);
    }
    object
}

/// Seconds since 1970.
pub(super) fn now() -> i64 {
    chrono::Utc::now().timestamp()
}

pub(super) fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// A public key of Ed25519 as sets have it.
pub(super) fn ed_key(kid: &str, key: &Ed25519KeyPair) -> Value {
    json!({ "kty": "OKP", "crv": "Ed25519", "kid": kid, "x": encode(key.public_key()) })
}

/// A public key of RSA as sets have it.
pub(super) fn rsa_key(kid: &str, key: &RsaPrivateKey) -> Value {
    let (n, e) = (encode(key.n().to_bytes_be()), encode(key.e().to_bytes_be()));
    json!({ "kty": "RSA", "kid": kid, "n": n, "e": e })
}

fn ed() -> anyhow::Result<(String, Ed25519KeyPair)> {
    let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).map_err(refused)?;
    let key = Ed25519KeyPair::from_pkcs8(document.as_ref()).map_err(refused)?;
    let text = STANDARD.encode(document.as_ref());
    Ok((format!("-----BEGIN PRIVATE KEY-----\n{text}\n-----END PRIVATE KEY-----\n"), key))
}

/// ring's errors are errors of the standard library only with a feature of its own.
fn refused(error: impl std::fmt::Display) -> anyhow::Error {
    anyhow::anyhow!("make a key: {error}")
}

fn rs256(key: &RsaPrivateKey, signed: &[u8]) -> Vec<u8> {
    pkcs1v15::SigningKey::<Sha256>::new(key.clone()).sign(signed).to_vec()
}
