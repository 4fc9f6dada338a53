//! Which layer wins, what is refused with which message, and that no secret is shown.

use std::collections::BTreeMap;
use std::path::PathBuf;

use proptest::prelude::*;

use super::*;

fn file(text: &str) -> FileText {
    FileText { path: PathBuf::from("backline.toml"), text: text.to_owned() }
}

fn environment_of(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// The layers combined; time zones are read from what was chosen before.
fn combined(
    file: Option<&FileText>,
    environment: &BTreeMap<String, String>,
    overrides: &[Override],
) -> Result<Loaded, ConfigError> {
    layers::combine(file, environment, overrides, |_| Ok(()))
}

fn load(text: &str, environment: &[(&str, &str)], flags: &[(&str, &str)]) -> Result<Loaded, String> {
    let overrides: Vec<Override> = flags
        .iter()
        .map(|(key, value)| Override { key: (*key).to_owned(), value: (*value).to_owned(), flag: "--set".to_owned() })
        .collect();
    combined(Some(&file(text)), &environment_of(environment), &overrides).map_err(|error| error.to_string())
}

#[test]
fn flags_win_over_the_environment_over_the_file_over_the_defaults() {
    let text = "[collection]\nwindow_days = 10\nconcurrency = 2\nattempts_max = 5\n";
    let environment = [("BACKLINE_COLLECTION__CONCURRENCY", "3"), ("BACKLINE_COLLECTION__ATTEMPTS_MAX", "6")];
    let loaded = load(text, &environment, &[("collection.attempts_max", "7")]).expect("valid");
    let collection = &loaded.config.collection;
    assert_eq!((collection.window_days, collection.concurrency, collection.attempts_max), (10, 3, 7));
    assert_eq!(collection.batch_deadline_ms, CollectionConfig::default().batch_deadline_ms);
    assert_eq!(loaded.sources["collection.window_days"], Source::File(PathBuf::from("backline.toml")));
    assert_eq!(
        loaded.sources["collection.concurrency"],
        Source::Environment("BACKLINE_COLLECTION__CONCURRENCY".to_owned())
    );
    assert_eq!(loaded.sources["collection.attempts_max"], Source::Flag("--set".to_owned()));
    assert!(!loaded.sources.contains_key("collection.batch_deadline_ms"));
}

#[test]
fn a_text_may_stand_in_quotes_or_without() {
    for (given, expected) in [
        ("/srv/state", "/srv/state"),
        ("\"/srv/state\"", "/srv/state"),
        ("'/srv/state'", "/srv/state"),
        ("\"/srv/\\u0041\"", "/srv/A"),
        ("\"", "\""),
        ("a \"b\"", "a \"b\""),
    ] {
        for loaded in
            [load("", &[], &[("service.state_dir", given)]), load("", &[("BACKLINE_SERVICE__STATE_DIR", given)], &[])]
        {
            let folder = loaded.expect("valid").config.service.state_dir;
            assert_eq!(folder.as_deref(), Some(std::path::Path::new(expected)), "{given}");
        }
    }
}

#[test]
fn without_any_layer_the_defaults_hold() {
    let loaded = combined(None, &BTreeMap::new(), &[]).expect("valid");
    assert_eq!(loaded.config, Config::default());
    assert_eq!(loaded.config.database.url, "sqlite://backline.db");
    assert_eq!(loaded.config.collection.window_days, 28);
}

#[test]
fn a_file_may_have_every_section_there_is() {
    let text = toml::to_string(&Config::default()).expect("a configuration is TOML");
    assert_eq!(load(&text, &[], &[]).expect("valid").config, Config::default());
}

#[test]
fn an_unknown_key_is_refused_with_the_nearest_known_one() {
    let error = load("[collection]\nwindw_days = 3\n", &[], &[]).expect_err("refused");
    assert_eq!(error, "unknown key 'collection.windw_days' in backline.toml; did you mean 'collection.window_days'?");
    let error = load("[colection]\nwindow_days = 3\n", &[], &[]).expect_err("refused");
    assert_eq!(error, "unknown key 'colection' in backline.toml; did you mean 'collection'?");
    let error = load("", &[("BACKLINE_DATABASE__URI", "x")], &[]).expect_err("refused");
    assert_eq!(
        error,
        "unknown key 'database.uri' in environment variable BACKLINE_DATABASE__URI; did you mean 'database.url'?"
    );
    let error = load("", &[("BACKLINE_DATABASE_URL", "x")], &[]).expect_err("refused");
    assert!(error.ends_with("did you mean 'BACKLINE_DATABASE__URL'?"), "{error}");
    let error = load("", &[], &[("gateway.request_timeout", "1")]).expect_err("refused");
    assert!(error.contains("'gateway.request_timeout_ms'"), "{error}");
}

#[test]
fn everything_that_is_wrong_is_told_to_who_wants_to_know_it_all() {
    let text = "[colection]\na = 1\n[collection]\nwindow_days = 0\n[service]\npoll_ms = 0\n[log]\nfilter = 3\n";
    let (text, environment) = (file(text), environment_of(&[("BACKLINE_DATABASE_URL", "x")]));
    let no_zones = |_: &TimezonesConfig| Err("it holds none".to_owned());
    let problems = layers::combine_or_tell_all(Some(&text), &environment, &[], no_zones).expect_err("refused");
    let keys: Vec<Option<&str>> = problems.iter().map(ConfigError::key).collect();
    let expected = [
        "BACKLINE_DATABASE_URL",
        "timezones.folder",
        "log.filter",
        "colection",
        "collection.window_days",
        "service.poll_ms",
    ];
    assert_eq!(keys, expected.map(Some));
    let first = layers::combine(Some(&text), &environment, &[], no_zones).expect_err("refused");
    assert_eq!(first.to_string(), problems[0].to_string());
    let broken = layers::combine_or_tell_all(Some(&file("[colection")), &environment, &[], no_zones);
    let broken = broken.expect_err("refused");
    assert!(matches!(broken.as_slice(), [ConfigError::Syntax { .. }]), "nothing can be said of the rest: {broken:?}");
}

#[test]
fn the_keys_by_which_a_file_sets_a_secret_are_known() {
    let text = "[database]\nurl = \"postgres://u:canary@h/x\"\n[secrets]\nkey = \"canary\"\n[sync]\nurl = \"x.db\"\n";
    let loaded = load(text, &[("BACKLINE_SECRETS__OLD_KEYS", "[\"canary\"]")], &[]).expect("valid");
    let (path, keys) = loaded.secrets_in_file().expect("it does");
    assert_eq!((path, keys), (std::path::Path::new("backline.toml"), vec!["database.url", "secrets.key"]));
    let plain = load("[database]\nurl = \"postgres://u@h/x\"\n", &[], &[]).expect("valid");
    assert_eq!(plain.secrets_in_file(), None);
}

#[test]
fn variables_that_are_not_ours_are_left_alone() {
    load(
        "",
        &[("BACKLINE_PORT", "tcp://10.0.0.1:80"), ("BACKLINE_SERVICE_HOST", "10.0.0.1"), ("BACKLINE_CONFIG", "x")],
        &[],
    )
    .expect("valid");
}

#[test]
fn a_value_of_the_wrong_type_or_range_is_refused_by_name() {
    for (text, key) in [
        ("[collection]\nwindow_days = \"many\"\n", "collection.window_days"),
        ("[collection]\nwindow_days = 0\n", "collection.window_days"),
        ("[collection]\nwindow_days = -1\n", "collection.window_days"),
        ("[collection]\nconcurrency = 1000\n", "collection.concurrency"),
        ("[collection]\nattempts_max = 0\n", "collection.attempts_max"),
        ("[collection]\nbatch_deadline_ms = 10\n", "collection.batch_deadline_ms"),
        ("[collection]\nconcurrency_max = 0\n", "collection.concurrency_max"),
        ("[collection]\nheld_bytes_max = 1000\n", "collection.held_bytes_max"),
        ("[collection.tenant_weights]\nlabel = 0\n", "collection.tenant_weights"),
        ("[collection.platform_weights]\nyoutube = 1001\n", "collection.platform_weights"),
        ("[service]\nbatches_max = 0\n", "service.batches_max"),
        ("[service]\npoll_ms = 0\n", "service.poll_ms"),
        ("[service]\nstuck_after_ms = 999\n", "service.stuck_after_ms"),
        ("[service]\nleader_ttl_ms = 0\n", "service.leader_ttl_ms"),
        ("[service]\npoll_ms = 9223372036854775807\n", "service.poll_ms"),
        ("[service]\nstop_deadline_ms = 2764800001\n", "service.stop_deadline_ms"),
        ("[collection]\nlease_ttl_ms = 9223372036854775807\n", "collection.lease_ttl_ms"),
        ("[deliveries]\nbackoff_max_ms = 9223372036854775807\n", "deliveries.backoff_max_ms"),
        ("[health]\nevery_s = 9223372036854775807\n", "health.every_s"),
        ("[service]\nreconnect_url = \"http://a.example/{artist}\"\n", "service.reconnect_url"),
        ("[service]\nreconnect_url = \"https://a.example/{secret}\"\n", "service.reconnect_url"),
        ("[sync]\nevery_s = 0\n", "sync.every_s"),
        ("[database]\nurl = 3\n", "database.url"),
        ("[database]\nurl = \" \"\n", "database.url"),
        ("[database]\nconnections_max = 0\n", "database.connections_max"),
        ("[log]\nformat = \"xml\"\n", "log.format"),
        ("[secrets]\nkey = \"a\"\nkey_file = \"b\"\n", "secrets.key"),
        ("collection = 3\n", "collection"),
        ("[plugins]\nsignatures = \"maybe\"\n", "plugins.signatures"),
        ("[plugins]\nsources = [\"http://a.example\"]\n", "plugins.sources"),
        ("[plugins.trusted_keys.acme]\nkey = \"x\"\n", "plugins.trusted_keys.acme.key"),
        ("[plugins.registries.\"a/b\"]\ninsecure_http = true\n", "plugins.registries.a/b"),
    ] {
        let error = load(text, &[], &[]).expect_err(text);
        assert!(error.starts_with(&format!("{key} in backline.toml is wrong: ")), "{text}: {error}");
    }
}

#[test]
fn broken_toml_is_refused_with_its_line() {
    let error = load("[database]\nurl = \n", &[], &[]).expect_err("refused");
    assert!(error.starts_with("backline.toml is not valid TOML at line 2: "), "{error}");
    assert!(!error.contains('\n'), "{error}");
}

#[test]
fn texts_from_the_environment_stay_texts() {
    let loaded =
        load("", &[("BACKLINE_SECRETS__KEY", "12345"), ("BACKLINE_DATABASE__URL", "true")], &[]).expect("valid");
    assert_eq!(loaded.config.secrets.key.as_deref(), Some("12345"));
    assert_eq!(loaded.config.database.url, "true");
}

#[test]
fn secrets_are_shown_nowhere() {
    let text = "[database]\nurl = \"postgres://user:canary-one@localhost/db?sslpassword=canary-two\"\n\
                [secrets]\nkey = \"canary-three\"\n\
                [plugins.registries.\"ghcr.io\"]\nusername = \"user\"\npassword = \"canary-four\"\n";
    let loaded = load(text, &[], &[]).expect("valid");
    for shown in [loaded.to_toml(), loaded.to_json().to_string(), format!("{loaded:?}"), format!("{:?}", loaded.config)]
    {
        assert!(!shown.contains("canary"), "{shown}");
        assert!(shown.contains("user"), "only the password is masked: {shown}");
    }
}

#[test]
fn what_is_shown_can_be_read_again_and_says_where_values_came_from() {
    let text = "[collection]\nwindow_days = 10\n[plugins]\nsources = [\"https://a.example\"]\n\
                [plugins.registries.\"ghcr.io:443\"]\n";
    let loaded = load(text, &[("BACKLINE_LOG__FILTER", "debug"), ("BACKLINE_PLUGINS__SIGNATURES", "off")], &[]);
    let loaded = loaded.expect("valid");
    let shown = loaded.to_toml();
    assert!(shown.contains("window_days = 10  # backline.toml\n"), "{shown}");
    assert!(shown.contains("filter = \"debug\"  # environment variable BACKLINE_LOG__FILTER\n"), "{shown}");
    assert!(shown.contains("[plugins.registries.\"ghcr.io:443\"]\ninsecure_http = false\n"), "{shown}");
    let again = combined(Some(&file(&shown)), &BTreeMap::new(), &[]).expect("readable");
    assert_eq!(again.config, loaded.config);
}

#[test]
fn every_key_is_shown_also_those_without_a_value() {
    let shown = combined(None, &BTreeMap::new(), &[]).expect("valid").to_toml();
    let defaults = toml::Table::try_from(Config::default()).expect("a table");
    let mut seen = 0;
    for section in defaults.keys() {
        // The error for a key that does not exist names all that do.
        let error = toml::from_str::<Config>(&format!("[{section}]\nno_such_key = 1\n")).expect_err("unknown");
        let Some(known) = error.message().strip_prefix("unknown field `no_such_key`, expected ") else { continue };
        let start = shown.find(&format!("[{section}]\n")).unwrap_or_else(|| panic!("[{section}] is not in:\n{shown}"));
        let lines: Vec<&str> = shown[start..].lines().collect();
        for key in known.split('`').skip(1).step_by(2) {
            let forms = [
                format!("{key} = "),
                format!("# {key} is not set"),
                format!("[{section}.{key}"),
                format!("[[{section}.{key}]]"),
                format!("# [{section}.{key}] is empty"),
            ];
            let is_shown = lines.iter().any(|line| forms.iter().any(|form| line.starts_with(form)));
            assert!(is_shown, "{section}.{key} is not in:\n{shown}");
            seen += 1;
        }
    }
    assert!(seen > 60, "only {seen} keys were found");
}

#[test]
fn a_section_of_names_may_come_from_one_variable() {
    let file = "[schedules.daily]\ncron = \"0 2 * * *\"\n[collection.tenant_weights]\nacme = 2\n";
    let weekly = ("BACKLINE_SCHEDULES", "{ label-1 = { cron = \"0 3 * * 1\" } }");
    let loaded = load(file, &[weekly, ("BACKLINE_COLLECTION__TENANT_WEIGHTS", "{ Acme = 3 }")], &[]).expect("valid");
    assert_eq!(loaded.config.schedules.keys().collect::<Vec<_>>(), ["label-1"], "it replaces the file's");
    assert_eq!(loaded.config.schedules["label-1"].cron, "0 3 * * 1");
    let weights = &loaded.config.collection.tenant_weights;
    assert_eq!((weights.of("Acme"), weights.of("acme")), (3, 1));
    let shown = loaded.to_toml();
    assert!(shown.contains("cron = \"0 3 * * 1\"  # environment variable BACKLINE_SCHEDULES\n"), "{shown}");
    let none = load(file, &[("BACKLINE_SCHEDULES", "{}")], &[]).expect("valid");
    assert!(none.config.schedules.is_empty());
    let more = [weekly, ("BACKLINE_SCHEDULES__NIGHTLY__CRON", "0 4 * * *")];
    assert_eq!(load("", &more, &[]).expect("valid").config.schedules.len(), 2);
    for given in ["postgres://user:canary@localhost/db", "3", "[1]", "{", ""] {
        let error = load("", &[("BACKLINE_DATABASE", given)], &[]).expect_err(given);
        assert!(error.contains("BACKLINE_DATABASE__KEY") && !error.contains("canary"), "{error}");
    }
}

#[test]
fn a_flag_names_the_file_before_the_environment_does() {
    let environment = environment_of(&[(FILE_VARIABLE, "from-environment.toml")]);
    assert_eq!(find_file(Some(Path::new("from-flag.toml")), &environment), Some(PathBuf::from("from-flag.toml")));
    assert_eq!(find_file(None, &environment), Some(PathBuf::from("from-environment.toml")));
}

#[test]
fn a_key_file_that_others_can_read_is_refused() {
    use std::os::unix::fs::PermissionsExt as _;

    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("key");
    std::fs::write(&path, format!("{}\n", Keyring::generate_base64())).expect("written");
    let secrets = SecretsConfig { key_file: Some(path.clone()), ..SecretsConfig::default() };
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).expect("set");
    let error = secrets.keyring().expect_err("refused").to_string();
    assert!(error.contains("chmod 600"), "{error}");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("set");
    assert!(secrets.keyring().expect("read").is_some());
    assert!(SecretsConfig::default().keyring().expect("no key is no error").is_none());
}

