//! Which pages of other origins may ask (the CORS protocol of the Fetch standard).

use http::{HeaderMap, HeaderName, HeaderValue, Method, header};

/// The rules of a policy, ready to be sent.
#[derive(Debug)]
pub(super) struct CorsRules {
    /// `None`: every origin.
    origins: Option<Vec<HeaderValue>>,
    methods: HeaderValue,
    headers: Option<HeaderValue>,
    expose: Option<HeaderValue>,
    credentials: bool,
    max_age: HeaderValue,
}

/// Fields an upstream may send about it and that the proxy answers for.
pub(super) const ANSWERED: [HeaderName; 6] = [
    header::ACCESS_CONTROL_ALLOW_ORIGIN,
    header::ACCESS_CONTROL_ALLOW_CREDENTIALS,
    header::ACCESS_CONTROL_ALLOW_METHODS,
    header::ACCESS_CONTROL_ALLOW_HEADERS,
    header::ACCESS_CONTROL_EXPOSE_HEADERS,
    header::ACCESS_CONTROL_MAX_AGE,
];

type Fields = Vec<(HeaderName, HeaderValue)>;

impl CorsRules {
    /// `None` when a text of the rules is no header value.
    pub(super) fn new(config: &routes::Cors) -> Option<Self> {
        let list = |texts: &[String]| HeaderValue::from_str(&texts.join(", ")).ok();
        let some = |texts: &[String]| match texts {
            [] => Some(None),
            texts => list(texts).map(Some),
        };
        let is_any = config.origins.iter().any(|origin| origin == "*");
        let origins = config.origins.iter().map(|origin| HeaderValue::from_str(origin).ok());
        Some(Self {
            origins: if is_any { None } else { Some(origins.collect::<Option<_>>()?) },
            methods: list(&config.methods)?,
            headers: some(&config.headers)?,
            expose: some(&config.expose)?,
            credentials: config.credentials,
            max_age: HeaderValue::from(config.max_age.as_secs()),
        })
    }

    /// What every answer carries. `Vary` is there whatever was asked, or a cache would give one
    /// origin's answer to another.
    pub(super) fn of_answer(&self, request: &HeaderMap) -> Fields {
        let mut fields = self.of_origin(request);
        if let (Some(expose), true) = (&self.expose, fields.len() > 1 || self.origins.is_none()) {
            fields.push((header::ACCESS_CONTROL_EXPOSE_HEADERS, expose.clone()));
        }
        fields
    }

    /// What a preflight is answered with; without the fields of an allowance where it is refused.
    pub(super) fn of_preflight(&self, request: &HeaderMap) -> Fields {
        let mut fields = self.of_origin(request);
        let asked = HeaderName::from_static("access-control-request-method");
        fields.push((header::VARY, HeaderValue::from_name(asked)));
        if fields.iter().any(|(name, _)| *name == header::ACCESS_CONTROL_ALLOW_ORIGIN) {
            fields.push((header::ACCESS_CONTROL_ALLOW_METHODS, self.methods.clone()));
            fields.push((header::ACCESS_CONTROL_MAX_AGE, self.max_age.clone()));
            let headers = self.headers.iter().cloned();
            fields.extend(headers.map(|value| (header::ACCESS_CONTROL_ALLOW_HEADERS, value)));
        }
        fields
    }

    fn of_origin(&self, request: &HeaderMap) -> Fields {
        let allow = header::ACCESS_CONTROL_ALLOW_ORIGIN;
        let Some(origins) = &self.origins else {
            return vec![(allow, HeaderValue::from_static("*"))];
        };
        let mut fields = vec![(header::VARY, HeaderValue::from_static("origin"))];
        let origin = request.get(header::ORIGIN).filter(|origin| origins.contains(origin));
        if let Some(origin) = origin {
            fields.push((allow, origin.clone()));
            if self.credentials {
                let allow = header::ACCESS_CONTROL_ALLOW_CREDENTIALS;
                fields.push((allow, HeaderValue::from_static("true")));
            }
        }
        fields
    }
}

/// The method a preflight asks for; `None` when the request is none.
pub(crate) fn preflight<'h>(method: &Method, headers: &'h HeaderMap) -> Option<&'h str> {
    let asks = *method == Method::OPTIONS && headers.contains_key(header::ORIGIN);
    let asked = headers.get(header::ACCESS_CONTROL_REQUEST_METHOD).filter(|_| asks)?;
    asked.to_str().ok()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn rules(origin: &str, credentials: bool) -> CorsRules {
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        CorsRules::new(&routes::Cors {
            origins: texts(&[origin]),
            methods: texts(&["GET", "PUT"]),
            headers: texts(&["x-tenant"]),
            expose: texts(&["x-total"]),
            credentials,
            max_age: Duration::from_secs(60),
        })
        .expect("plain texts")
    }

    fn shown(fields: &Fields) -> String {
        let line = |(name, value): &(HeaderName, HeaderValue)| {
            format!("{name}: {}\n", value.to_str().expect("text"))
        };
        fields.iter().map(line).collect()
    }

    fn from(origin: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(header::ORIGIN, HeaderValue::from_static(origin))])
    }

    #[test]
    fn a_named_origin_is_allowed_and_answers_vary_for_all_others() {
        let rules = rules("https://shop.example", true);
        assert_eq!(
            shown(&rules.of_answer(&from("https://shop.example"))),
            "vary: origin\naccess-control-allow-origin: https://shop.example\n\
             access-control-allow-credentials: true\naccess-control-expose-headers: x-total\n"
        );
        for other in
            ["https://shop.example.evil", "http://shop.example", "null", "HTTPS://SHOP.EXAMPLE"]
        {
            assert_eq!(shown(&rules.of_answer(&from(other))), "vary: origin\n", "{other}");
        }
        assert_eq!(shown(&rules.of_answer(&HeaderMap::new())), "vary: origin\n");
    }

    #[test]
    fn every_origin_is_a_star_and_never_an_echo() {
        assert_eq!(
            shown(&rules("*", false).of_answer(&from("https://a.example"))),
            "access-control-allow-origin: *\naccess-control-expose-headers: x-total\n"
        );
    }

    #[test]
    fn a_preflight_is_told_methods_headers_and_age_only_for_an_allowed_origin() {
        let rules = rules("https://shop.example", false);
        assert_eq!(
            shown(&rules.of_preflight(&from("https://shop.example"))),
            "vary: origin\naccess-control-allow-origin: https://shop.example\n\
             vary: access-control-request-method\naccess-control-allow-methods: GET, PUT\n\
             access-control-max-age: 60\naccess-control-allow-headers: x-tenant\n"
        );
        assert_eq!(
            shown(&rules.of_preflight(&from("https://evil.example"))),
            "vary: origin\nvary: access-control-request-method\n"
        );
    }
}
