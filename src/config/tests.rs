//! Where settings come from, and what is refused.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::*;
use crate::raft::Timing;

fn load_with(line: &str, variables: &[(&str, &str)]) -> Result<Loaded, ConfigError> {
    let arguments = Arguments::read(line.split(' ').map(OsString::from)).expect("a good line");
    let variables = variables.iter().map(|(name, value)| (name.into(), value.into()));
    Loaded::read(&arguments, variables)
}

fn check(line: &str) -> Result<Config, ConfigError> {
    load_with(line, &[]).map(|loaded| loaded.config)
}

/// A configuration file beside the secret `secret` and the empty directory `data`.
struct Scratch {
    dir: tempfile::TempDir,
}

impl Scratch {
    fn new(text: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let text = text.replace("DIR", &dir.path().display().to_string());
        fs::write(dir.path().join("config.toml"), text).unwrap();
        let scratch = Self { dir };
        scratch.write_secret("0123456789abcdef\n", 0o600);
        scratch
    }

    /// One with a `[cluster]` table that has `lines` beside what is needed.
    fn cluster(lines: &str) -> Self {
        Self::new(&format!(
            "data_dir = 'DIR/data'\n[cluster]\nlisten = '127.0.0.1:0'\n\
             secret_file = 'DIR/secret'\n{lines}"
        ))
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn write_secret(&self, text: &str, mode: u32) {
        let path = self.path().join("secret");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }

    fn load(&self, flags: &str, variables: &[(&str, &str)]) -> Result<Loaded, ConfigError> {
        let config = self.path().join("config.toml");
        load_with(&format!("beanpole --config {}{flags}", config.display()), variables)
    }

    fn refusal(&self, flags: &str) -> String {
        self.load(flags, &[]).expect_err("bad settings").to_string()
    }
}

#[test]
fn a_data_directory_alone_means_synced_before_every_reply() {
    let config = check("beanpole -b /srv/jobs").expect("good settings");
    assert_eq!(config.sync, SyncPolicy::Always);
    assert_eq!(
        check("beanpole -b x -f 50").expect("good").sync,
        SyncPolicy::Every(Duration::from_millis(50))
    );
    assert_eq!(check("beanpole -b x -F").expect("good").sync, SyncPolicy::Never);
}

#[test]
fn too_large_a_job_is_refused_with_both_numbers() {
    let error = check("beanpole -z 1073741824").expect_err("too large").to_string();
    assert!(error.contains("1073741824") && error.contains("67108864"), "{error}");
}

#[test]
fn a_port_is_a_number_of_16_bits() {
    assert!(matches!(check("beanpole -p 99999"), Err(ConfigError::Port(port)) if port == "99999"));
    let config = check("beanpole -l ::1 -p 0").expect("good settings");
    assert_eq!(config.listen, Address::Tcp { host: Some("::1".into()), port: 0 });
    let config = check("beanpole -l unix:/run/x -p junk").expect("the port is ignored");
    assert_eq!(config.listen, Address::Unix("/run/x".into()));
}

#[test]
fn a_small_segment_is_raised_to_the_floor_and_shown_as_typed() {
    let config = check("beanpole -s 4096").expect("good settings");
    assert_eq!(
        (config.segment_size_max, config.segment_size_typed),
        (SEGMENT_SIZE_MAX_FLOOR, 4096)
    );
}

#[test]
fn a_budget_below_the_floor_is_refused_with_what_is_needed() {
    let error = check("beanpole --memory 95M").expect_err("too little").to_string();
    assert_eq!(
        error,
        "a budget of 99614720 bytes for memory is too little: 100663296 are needed at least"
    );
    assert_eq!(check("beanpole --memory 96M").expect("the floor itself").memory, 96 << 20);
}

#[test]
fn room_and_log_below_their_floors_are_refused_with_both_numbers() {
    for (asked, refused) in [
        ("--disk-free-min 1M", "disk_free_min cannot be 1048576: 8388608 is the least"),
        ("--checkpoint-log-min 9K", "checkpoint_log_min cannot be 9216: 1048576 is the least"),
        ("--checkpoint-ops-max 9", "checkpoint_ops_max cannot be 9: 1000 is the least"),
    ] {
        let error = check(&format!("beanpole {asked}")).expect_err("too little").to_string();
        assert_eq!(error, refused);
    }
    let config = check("beanpole --checkpoint-log-min 1M").expect("the floor itself");
    assert_eq!(config.checkpoint_log_min, 1 << 20);
}

#[test]
fn the_largest_job_is_a_small_part_of_the_budget() {
    assert!(check("beanpole --memory 96M -z 3145728").is_ok());
    let error = check("beanpole --memory 96M -z 3145729").expect_err("too large").to_string();
    assert!(error.contains("more than the limit of 3145728"), "{error}");
}

#[test]
fn a_flag_goes_before_a_variable_before_the_file_before_the_default() {
    let file = Scratch::new("job_size_max = 3\nport = 3\nsegment_size_max = 3\n");
    let variables = [("BEANPOLE_PORT", "2"), ("BEANPOLE_JOB_SIZE_MAX", "2")];
    let loaded = file.load(" -z 1", &variables).expect("good settings");
    let config = loaded.config;
    assert_eq!(config.job_size_max, 1);
    assert_eq!(config.listen, Address::Tcp { host: Some("0.0.0.0".into()), port: 2 });
    assert_eq!((config.segment_size_typed, config.verbosity), (3, 0));

    let line = |key: &str| {
        let found = loaded.description.lines().find(|line| line.starts_with(key));
        found.unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let path = file.path().join("config.toml").display().to_string();
    assert_eq!(line("job_size_max"), "job_size_max = 1 # flag");
    assert_eq!(line("port"), "port = 2 # BEANPOLE_PORT");
    assert_eq!(line("segment_size_max"), format!("segment_size_max = 3 # {path}"));
    assert_eq!(line("verbose"), "verbose = 0 # default");
    assert_eq!(line("# user"), "# user is not set");
}

#[test]
fn the_higher_place_says_alone_when_to_sync() {
    let file = Scratch::new("data_dir = 'DIR/data'\nnever_sync = true\n");
    let config = file.load(" -f 0", &[]).expect("good settings").config;
    assert_eq!(config.sync, SyncPolicy::Always);
    let variables = [("BEANPOLE_SYNC_EVERY", "7")];
    let config = file.load("", &variables).expect("good settings").config;
    assert_eq!(config.sync, SyncPolicy::Every(Duration::from_millis(7)));

    let both = Scratch::new("never_sync = true\nsync_every = 5\n");
    assert!(matches!(both.load("", &[]), Err(ConfigError::SyncSaidTwice)));
}

#[test]
fn what_is_described_means_the_same_when_it_is_read() {
    let first = Scratch::cluster("lease_ms = 3000\n");
    let text = first.load(" -V -l ::1", &[]).expect("good settings").description;
    assert!(!text.contains("0123456789abcdef"), "{text}");
    let again = Scratch::new(&text);
    let second = again.load("", &[]).expect("what was described is a file");
    let values = |text: &str| {
        let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default().trim());
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(values(&second.description), values(&text));
}

#[test]
fn an_unknown_key_is_refused_with_its_line() {
    let refusal = Scratch::new("port = 1\nprot = 2\n").refusal("");
    assert!(refusal.contains("line 2") && refusal.contains("prot"), "{refusal}");
    let refusal = Scratch::cluster("leese_ms = 5\n").refusal("");
    assert!(refusal.contains("line 5") && refusal.contains("leese_ms"), "{refusal}");
    let refusal = Scratch::new("port = 70000\n").refusal("");
    assert!(refusal.contains("line 1"), "{refusal}");
    let missing = load_with("beanpole --config /no/such/file", &[]).expect_err("missing");
    assert!(matches!(missing, ConfigError::File { .. }));
}

#[test]
fn unknown_variables_are_told_and_bad_ones_refused() {
    let loaded = load_with("beanpole", &[("BEANPOLE_PROT", "x"), ("HOME", "/")]);
    let warnings = loaded.expect("good settings").warnings;
    assert_eq!(warnings, ["no settings, and ignored: BEANPOLE_PROT"]);
    for (name, value) in [
        ("BEANPOLE_PORT", "tcp://10.0.0.1:11300"),
        ("BEANPOLE_PORT", "70000"),
        ("BEANPOLE_MUST_EXIST", "perhaps"),
        ("BEANPOLE_LOG_FORMAT", "prose"),
    ] {
        let error = load_with("beanpole", &[(name, value)]).expect_err(value).to_string();
        assert!(error.contains(name) && error.contains(value), "{error}");
    }
}

#[test]
fn a_member_of_a_cluster_is_told_all_it_needs() {
    let file = Scratch::cluster("address = 'one.example:11400'\nlease_ms = 3000\n");
    let variables = [("BEANPOLE_CLUSTER_CLIENT_ADDRESS", "one.example:11300")];
    let config = file.load("", &variables).expect("good settings").config;
    let cluster = config.cluster.expect("there is a table");
    assert_eq!(cluster.listen, "127.0.0.1:0");
    assert_eq!(cluster.address.as_deref(), Some("one.example:11400"));
    assert_eq!(cluster.client_address.as_deref(), Some("one.example:11300"));
    assert_eq!(cluster.secret.as_bytes(), b"0123456789abcdef");
    assert_eq!(format!("{:?}", cluster.secret), "Secret");
    let lease = Duration::from_millis(3000);
    assert_eq!(cluster.timing, Timing { lease, ..Timing::default() });
    assert!(cluster.close_without_majority);
}

#[test]
fn a_member_is_refused_what_a_cluster_cannot_do() {
    let cases = [
        ("", " -f 5", "cannot be used in a cluster"),
        ("", " -F", "cannot be used in a cluster"),
        ("election_min_ms = 70\n", "", "election_min_ms is 70: it must be more than 72"),
        ("election_max_ms = 200\n", "", "election_max_ms is 200: it must be more than 200"),
        ("lease_ms = 700\n", "", "lease_ms is 700: it must be more than 800"),
        ("silent_after_ms = 60\n", "", "silent_after_ms is 60: it must be more than 72"),
        ("heartbeat_ms = 1\n", "", "heartbeat_ms cannot be 1: 10 to 600000"),
        ("address = 'here'\n", "", "cluster.address cannot be here: HOST:PORT"),
        ("address = '::1:11400'\n", "", "an IPv6 address in brackets"),
        ("address = 'here:0'\n", "", "nobody can dial port 0"),
        ("client_address = 'here:x'\n", "", "a number from 0 to 65535"),
    ];
    for (lines, flags, words) in cases {
        let refusal = Scratch::cluster(lines).refusal(flags);
        assert!(refusal.contains(words), "{lines}{flags}: {refusal}");
    }
    let everywhere = Scratch::new(
        "data_dir = 'DIR/data'\n[cluster]\nlisten = '0.0.0.0:11400'\nsecret_file = 'DIR/secret'",
    );
    assert!(everywhere.refusal("").contains("say in cluster.address which"));
    let homeless =
        Scratch::new("[cluster]\nlisten = '127.0.0.1:11400'\nsecret_file = 'DIR/secret'");
    assert_eq!(homeless.refusal(""), "a member of a cluster needs data_dir");
    let open = Scratch::new("data_dir = 'DIR/data'\n[cluster]\nlisten = '127.0.0.1:0'\n");
    assert_eq!(open.refusal(""), "a member of a cluster needs cluster.secret_file");
}

#[test]
fn what_a_silent_member_holds_is_not_given_away_within_its_lease() {
    let refusal = Scratch::cluster("silent_release = true\n").refusal("");
    assert!(refusal.contains("cluster.dead_after_ms is 2000: with silent_release"), "{refusal}");
    assert!(refusal.contains("more than 2500") && refusal.contains("lease_ms (2000)"), "{refusal}");
    let cases = [
        ("silent_release = true\ndead_after_ms = 2500\n", false),
        ("silent_release = true\ndead_after_ms = 2501\n", true),
        ("silent_release = true\nlease_ms = 900\n", true),
        ("dead_after_ms = 10\n", true),
    ];
    for (lines, is_taken) in cases {
        assert_eq!(Scratch::cluster(lines).load("", &[]).is_ok(), is_taken, "{lines}");
    }
}

#[test]
fn a_secret_is_long_and_for_its_owner_alone() {
    let file = Scratch::cluster("");
    file.write_secret(" 0123456789abcde \n", 0o600);
    assert!(file.refusal("").contains("15 bytes, at least 16"), "{}", file.refusal(""));
    file.write_secret("0123456789abcdef", 0o640);
    assert!(file.refusal("").contains("mode 640"), "{}", file.refusal(""));
    fs::remove_file(file.path().join("secret")).unwrap();
    assert!(file.refusal("").contains("cannot be read"), "{}", file.refusal(""));
}

#[test]
fn commands_find_the_server_by_flag_variable_or_file() {
    let file = Scratch::new("data_dir = 'DIR/data'\n[cluster]\n");
    let path = || Some(file.path().join("config.toml"));
    let find = |flag: Option<&str>, variable: Option<&str>, file| {
        data_dir_of_server(flag.map(PathBuf::from), variable.map(OsString::from), file)
            .expect("the file is good")
    };
    assert_eq!(find(Some("a"), Some("b"), path()), Some("a".into()));
    assert_eq!(find(None, Some("b"), path()), Some("b".into()));
    assert_eq!(find(None, None, path()), Some(file.path().join("data")));
    assert_eq!(find(None, None, None), None);
}