#[test]
fn a_wrong_key_is_refused_without_being_repeated() {
    let secrets = SecretsConfig { key: Some("canary".to_owned()), ..SecretsConfig::default() };
    let text = crate::pipeline::with_causes(&secrets.keyring().expect_err("refused"));
    assert!(text.starts_with("secrets.key is wrong: ") && !text.contains("canary"), "{text}");
}

#[test]
fn the_cache_lies_in_the_users_cache_folder() {
    let both = environment_of(&[("XDG_CACHE_HOME", "/x"), ("HOME", "/y")]);
    assert_eq!(cache_folder(&both), Some(PathBuf::from("/x/backline")));
    assert_eq!(cache_folder(&environment_of(&[("HOME", "/y")])), Some(PathBuf::from("/y/.cache/backline")));
    assert_eq!(cache_folder(&environment_of(&[("HOME", "relative")])), None);
}

#[test]
fn state_lies_where_systemd_says_or_in_the_users_folder() {
    let all = [("STATE_DIRECTORY", "/var/lib/a:/var/lib/b"), ("XDG_STATE_HOME", "/x"), ("HOME", "/y")];
    assert_eq!(state_folder(&environment_of(&all)), Some(PathBuf::from("/var/lib/a")));
    assert_eq!(state_folder(&environment_of(&all[1..])), Some(PathBuf::from("/x/backline")));
    assert_eq!(state_folder(&environment_of(&all[2..])), Some(PathBuf::from("/y/.local/state/backline")));
    assert_eq!(state_folder(&environment_of(&[("HOME", "relative")])), None);
}

