//! Small rule sets in the form of the core rule set: matches add to a score, and a rule at the end denies.

use std::collections::BTreeMap;

use http::Method;
use routes::{AttackRules, GatewayConfig, OverBudget, Policy, RuleMode};
use tempfile::TempDir;

use super::*;

const RULES: &str = r#"
SecRuleEngine On
SecRequestBodyAccess On
SecAction "id:900110,phase:1,pass,t:none,nolog,setvar:tx.inbound_anomaly_score_threshold=5"
SecRule REQUEST_METHOD "@streq TRACE" "id:911100,phase:1,deny,status:403"
SecRule REQUEST_HEADERS:User-Agent "@pm sqlmap nikto" "id:913100,phase:2,block,t:none,t:lowercase,setvar:tx.inbound_anomaly_score_pl1=+5"
SecRule ARGS|REQUEST_COOKIES "@detectSQLi" "id:942100,phase:2,block,t:none,t:urlDecodeUni,setvar:tx.inbound_anomaly_score_pl1=+5"
Include more/*.conf
SecRule TX:INBOUND_ANOMALY_SCORE_PL1 "@ge 5" "id:949110,phase:2,deny,status:403,t:none"
"#;

const MORE: &str = r#"SecRule ARGS "@rx (?i)<script" "id:941110,phase:2,block,t:none,setvar:tx.inbound_anomaly_score_pl1=+5""#;

fn folder() -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    fs::create_dir(folder.path().join("more")).expect("a folder");
    fs::write(folder.path().join("more/xss.conf"), MORE).expect("written");
    fs::write(folder.path().join("main.conf"), RULES).expect("written");
    folder
}

fn config(folder: &TempDir) -> GatewayConfig {
    let rules = AttackRules {
        file: folder.path().join("main.conf"),
        mode: RuleMode::Block,
        body_max: 1_024,
        budget: std::time::Duration::from_secs(1),
        over_budget: OverBudget::Refuse,
    };
    let policy = Policy { attack_rules: Some(rules), ..Policy::default() };
    GatewayConfig {
        policies: BTreeMap::from([("api".to_owned(), policy)]),
        ..GatewayConfig::default()
    }
}

fn head(method: Method, target: &str, fields: &[(&'static str, &'static str)]) -> Head {
    let mut request =
        RequestHeader::build(method, target.as_bytes(), None).expect("a request line");
    for (name, value) in fields {
        request.insert_header(*name, *value).expect("a field");
    }
    Head::of(&request, Some(IpAddr::from([10, 0, 0, 7])))
}

fn rules(folder: &TempDir) -> Arc<RuleSet> {
    let sets = RuleSets::default();
    sets.load(&config(folder)).expect("the rules are good");
    sets.get(&folder.path().join("main.conf")).expect("it was read")
}

/// The rules that matched a request that is denied.
fn denied(rules: &RuleSet, head: &Head, body: &str) -> Option<Vec<String>> {
    rules.examine(head, body.as_bytes()).expect("the engine works").map(|denied| denied.rules)
}

#[test]
fn attacks_are_found_in_the_query_cookies_fields_and_bodies() {
    let folder = folder();
    let rules = rules(&folder);
    let found = |head: &Head, body: &str, rule: &str| {
        let found = denied(&rules, head, body).unwrap_or_default();
        assert!(found.iter().any(|id| id == rule), "{head:?} {body}: {found:?}");
    };
    let query = "/s?q=1%27%20OR%20%271%27%3D%271";
    found(&head(Method::GET, query, &[]), "", "942100");
    found(&head(Method::GET, "/s?q=%3Cscript%3E", &[]), "", "941110");
    found(&head(Method::GET, "/", &[("cookie", "a=1' OR '1'='1")]), "", "942100");
    found(&head(Method::GET, "/", &[("user-agent", "sqlmap/1.8")]), "", "913100");
    found(&head(Method::TRACE, "/", &[]), "", "911100");
    let form = [("content-type", "application/x-www-form-urlencoded")];
    found(&head(Method::POST, "/", &form), "a=1&q=%3Cscript%3E", "941110");
    let json = [("content-type", "application/json")];
    found(&head(Method::POST, "/", &json), r#"{"a":{"b":"1' OR '1'='1"}}"#, "942100");
}

#[test]
fn honest_requests_pass() {
    let folder = folder();
    let rules = rules(&folder);
    let json = [("content-type", "application/json"), ("user-agent", "Mozilla/5.0")];
    assert_eq!(denied(&rules, &head(Method::GET, "/s?q=rock+and+roll", &json), ""), None);
    let body = r#"{"name":"Ann O'Neil","note":"second floor, room 5"}"#;
    assert_eq!(denied(&rules, &head(Method::POST, "/", &json), body), None);
}

#[test]
fn rules_are_read_again_when_a_file_below_has_changed_and_bad_ones_replace_nothing() {
    let (folder, sets) = (folder(), RuleSets::default());
    let config = config(&folder);
    assert!(!sets.are_current(&config));
    sets.load(&config).expect("good");
    assert!(sets.are_current(&config));
    let (main, more) = (folder.path().join("main.conf"), folder.path().join("more/xss.conf"));
    let first = sets.get(&main).expect("read");
    sets.load(&config).expect("good");
    assert!(Arc::ptr_eq(&first, &sets.get(&main).expect("read")));
    fs::write(&more, MORE.replace("<script", "<iframe")).expect("written");
    assert!(!sets.are_current(&config));
    sets.load(&config).expect("good");
    let second = sets.get(&main).expect("read");
    assert!(!Arc::ptr_eq(&first, &second));
    assert_eq!(denied(&second, &head(Method::GET, "/?q=%3Cscript%3E", &[]), ""), None);
    fs::write(&more, "SecRule ARGS \"@rx (\" \"id:1,phase:2,deny\"").expect("written");
    let error = sets.load(&config).expect_err("a broken expression").to_string();
    assert!(
        error.starts_with(&format!("the rules of {} cannot be used: ", main.display())),
        "{error}"
    );
    assert!(Arc::ptr_eq(&second, &sets.get(&main).expect("read")));
}

#[test]
fn files_that_deny_nothing_are_refused() {
    let (folder, sets) = (folder(), RuleSets::default());
    let main = folder.path().join("main.conf");
    for mode in ["DetectionOnly", "Off"] {
        fs::write(&main, RULES.replace("Engine On", &format!("Engine {mode}"))).expect("written");
        let error = sets.load(&config(&folder)).expect_err(mode);
        assert_eq!(error, RuleFileError::NotOn(main.display().to_string()), "{mode}");
    }
    fs::write(&main, "SecRuleEngine On\n").expect("written");
    assert!(sets.load(&config(&folder)).is_err());
    fs::remove_file(&main).expect("removed");
    assert!(sets.load(&config(&folder)).is_err());
}