#[test]
fn a_schedule_that_cannot_be_understood_is_refused_with_its_key() {
    let refused = |text: &str| load(text, &[], &[]).expect_err("refused");
    let error = refused("[schedules.daily]\ncron = \"0 26 * * *\"\n");
    assert!(
        error.starts_with("schedules.daily.cron in backline.toml is wrong: the field for the hour, '26'"),
        "{error}"
    );
    let error = refused("[schedules.Daily]\ncron = \"0 2 * * *\"\n");
    assert!(error.starts_with("schedules.Daily in backline.toml is wrong: 'Daily' can't be"), "{error}");
    let error = refused("[schedules.manual]\n");
    assert!(error.contains("schedules.manual") && error.contains("choose another name"), "{error}");
    let loaded = load("", &[], &[("schedules.weekly.cron", "0 2 * * MON")]).expect("valid");
    assert_eq!(loaded.config.schedules.keys().collect::<Vec<_>>(), ["weekly"]);
}

proptest! {
    #[test]
    fn no_password_survives_masking(user in "[a-z]{1,8}", password in "[A-Z0-9@:/?#%!]{4,20}", host in "[a-z]{1,8}") {
        let shown = masked_url(&format!("postgres://{user}:{password}@{host}/db"));
        prop_assert!(!shown.contains(&password), "{shown}");
    }

    #[test]
    fn no_text_makes_the_reader_panic(text in "\\PC{0,80}") {
        let _ = load(&text, &[], &[]);
        let _ = load("", &[("BACKLINE_COLLECTION__WINDOW_DAYS", &text)], &[]);
        let _ = load("", &[], &[(&text, "x")]);
        let _ = masked_url(&text);
    }
}

#[test]
fn a_key_file_is_the_owners_or_what_systemd_hands_over() {
    for (mode, of_root, is_open) in [
        (0o600, false, false),
        (0o400, true, false),
        (0o440, true, false),
        (0o440, false, true),
        (0o460, true, true),
        (0o444, true, true),
    ] {
        assert_eq!(mode_is_open(mode, of_root), is_open, "{mode:o}, root's: {of_root}");
    }
}
